"""What the README and the documents name exists: commands, their options, and tests."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segx.cli import COMMANDS, GROUPS, app

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NAMES = [name for name, _ in COMMANDS]
GROUP_NAMES = [name for name, _ in GROUPS]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def shown_commands() -> list[tuple[str, str]]:
    """Document and line of every `segx` command in a code block."""
    return [
        (document.name, line.split("#")[0].strip())
        for document in DOCUMENTS
        for block in BLOCK.findall(document.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if re.match(r"segx \w", line)
    ]


def test_the_readme_shows_the_commands_of_the_flow() -> None:
    shown = {shlex.split(line)[1] for name, line in shown_commands() if name == "README.md"}
    assert {"train", "export", "infer", "bench"} <= shown


@pytest.mark.parametrize(("document", "line"), shown_commands())
def test_a_shown_command_and_its_options_exist(document: str, line: str) -> None:
    words = shlex.split(line)
    assert words[1] in (*NAMES, *GROUP_NAMES), f"{document}: {line}"
    command = words[1:3] if words[1] in GROUP_NAMES else words[1:2]
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0, f"{document}: {line}"
    known = shown.output
    for option in (word for word in words[2:] if word.startswith("--")):
        assert re.search(rf"{option}\b", known), f"{document}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_named_test_exists(document: Path) -> None:
    for file, name in TEST.findall(document.read_text(encoding="utf-8")):
        source = ROOT / "tests" / file
        assert source.is_file(), file
        found = re.search(rf"^def {name}\(", source.read_text(encoding="utf-8"), re.MULTILINE)
        assert found, f"{file}::{name}"


@pytest.mark.parametrize("name", [*NAMES, *GROUP_NAMES])
def test_every_command_is_named_in_the_readme(name: str) -> None:
    assert f"segx {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_of_the_readme_are_targets_of_the_makefile(target: str) -> None:
    assert f"make {target}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
