"""Promises name tests that are there, and prepared attacks are listed as they are tried."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    line
    for line in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`tests/" in line
]


def test_there_are_promises() -> None:
    assert len(ROWS) > 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(ROWS.index(row)))
def test_a_promise_names_tests_that_are_there(row: str) -> None:
    for name in re.findall(r"`(tests/[^`]+)`", row):
        assert (ROOT / name).exists(), name


def attacks(file: Path) -> dict[str, str]:
    """What is said of each attack, from the tables at the top of a test file."""
    found: dict[str, str] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        table = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(table, ast.Dict):
            for name, attack in zip(table.keys, table.values, strict=True):
                assert isinstance(name, ast.Constant)
                assert isinstance(attack, ast.Call | ast.Tuple)
                said = (attack.args if isinstance(attack, ast.Call) else attack.elts)[-1]
                found[str(name.value)] = ast.literal_eval(said)
    return found


@pytest.mark.parametrize(
    "file", sorted((ROOT / "tests" / "attacks").glob("test_*.py")), ids=lambda file: file.stem
)
def test_prepared_attacks_are_listed_with_what_is_said_of_them(file: Path) -> None:
    tried = attacks(file)
    assert tried
    here = [row for row in ROWS if file.relative_to(ROOT).as_posix() in row]
    listed = dict(re.findall(r"^\| ([^|]+) \| `([^`]+)` \| `tests", "\n".join(here), re.MULTILINE))
    assert tried.items() <= listed.items()
    source = file.read_text(encoding="utf-8")
    assert all(said in source for name, said in listed.items() if name not in tried)
