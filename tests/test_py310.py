"""What a Python 3.10 device would refuse is refused here, whatever Python runs the tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("segx", "trainkit", "exporter", "calibration", "runtime", "tests", "tools")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
NEWER = {
    "asyncio": {"Runner", "TaskGroup", "timeout"},
    "builtins": {"BaseExceptionGroup", "ExceptionGroup", "PythonFinalizationError"},
    "contextlib": {"chdir"},
    "datetime": {"UTC"},
    "enum": {"EnumCheck", "ReprEnum", "StrEnum", "member", "nonmember", "verify"},
    "hashlib": {"file_digest"},
    "inspect": {"getmembers_static"},
    "itertools": {"batched"},
    "logging": {"getHandlerByName", "getLevelNamesMapping"},
    "math": {"cbrt", "exp2", "fma", "sumprod"},
    "operator": {"call"},
    "os": {"process_cpu_count"},
    "typing": {
        "LiteralString",
        "Never",
        "NotRequired",
        "ReadOnly",
        "Required",
        "Self",
        "TypeAliasType",
        "TypeIs",
        "TypeVarTuple",
        "Unpack",
        "assert_never",
        "assert_type",
        "dataclass_transform",
        "override",
        "reveal_type",
    },
}
"""Names that came to the standard library after 3.10, of those that we might use."""


def missing_in_310(tree: ast.Module) -> Iterator[str]:
    guarded = {id(node) for block in ast.walk(tree) for node in _guarded(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            for name in sorted(names & NEWER.get(node.module or "", set())):
                yield f"line {node.lineno}: {node.module}.{name}"
        elif isinstance(node, ast.Import):
            if "tomllib" in {alias.name for alias in node.names} and id(node) not in guarded:
                yield f"line {node.lineno}: tomllib without tomli in its place"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NEWER.get(node.value.id, set()):
                yield f"line {node.lineno}: {node.value.id}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in NEWER["builtins"]:
            yield f"line {node.lineno}: {node.id}"


def _guarded(block: ast.AST) -> Iterator[ast.AST]:
    if isinstance(block, ast.If | ast.Try):
        yield from ast.walk(block)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_uses_nothing_newer_than_python_310(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file), feature_version=(3, 10))
    assert list(missing_in_310(tree)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import tomllib",
        "from typing import Any, Self",
        "import datetime\nnow = datetime.UTC",
        "from datetime import UTC",
        "import enum\nclass A(enum.StrEnum): ...",
        "raise ExceptionGroup('', [])",
    ],
)
def test_newer_names_are_found(source: str) -> None:
    assert len(list(missing_in_310(ast.parse(source)))) == 1


def test_a_guarded_tomllib_is_fine() -> None:
    source = """
import sys
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
"""
    assert list(missing_in_310(ast.parse(source))) == []
