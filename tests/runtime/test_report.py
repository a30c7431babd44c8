import dataclasses
import mmap
import sys
import time
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.card import ModelCard
from runtime.energy import EnergyMeter
from runtime.errors import DataError
from runtime.files import write_text
from runtime.grid import Grid
from runtime.jsonfile import plain, write_json
from runtime.report import (
    FIT_NAMES,
    Clock,
    Fit,
    MemoryUse,
    PlanSummary,
    Report,
    Seams,
    latency,
    peak_rss_mib,
    reset_peak_rss,
    rss_bytes,
)
from runtime.tally import Tally, mean_added


def test_a_clock_adds_up_work_and_waiting_of_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 20.0)
    clock = Clock(started=5.0)
    for stage, seconds in (("read", 2.0), ("infer", 1.0), ("read", 4.0)):
        clock.add_busy(stage, seconds)
    clock.add_waiting("infer", "room", 0.5)
    clock.add_waiting("infer", "input", 3.0)
    assert clock.stages_s == {"read": 6.0, "infer": 1.0}
    assert clock.waiting_s == {"infer": {"input": 3.0, "room": 0.5}}
    assert clock.life_s("infer") == 4.5
    assert clock.wall_s == 15.0


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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can")
def test_peak_memory_can_begin_anew() -> None:
    size = 64 * 2**20
    # Not an array: an allocator may keep what is given back to it.
    with mmap.mmap(-1, size) as held:
        held.write(bytes(size))
        before = peak_rss_mib()
    assert reset_peak_rss()
    assert peak_rss_mib() < before - 60


def test_the_memory_of_now_is_at_most_the_peak() -> None:
    size = 64 * 2**20
    # Not an array: an allocator may have room for one already, and may keep it.
    with mmap.mmap(-1, size) as held:
        held.write(bytes(size))
        before = rss_bytes()
        assert size < before <= peak_rss_mib() * 2**20
    assert rss_bytes() < before or sys.platform == "darwin"


def test_peak_memory_stays_where_it_cannot_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, text: str) -> int:
        raise PermissionError(f"{path} is read-only")

    monkeypatch.setattr(Path, "write_text", refused)
    assert not reset_peak_rss()


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
        now[0] += 0.5 + seconds
        tally.add_tile(scene=None, satellite=None, seconds=seconds)  # type: ignore[arg-type]
    assert tally.cold_start_s == 3.5
    assert tally.tile_seconds == [3.0, 1.0]
    assert tally.tiles == 2


PLAN = PlanSummary(
    tile_size=64,
    halo=16,
    halo_exact=True,
    stride=32,
    lattice_px=32,
    strips=1,
    batch=4,
    recompute=4.0,
    blend=False,
)


@pytest.fixture
def card(tiny_bundle: Path) -> ModelCard:
    return open_bundle(tiny_bundle).card


def run_of(
    monkeypatch: pytest.MonkeyPatch, tally: Tally, seconds: list[float], wall: float
) -> None:
    """Let the model take some seconds per tile, one after the other, from 2 s after the start."""
    now = 2.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    for each in seconds:
        now += each
        tally.clock.add_busy("infer", each)
        tally.add_tile(scene=None, satellite=None, seconds=each)  # type: ignore[arg-type]
    now = wall


@pytest.mark.parametrize(("batch", "after", "busy"), [(1, 9, 9.0), (4, 6, 6.0)])
def test_the_first_call_of_the_model_is_cold_and_counts_in_no_rate(
    batch: int, after: int, busy: float, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = Tally(None, Clock(started=0.0))
    tally.plan = dataclasses.replace(PLAN, batch=batch)
    run_of(monkeypatch, tally, [1.0] * 10, wall=15.0)
    report = tally.report(card, "fp32", "1.2")
    assert (report.cold_start_s, report.wall_s) == (3.0, 15.0)
    assert report.tiles_per_s == pytest.approx(after / 12)
    assert report.model_share == pytest.approx(busy / 12)
    assert report.bound_by == "infer"
    assert report.latency_ms.mean == pytest.approx(1e3)


@pytest.mark.parametrize("tiles", [0, 1, 3, 4])
def test_one_call_says_nothing_of_the_rate(
    tiles: int, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = Tally(None, Clock(started=0.0))
    tally.plan = PLAN
    run_of(monkeypatch, tally, [1.0] * tiles, wall=15.0)
    report = tally.report(card, "fp32", "1.2")
    assert (report.tiles_per_s, report.model_share) == (None, None)


def test_what_an_interrupted_run_has_mapped_makes_this_one_no_faster(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = Affine(0.2, 0.0, 7e5, 0.0, -0.2, 6.6e6)
    grid = Grid(crs=CRS.from_epsg(2154), transform=transform, shape=(1000, 1000))
    found = []
    for before in (0, 750_000, 2_000_000):
        tally = Tally(None, Clock(started=0.0), pixels_before=before, resumed=before > 0)
        tally.add_scene(grid, ["a.tif"])
        monkeypatch.setattr(time, "perf_counter", lambda: 2.0)
        found.append(tally.report(card, "fp32", "1.2"))
    assert [report.pixels for report in found] == [1_000_000] * 3
    assert [report.mpx_per_s for report in found] == [0.5, 0.125, 0.0]
    assert [report.km2_per_h for report in found] == pytest.approx([72.0, 18.0, 0.0])
    assert [report.resumed for report in found] == [False, True, True]


def test_what_a_run_says_of_itself_is_in_the_report(card: ModelCard) -> None:
    tally = Tally(
        None,
        plan=PLAN,
        seams=Seams(share=None, pixels=0),
        memory=MemoryUse(limit_mib=None, planned_mib=900.0),
        fit=Fit(elevation="zero"),
        policy="aerial-only",
        date_gap_days=400,
        lattice_agreement=0.9999,
        empty_tiles=3,
    )
    tally.clock.add_waiting("read", "room", 2.0)
    tally.satellite_tiles.update(clear=2, aerial_only=1)
    content = plain(tally.report(card, "fp32", "1.2"))
    assert set(content) == {field.name for field in dataclasses.fields(Report)}
    assert content["waiting_s"] == {"read": {"input": 0.0, "room": 2.0}}
    assert content["plan"]["recompute"] == 4.0
    assert content["seams"] == {"share": None, "pixels": 0}
    assert content["memory"] == {"limit_mib": None, "planned_mib": 900.0}
    assert content["fit"] == dict.fromkeys(FIT_NAMES) | {"elevation": "zero"}
    assert (content["tiles_skipped"], content["damaged"], content["energy"]) == (3, [], None)
    assert content["satellite"] == {
        "dates_total": 0,
        "dates_used": 0,
        "encoder_runs": 0,
        "policy": "aerial-only",
        "tiles_clear": 2,
        "tiles_covered": 0,
        "tiles_aerial_only": 1,
        "date_gap_days": 400,
        "lattice_agreement": 0.9999,
        "offsets": {},
    }


def test_a_report_counts_no_time_that_comes_after_it(card: ModelCard) -> None:
    tally = Tally(None)
    tally.clock.add_waiting("read", "room", 2.0)
    report = tally.report(card, "fp32", "1.2")
    tally.clock.add_waiting("read", "room", 2.0)
    tally.clock.add_busy("read", 2.0)
    assert (report.waiting_s, report.stages_s) == ({"read": {"input": 0.0, "room": 2.0}}, {})


def test_the_energy_so_far_is_in_the_report(card: ModelCard) -> None:
    with EnergyMeter(find=lambda device: []) as meter:
        assert Tally(None, meter=meter).report(card, "fp32", "1.2").energy is None


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
