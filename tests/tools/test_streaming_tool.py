"""Scenes that the tool makes, how it compares and what it counts; two short runs of segx."""

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from runtime.geoseries import open_series
from runtime.grid import Grid
from runtime.raster import describe, reflected
from segx.sample import write_scene
from tools.bench_peers.contest import Inside, Rules, Turn
from tools.bench_peers.raster import make_raster, open_raster
from tools.streaming import efficiency, killing, large, memory, report, virtual
from tools.streaming.commands import Infer
from tools.streaming.killing import Left, Trial
from tools.streaming.pixels import first_difference
from tools.streaming.point import make_bundle

SIDE, TILE = 192, 64


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("small") / "scene", seed=2, shape=(150, 170))


def _pixels(path: Path) -> Any:
    with open_raster(path) as opened:
        return opened.read()


def _turn(mib: float = 100.0, **says: Any) -> Turn:
    inside = Inside(
        start_s=1.0, work_s=8.0, opening_s=1.0, steady_s=7.0, tiles=9, map=Path("none"), says=says
    )
    return Turn(contender="segx", round=0, process_s=9.0, peak_rss_mib=mib, inside=inside)


@given(
    box=st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2),
    shape=st.tuples(*[st.integers(1, 15)] * 2),
)
def test_every_pixel_of_a_window_comes_once_from_the_repeated_file(
    box: tuple[int, int, int, int], shape: tuple[int, int]
) -> None:
    col, row, width, height = box
    source = np.arange(shape[0] * shape[1]).reshape(shape)
    found, counts = np.zeros((2, height, width), dtype=int)
    for taken, put in virtual.repeats(Window(col, row, width, height), *shape):
        (rows, cols), to = taken.toslices(), put.toslices()
        found[to] = source[rows, cols]
        counts[to] += 1
    assert (counts == 1).all()
    at = np.ix_(np.arange(row, row + height) % shape[0], np.arange(col, col + width) % shape[1])
    np.testing.assert_array_equal(found, source[at])


@pytest.mark.parametrize("kind", ["vrt", "mosaic"])
def test_a_virtual_scene_repeats_its_file(scene: Path, tmp_path: Path, kind: str) -> None:
    aerial = scene / "aerial.tif"
    made = virtual.make_scene(tmp_path / "scene", aerial, 400, kind=kind, cut=170)
    source, found = _pixels(aerial), np.zeros((5, 400, 400), dtype=np.uint8)
    whole = describe(aerial)
    place = Grid((400, 400), whole.grid.transform, whole.grid.crs)
    for path in [made] if made.is_file() else sorted(made.iterdir()):
        info = describe(path)
        assert info.bands == whole.bands
        row, col = place.offset_of(info.grid) or (0, 0)
        height, width = info.grid.shape
        found[:, row : row + height, col : col + width] = _pixels(path)
    repeated = np.tile(source, (1, 3, 3))[:, :400, :400]
    np.testing.assert_array_equal(found, repeated)


def test_a_large_scene_is_its_source_mirrored_with_a_series_that_covers_it(
    scene: Path, tmp_path: Path
) -> None:
    made = large.make_large(scene, 900, tmp_path / "large")
    source = _pixels(scene / "aerial.tif")
    rows, cols = reflected(0, 900, source.shape[1]), reflected(0, 900, source.shape[2])
    np.testing.assert_array_equal(_pixels(made / "aerial.tif"), source[:, rows][:, :, cols])
    old, new = open_series(scene / "sentinel2"), open_series(made / "sentinel2")
    assert new.days == old.days
    aerial = describe(made / "aerial.tif").grid
    corners = [
        aerial.cells_around(row, col, size=2, cell_m=10.0, target=new.grid)
        for row in (0, 900)
        for col in (0, 900)
    ]
    at = np.array(corners).transpose(1, 0, 2, 3).reshape(2, -1)
    assert at.min() >= large.MARGIN - 2
    assert (at.max(axis=1) <= np.array(new.shape) - large.MARGIN + 1).all()


def test_a_large_series_shows_what_the_small_one_does_where_that_lies(
    scene: Path, tmp_path: Path
) -> None:
    made = large.make_large(scene, 900, tmp_path / "large")
    for path in sorted((scene / "sentinel2").iterdir()):
        other = made / "sentinel2" / path.name
        row, col = describe(path).grid.offset_of(describe(other).grid) or (0, 0)
        small, big = _pixels(path), _pixels(other)
        rows, cols = (
            reflected(start, length, size)
            for start, length, size in zip((row, col), big.shape[1:], small.shape[1:], strict=True)
        )
        np.testing.assert_array_equal(big, small[:, rows][:, :, cols])
        with open_raster(path) as one, open_raster(other) as two:
            assert one.descriptions == two.descriptions
            assert (one.dtypes, one.nodata) == (two.dtypes, two.nodata)


def _write_map(path: Path, pixels: Any, **more: Any) -> None:
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 600, "width": 70} | more
    place = rasterio.Affine(0.2, 0, 7e5, 0, -0.2, 6e6)
    with rasterio.open(path, "w", crs="EPSG:2154", transform=place, **profile) as target:
        target.write(pixels, 1)
        target.build_overviews([2, 4])


@pytest.mark.parametrize(("row", "col"), [(0, 0), (511, 69), (512, 3), (599, 69)])
def test_one_pixel_of_a_map_or_of_an_overview_that_differs_is_found(
    tmp_path: Path, row: int, col: int
) -> None:
    folder = tmp_path
    pixels = np.arange(600 * 70, dtype=np.uint8).reshape(600, 70)
    _write_map(folder / "a.tif", pixels)
    _write_map(folder / "same.tif", pixels)
    assert first_difference(folder / "a.tif", folder / "same.tif") == ""
    with rasterio.open(folder / "same.tif", "r+", overview_level=1) as opened:
        shape = opened.shape
        band = opened.read(1)
        band[row * shape[0] // 600, col * shape[1] // 70] ^= 1
        opened.write(band, 1)
    assert first_difference(folder / "a.tif", folder / "same.tif").startswith("overview 4: 1 pixel")
    pixels[row, col] ^= 1
    _write_map(folder / "other.tif", pixels)
    assert "1 pixels differ" in first_difference(folder / "a.tif", folder / "other.tif")


def test_maps_of_another_kind_or_number_differ(tmp_path: Path) -> None:
    pixels = np.zeros((600, 70), dtype=np.uint8)
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, nodata in ((one, 255), (other, 254)):
        folder.mkdir()
        _write_map(folder / "map.tif", pixels, nodata=nodata)
    assert "254" in killing.folders_differ(one, other)
    assert killing.folders_differ(one, one) == ""
    (other / "more.tif").touch()
    assert "more.tif" in killing.folders_differ(one, other)


def test_memory_is_compared_with_the_smallest_side_of_the_same_limit() -> None:
    given = [(5, None, 200.0), (40, None, 210.0), (5, "1GB", 100.0), (40, "1GB", 150.0)]
    peaks = [memory.Peak(side=s, limit=limit, turn=_turn(mib)) for s, limit, mib in given]
    ratios = [memory.ratio_of(peak, peaks) for peak in peaks]
    assert ratios == pytest.approx([1.0, 1.05, 1.0, 1.5])


TRIAL = Trial(
    moment_s=1.0,
    done_share=0.5,
    left=Left(pieces=3, sheets=0, is_whole=False),
    resumed=True,
    tiles=4,
    twice=1,
    again_s=2.0,
    difference="",
)


def test_kills_are_summed_up_and_one_that_differs_or_begins_anew_fails() -> None:
    nothing = Left(pieces=0, sheets=0, is_whole=False)
    early = replace(TRIAL, left=nothing, resumed=False, tiles=9, twice=0)
    differs = replace(TRIAL, difference="map.tif: 1 pixels differ", tiles=5, twice=3)
    begun_anew = replace(TRIAL, resumed=False)
    late = replace(begun_anew, left=replace(TRIAL.left, is_whole=True))
    trials = [TRIAL, early, differs]
    assert killing.summarise(trials, 9, 12.0) == (
        "2 of 3", "2", "2", "9", "4 / 5 / 9", "3", "12.0",
    )  # fmt: skip
    assert [trial.failed for trial in (*trials, begun_anew, late)] == [
        False, False, True, True, False,
    ]  # fmt: skip


def test_progress_is_what_was_said_last() -> None:
    assert killing.said_done("segx: warning\n") == 0.0
    assert killing.said_done("tiles: 2/20, 1 s\ntiles: 6/20, 2 s, about 9 s left\nti") == 0.3


def test_a_killed_run_that_ends_before_its_moment_is_started_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moments: list[float] = []
    tries = killing.STARTS_PER_KILL
    endings = ["", killing.OUT_OF_TIME, *[""] * tries, "ended with 2; no such bundle"]

    def take_turn(contender: Any, number: int, rules: Rules) -> Turn:
        moments.append(rules.limit_s)
        return Turn(contender=contender.name, round=number, failed=endings[len(moments) - 1])

    monkeypatch.setattr(killing, "take_turn", take_turn)
    rules = Rules(rounds=1, threads=1, out=tmp_path)
    infer = Infer(name="x", bundle=tmp_path, source=tmp_path, backend="auto", threads=1)
    generator = random.Random(3)
    assert killing._kill(infer, rules, 10.0, generator) == moments[1]
    with pytest.raises(SystemExit, match=f"{tries} runs ended before"):
        killing._kill(infer, rules, 10.0, generator)
    with pytest.raises(SystemExit, match="no such bundle"):
        killing._kill(infer, rules, 10.0, generator)
    assert len(set(moments)) == len(endings)
    assert all(0 <= moment <= 10 for moment in moments)


def test_efficiency_gives_medians_and_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    says: Mapping[str, Any] = {
        "bundle": "b",
        "backend": "onnxruntime",
        "precision": "fp32",
        "tiles_per_s": 4.0,
        "efficiency": 0.9,
        "efficiency_least": 0.8,
        "rounds": [{"end_to_end_tiles_per_s": rate} for rate in (2.0, 5.0, 4.0)],
        "end_to_end": {"tiles": 9, "bound_by": "infer", "peak_rss_mib": 300.2},
    }
    monkeypatch.setattr(efficiency, "run", lambda bench, rules: _turn(**says))
    rules = Rules(rounds=3, threads=1, out=Path("out"))
    table = efficiency.measure(Path("b.segx"), Path("s"), rules, backend="auto", large=None)
    assert table.rows == [
        ("b", "s", "onnxruntime fp32", "9", "250.00", "250.00", "0.800 / 0.900", "infer", "300"),
    ]
    assert not math.isnan(table.details[0]["s"].process_s)


def test_memory_runs_segx_itself_and_writes_tables(tmp_path: Path) -> None:
    aerial = make_raster(tmp_path / "aerial.tif", SIDE, None)
    bundle = make_bundle(tmp_path / "point.segx", aerial, tile=TILE, halo=16)
    rules = Rules(rounds=1, threads=1, out=tmp_path / "out", limit_s=60)
    plan = memory.Plan(aerial=aerial, sides=(SIDE + 9,), kind="mosaic", cut=SIDE, limits=("1GB",))
    table = memory.measure(plan, bundle, rules, backend="onnxruntime", extra=("--quality",))
    ((side, limit, tiles, *_, ratio, _),) = table.rows
    assert (side, limit, tiles, ratio) == (str(SIDE + 9), "1GB", "49", "1.000")
    assert not any((rules.out / "scenes").iterdir())
    text, everything = report.write(table, rules.out, "memory")
    assert f"| {SIDE + 9} | 1GB | 49 |" in text.read_text(encoding="utf-8")
    assert everything.is_file()


def test_kill_starts_kills_and_goes_on(tmp_path: Path) -> None:
    aerial = make_raster(tmp_path / "aerial.tif", SIDE, None)
    bundle = make_bundle(tmp_path / "point.segx", aerial, tile=TILE, halo=16)
    rules = Rules(rounds=1, threads=1, out=tmp_path / "out", limit_s=60)
    table = killing.measure(bundle, aerial, rules, seed=1, backend="onnxruntime", extra=())
    (row,) = table.rows
    assert row[0] == "1 of 1"
    assert not table.failed
