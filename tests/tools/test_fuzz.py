"""Damaged files are read or refused in one line: those that once were not, and some new ones."""

import random
from pathlib import Path

import pytest

from runtime.errors import DataError
from tools.fuzz.mutate import mutate
from tools.fuzz.run import CORPUS, Runner
from tools.fuzz.targets import TARGETS, Target

RUNS, MATRIX_RUNS = 40, 20_000

FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
"""Files that once gave a traceback, no answer, or took all memory."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_mended(path: Path, tmp_path: Path) -> None:
    assert not Runner(TARGETS[path.parent.name], tmp_path).execute(path.read_bytes())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "runs", [RUNS, pytest.param(MATRIX_RUNS, marks=pytest.mark.matrix)], ids=["few", "many"]
)
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(name: str, runs: int, tmp_path: Path) -> None:
    runner = Runner(TARGETS[name], tmp_path)
    runner.run(runs, seed=1)
    assert not runner.outcome.failures
    if name != "journal":  # which reads up to what is damaged, as after a crash
        assert runner.outcome.refused > runs / 20, "most damage is to be seen"


def test_the_corpus_is_of_known_targets() -> None:
    assert {path.parent.name for path in FOUND} <= set(TARGETS)


@pytest.mark.parametrize(
    ("raised", "fault"),
    [
        (None, ""),
        (DataError("one line; expected; remedy"), ""),
        (DataError("two\nlines"), "several lines at test_fuzz.py:read"),
        (KeyError("x"), "KeyError at test_fuzz.py:read"),
        (MemoryError(), "MemoryError at test_fuzz.py:read"),
    ],
    ids=["read", "refused", "lines", "error", "memory"],
)
def test_only_one_line_of_ours_is_a_refusal(
    raised: Exception | None, fault: str, tmp_path: Path
) -> None:
    def read(path: Path) -> None:
        if path.read_bytes() != b"whole" and raised is not None:
            raise raised

    runner = Runner(Target(seeds=lambda folder: [b"whole"], name="a", read=read), tmp_path)
    assert runner.execute(b"damaged") == fault
    assert (list(runner.outcome.failures) == [fault]) == bool(fault)
    assert runner.outcome.refused == (raised is not None and not fault)


def test_the_same_chance_damages_alike() -> None:
    seeds = [b'{"a": [1, 2], "b": "c"}' * 4, bytes(range(256))]
    files = [mutate(random.Random(number), seeds) for number in range(200)]
    assert files == [mutate(random.Random(number), seeds) for number in range(200)]
    assert len(set(files)) > 180
