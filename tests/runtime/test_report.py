import sys
import time
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.errors import DataError
from runtime.jsonfile import plain, write_json, write_text
from runtime.report import Clock, latency, peak_rss_mib
from runtime.tally import Tally, mean_added


def test_a_clock_adds_up_the_time_of_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 3.0, 5.0, 6.0, 10.0, 14.0, 20.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = Clock(started=0.0)
    for stage in ("read", "infer", "read"):
        with clock(stage):
            pass
    assert clock.stages_s == {"read": 6.0, "infer": 1.0}
    assert clock.wall_s == 20.0


def test_a_stage_that_fails_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 3.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = Clock(started=0.0)
    with pytest.raises(ValueError, match="broken"), clock("read"):
        raise ValueError("broken")
    assert clock.stages_s == {"read": 2.0}


@given(st.lists(st.floats(1e-6, 1e3), min_size=1))
def test_percentiles_are_in_order_and_in_milliseconds(seconds: list[float]) -> None:
    found = latency(seconds)
    least, most = min(seconds) * 1e3, max(seconds) * 1e3
    values = [least, found.p50, found.p90, found.p95, found.p99, most]
    assert all(a <= b or a == pytest.approx(b) for a, b in pairwise(values))
    assert found.mean == pytest.approx(np.mean(seconds) * 1e3)


def test_percentiles_of_a_known_run() -> None:
    found = latency([i / 1000 for i in range(101)])
    assert (found.mean, found.p50, found.p90, found.p95, found.p99) == pytest.approx(
        (50, 50, 90, 95, 99)
    )


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_rss_mib()
    held = np.ones(64 * 2**20, dtype=np.uint8)
    assert peak_rss_mib() >= before > 1
    assert held.nbytes == 64 * 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another counter")
def test_peak_memory_is_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    before = peak_rss_mib()
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    assert peak_rss_mib() == pytest.approx(before, rel=0.5)


def test_the_cold_start_ends_with_the_first_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    tally = Tally(BackendChoice(name="openvino", reason="a test"), Clock(started=0.0))
    for seconds in (3.0, 1.0):
        now[0] += 0.5
        with tally.clock("infer"):
            now[0] += seconds
        tally.add_tile(scene=None, satellite=None)  # type: ignore[arg-type]
    assert tally.cold_start_s == 3.5
    assert tally.tile_seconds == [3.0, 1.0]
    assert tally.tiles == 2


def test_what_was_added_is_divided_among_the_runs() -> None:
    before, after = {"upload": 10.0}, {"upload": 16.0, "fusion": 9.0}
    assert mean_added(before, after, 3) == {"upload": 2.0, "fusion": 3.0}
    assert mean_added({}, {}, 3) is None
    assert mean_added({}, after, 0) == after


def test_what_pytorch_runs_has_no_backend(tiny_bundle: Path) -> None:
    report = Tally(None).report(open_bundle(tiny_bundle).card, "fp32", "1.2")
    assert (report.backend, report.device) == ("pytorch", "chosen by PyTorch")
    assert (report.passed_over, report.self_test, report.device_ms) == ({}, None, None)


def test_json_holds_numbers_text_and_null(tmp_path: Path) -> None:
    content = {
        "nan": float("nan"),
        "infinite": np.float32("inf"),
        1: (1, True, None, "é"),
        "path": tmp_path,
        "day": date(2021, 1, 2),
        "array": np.array([[1.5, np.nan]]),
    }
    assert plain(content) == {
        "nan": None,
        "infinite": None,
        "1": [1, True, None, "é"],
        "path": str(tmp_path),
        "day": "2021-01-02",
        "array": [[1.5, None]],
    }


@pytest.mark.parametrize("write", [write_json, write_text])
def test_a_file_that_cannot_be_written_is_one_line(
    write: Callable[[Path, str], None], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file" / "report.json", tmp_path):
        with pytest.raises(DataError, match=r"cannot be written \(.*\); expected .*; free some"):
            write(path, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
