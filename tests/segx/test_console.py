import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from full_disk import fill_disk

from runtime.errors import DataError
from segx import console


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    path: Path
    miou: float
    counts: tuple[int, ...]


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Put the handlers of the root logger back after the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_file_holds_dataclasses_paths_and_numpy(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.json"
    result = Result(path=Path("a.tif"), miou=float("nan"), counts=(1, 2))
    content = {
        "result": result,
        "matrix": np.array([[1, 2], [3, 4]]),
        "share": np.float32(0.5),
        "n": np.int64(7),
        "ok": True,
    }
    console.write_json(target, content)
    assert json.loads(target.read_text()) == {
        "result": {"path": "a.tif", "miou": None, "counts": [1, 2]},
        "matrix": [[1, 2], [3, 4]],
        "share": 0.5,
        "n": 7,
        "ok": True,
    }


def test_a_failed_json_file_leaves_the_old_one_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.json"
    console.write_json(target, {"run": 1})

    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(DataError, match="No space"):
            console.write_json(target, {"run": 2})
    assert json.loads(target.read_text()) == {"run": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_table_is_aligned_and_numbers_stand_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [["building", 91.234, 3], ["water", float("nan"), None], ["pervious", 7.0, 120]]
    console.table(["class", "IoU", "n"], rows, title="Accuracy")
    assert capsys.readouterr().out.splitlines() == [
        "Accuracy",
        "class       IoU    n",
        "--------  -----  ---",
        "building  91.23    3",
        "water         -    -",
        "pervious   7.00  120",
    ]


def test_progress_without_a_terminal_is_a_line_for_every_tenth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.progress("map") as advance:
        for tile in range(1, 251):
            advance(tile, 250, "loss 1.2")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"map: {tile}/250" for tile in range(25, 251, 25)
    ]
    assert all(line.endswith("; loss 1.2") for line in lines)
    assert "left" in lines[0]
    assert "left" not in lines[-1]


def test_plain_progress_tells_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 100.0])
    advance = console.progress_lines("train", clock=lambda: next(times))
    advance(1, 4)
    assert capsys.readouterr().err == "train: 1/4, 1 min 40 s, about 5 min 0 s left\n"


def test_plain_progress_of_a_resumed_run_counts_only_what_this_run_did(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = iter([0.0, 10.0, 20.0])
    advance = console.progress_lines("train", clock=lambda: next(times))
    advance(81, 100)
    advance(90, 100)
    assert capsys.readouterr().err.splitlines() == [
        "train: 81/100, 10 s, about 3 min 10 s left",
        "train: 90/100, 20 s, about 20 s left",
    ]


def test_progress_on_a_terminal_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with console.progress("map") as advance:
        advance(9, 9)
    assert "9/9" in capsys.readouterr().err


def test_the_last_line_names_the_output_and_the_next_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.done(Path("maps"), "segx bench")
    console.chosen("backend", "openvino", "no GPU")
    console.chosen("tiles", 9)
    assert capsys.readouterr().out.splitlines() == [
        "wrote maps; next: segx bench",
        "backend: openvino (no GPU)",
        "tiles: 9",
    ]


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize(
    ("verbose", "shown"), [(False, []), (True, ["segx: info: runtime.tiler: cut"])]
)
def test_the_log_of_our_packages_is_shown_when_verbose(
    verbose: bool, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    console.configure_logging(verbose=verbose)
    logging.getLogger("runtime.tiler").info("cut")
    logging.getLogger("elsewhere").info("not ours")
    logging.getLogger("rasterio").warning("a tag is ignored")
    assert capsys.readouterr().err.splitlines() == [
        *shown,
        "segx: warning: rasterio: a tag is ignored",
    ]
