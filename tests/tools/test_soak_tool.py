"""Long runs: what is seen of a process, what counts as flat; many sheets, and plans of them."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import segx
from runtime.jsonfile import write_json
from runtime.raster import describe, reflected
from tools.bench_peers.contest import Inside, Rules, Turn
from tools.bench_peers.raster import open_raster
from tools.streaming import flatness, looping, planning, soak
from tools.streaming.flatness import FIGURES, course
from tools.streaming.sheets import make_sheets
from tools.streaming.watching import Sample, look, watch

HOUR_S = 3600.0


def sample(at_s: float, rss_mib: float = 500.0, files: int = 20) -> Sample:
    return Sample(at_s=at_s, rss_mib=rss_mib, files=files, threads=9)


def sawtooth(rise: float, *, noise: float = 30.0, seed: int = 0, until_s: float = HOUR_S) -> Any:
    """Samples whose lows rise so much over the whole run, under work that comes and goes."""
    rng = np.random.default_rng(seed)
    return [
        sample(at, 500.0 + rise * at / until_s + abs(rng.normal(0, noise)) * (number % 7 > 1))
        for number, at in enumerate(np.linspace(until_s / 720, until_s, 720).tolist())
    ]


@given(rise=st.floats(-200.0, 200.0), seed=st.integers(0, 99))
def test_a_leak_is_told_from_work_that_comes_and_goes(rise: float, seed: int) -> None:
    found = course(sawtooth(rise, seed=seed), "rss_mib")
    assert found.rise == pytest.approx(rise, abs=0.1 * abs(rise) + 1.0)
    assert found.bound == pytest.approx(0.05 * found.second[0])
    if abs(rise - found.bound) > 10:
        assert found.is_flat == (rise < found.bound)


@given(seconds=st.floats(60.0, 1e5))
def test_a_rise_is_that_of_the_whole_run_however_long_it_is(seconds: float) -> None:
    short, given = (course(sawtooth(50.0, until_s=end), "rss_mib") for end in (HOUR_S, seconds))
    assert given.rise == pytest.approx(short.rise)


def test_a_warm_start_and_a_few_odd_moments_do_not_count() -> None:
    samples = [replace(item, rss_mib=100.0) if item.at_s < 600 else item for item in sawtooth(0.0)]
    odd = [
        replace(item, rss_mib=3000.0, files=400) if number in (400, 500, 600, 601) else item
        for number, item in enumerate(samples)
    ]
    for figure in FIGURES:
        found = course(odd, figure)
        assert found.is_flat
        assert found.rise == pytest.approx(0.0, abs=1.0)
    assert course(odd, "rss_mib").second[1] == 3000.0
    assert course(odd, "rss_mib").first[0] == 100.0


def test_one_file_that_stays_open_now_and_then_is_a_leak() -> None:
    samples = [sample(at, files=20 + int(at // 900) + int(at) % 3) for at in range(5, 3600, 5)]
    assert not course(samples, "files").is_flat
    assert course(samples, "threads").is_flat


def test_what_is_too_short_is_not_judged() -> None:
    with pytest.raises(ValueError, match="expected a longer run"):
        course([sample(5.0 * number) for number in range(1, 12)], "files")
    with pytest.raises(ValueError, match="expected a longer run"):
        course([], "files")


GROWTH = """
import threading
print("ready", flush=True)
input()
held = bytearray(b"\\1") * (64 << 20)
files = [open(__file__) for _ in range(5)]
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("grown", flush=True)
input()
"""


def test_a_process_is_seen_with_its_files_threads_and_memory(tmp_path: Path) -> None:
    script = tmp_path / "growth.py"
    script.write_text(GROWTH)
    command = [sys.executable, "-S", str(script)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        before = look(process.pid, 1.0)
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "grown\n"
        after = look(process.pid, 2.0)
        print(file=process.stdin, flush=True)
    assert before is not None
    assert after is not None
    assert (after.files - before.files, after.threads - before.threads) == (5, 3)
    assert after.rss_mib - before.rss_mib == pytest.approx(64, abs=16)


def test_a_process_is_watched_to_its_end_and_killed_when_its_time_is_up() -> None:
    script = "import time; time.sleep({})"
    for seconds, code in ((0.3, 0), (60, -9)):
        command = [sys.executable, "-S", "-c", script.format(seconds)]
        with subprocess.Popen(command) as process:
            samples = watch(process, every_s=0.05, limit_s=0.6)
        assert process.returncode == code
        assert samples
        assert [item.at_s for item in samples] == sorted(item.at_s for item in samples)


def test_sheets_are_the_scene_mirrored_in_as_many_rows_as_columns(
    tiny_scene: Path, tmp_path: Path
) -> None:
    folder = make_sheets(tiny_scene, tmp_path / "sheets", count=11, side=48)
    with open_raster(tiny_scene / "aerial.tif") as opened:
        source = opened.read()
    paths = sorted(folder.glob("*.tif"))
    assert len(paths) == 11
    first = describe(tiny_scene / "aerial.tif")
    for number, path in enumerate(paths):
        row, col = (48 * place for place in divmod(number, 4))
        info = describe(path)
        assert first.grid.offset_of(info.grid) == (row, col)
        assert (info.grid.shape, info.bands) == ((48, 48), first.bands)
        rows, cols = (
            reflected(start, 48, size)
            for start, size in zip((row, col), source.shape[1:], strict=True)
        )
        with open_raster(path) as opened:
            np.testing.assert_array_equal(opened.read(), source[:, rows][:, :, cols])
    names = {path.name for path in (tiny_scene / "sentinel2").iterdir()}
    assert {path.name for path in (folder / "sentinel2").iterdir()} == names


def test_empty_sheets_are_headers_alone(tiny_scene: Path, tmp_path: Path) -> None:
    folder = make_sheets(tiny_scene, tmp_path / "sheets", count=3, side=5000, empty=True)
    paths = sorted(folder.iterdir())
    assert len(paths) == 3
    assert all(path.stat().st_size < 16_384 for path in paths)
    first = describe(tiny_scene / "aerial.tif")
    found = [first.grid.offset_of(describe(path).grid) for path in paths]
    assert found == [(0, 0), (0, 5000), (5000, 0)]


def test_rounds_of_a_kind_must_agree() -> None:
    alike = [{"kind": kind, "maps": 1, "arrays": 2} for kind in "abab"]
    assert soak.differing(alike) == ""
    other = {"kind": "b", "maps": 1, "arrays": 3}
    assert soak.differing([*alike, other]) == "b: 2 results"


def test_the_loop_takes_all_kinds_in_turns_and_opens_anew(
    tiny_bundle: Path, tiny_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def open_bundle(path: Path, **options: Any) -> segx.OpenBundle:
        opened.append(path)
        return real(path, **options)

    real = segx.open_bundle
    monkeypatch.setattr(segx, "open_bundle", open_bundle)
    task, result = tmp_path / "task.json", tmp_path / "result.json"
    given = {
        "bundle": tiny_bundle,
        "scene": tiny_scene,
        "maps": tmp_path / "maps",
        "seconds": 0,
        "rounds_per_opening": 2,
        "threads": 1,
        "backend": "auto",
    }
    write_json(task, given)
    looping.main(str(task), str(result))
    said = json.loads(result.read_text(encoding="utf-8"))
    rounds = said["rounds"]
    assert [item["kind"] for item in rounds] == 2 * list(looping.KINDS)
    assert len(opened) == len(rounds)
    assert soak.differing(rounds) == ""
    assert len({item["maps"] for item in rounds[:3]}) == 3
    assert len(said["closings"]) == len(rounds)


def test_both_long_runs_are_made_and_judged(
    tiny_bundle: Path, tiny_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "LOOP_SIDE", 100)
    monkeypatch.setattr(soak, "ROUNDS_PER_OPENING", 1)
    monkeypatch.setattr(flatness, "WINDOWS", 2)
    plan = soak.Plan(minutes=0.02, sheets=9, side=40, every_s=0.02)
    rules = Rules(rounds=1, threads=1, out=tmp_path, limit_s=60)
    table = soak.measure(tiny_bundle, tiny_scene, plan, rules, backend="auto")
    loop, sheets = table.rows
    assert all(len(row) == len(table.head) for row in table.rows)
    assert (loop[0], loop[3]) == ("loop", "yes")
    assert (sheets[0], sheets[3]) == ("9 files of 40 px", "yes")
    assert sheets[2].endswith("tiles, 9 maps")
    assert not (tmp_path / "scenes" / "sheets").exists()


def test_a_run_that_grows_or_comes_out_wrong_fails() -> None:
    samples = tuple(sawtooth(0.0))
    good = soak.Soak(
        name="loop",
        samples=samples,
        courses=tuple(course(samples, figure) for figure in FIGURES),
        done="3 rounds",
        wrong="",
        says=[],
    )
    grown = tuple(course(sawtooth(90.0), figure) for figure in FIGURES)
    assert not good.failed
    assert replace(good, wrong="2 results").failed
    assert replace(good, courses=grown).failed
    assert [soak.row_of(item)[-1] for item in (good, replace(good, courses=grown))] == ["yes", "no"]
    assert soak.row_of(replace(good, wrong="2 results"))[3] == "2 results"


def test_plans_are_compared_with_that_of_fewest_files() -> None:
    inside = Inside(
        start_s=math.nan, work_s=1.0, opening_s=1.0, steady_s=None, tiles=7, map=Path("none")
    )
    turns = {
        count: Turn(contender="x", round=0, process_s=s, peak_rss_mib=mib, inside=inside)
        for count, s, mib in ((100, 3.0, 200.0), (1100, 4.0, 202.0))
    }
    few, many = planning.rows_of("read", 50, turns)
    assert few[4:] == ("3.0", "", "200", "")
    assert many[4:] == ("4.0", "1.00", "202", "2.05")


def test_a_plan_of_empty_sheets_is_a_dry_run(
    tiny_bundle: Path, tiny_scene: Path, tmp_path: Path
) -> None:
    rules = Rules(rounds=1, threads=1, out=tmp_path, limit_s=60)
    extra = ("--satellite", str(tiny_scene / "sentinel2"))
    table = planning.measure(
        tiny_bundle, tiny_scene, rules, counts=(4,), side=320, backend="auto", extra=extra
    )
    read, simulated = table.rows
    assert read[:3] == ("4", "read", "320")
    assert simulated[:3] == ("4", "simulated", "320")
    assert read[3] == simulated[3]
    assert int(read[3]) >= (640 // 32) ** 2
    assert not any((tmp_path / "runs" / "plan-of-4").glob("maps/*"))
