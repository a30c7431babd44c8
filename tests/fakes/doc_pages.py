"""The documents of the project, for tests that read them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def name_of(document: Path) -> str:
    """Path of a document from the root of the project."""
    return document.relative_to(ROOT).as_posix()


def blocks(document: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return BLOCK.findall(document.read_text(encoding="utf-8"))


def prose(document: Path) -> str:
    """The text without its fenced blocks."""
    return BLOCK.sub("", document.read_text(encoding="utf-8"))
