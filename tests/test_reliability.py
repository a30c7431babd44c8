"""Promises name tests that are there."""

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
