"""Maps of a model that is run on mirrored and turned tiles."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from local_model import HALO, TILE, LocalModel, map_files, noise, read, write
from numpy.typing import NDArray

from runtime.augmented import SYMMETRIES, TestTime
from runtime.errors import ConfigError, DataError
from runtime.symmetry import Symmetry

NAMES = ("landcover", "confidence", "probabilities")
STRIDE = TILE - 2 * HALO
MIRROR, TURN = Symmetry(mirror=True), Symmetry(turns=1)


def mapped(pixels: NDArray[np.uint8], folder: Path, **options: Any) -> list[NDArray[np.uint8]]:
    batch = options.pop("batch", 1)
    path = write(folder / "a.tif", pixels)
    model = LocalModel(probabilities=True, batch=batch)
    map_files([path], folder / "maps", model, confidence=True, probabilities=True, **options)
    return [read(folder / "maps" / f"a_{name}.tif") for name in NAMES]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("kind", "symmetry"), [("flips", MIRROR), ("dihedral", TURN)], ids=["mirrored", "turned"]
)
def test_the_map_of_a_mirrored_raster_is_the_mirrored_map(
    kind: TestTime, symmetry: Symmetry, batch: int, tmp_path: Path
) -> None:
    """Of several tiles, by a model that tells left from right and top from bottom."""
    pixels = noise(100, 76)
    ours = mapped(pixels, tmp_path / "ours", tta=kind, batch=batch)
    theirs = mapped(symmetry(pixels), tmp_path / "theirs", tta=kind, batch=batch)
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(yours, symmetry(mine))
    plain = mapped(pixels, tmp_path / "plain", batch=batch)
    assert (plain[0] != ours[0]).mean() > 0.1


@pytest.mark.parametrize(
    ("kind", "symmetry"), [("flips", MIRROR), ("dihedral", TURN)], ids=["mirrored", "turned"]
)
def test_blended_maps_are_mirrored_too(kind: TestTime, symmetry: Symmetry, tmp_path: Path) -> None:
    """Where tiles lie on the mirrored raster as on the raster; weights are summed up otherwise."""
    pixels = noise(4 * STRIDE, 3 * STRIDE)
    ours = mapped(pixels, tmp_path / "ours", tta=kind, blend=True, batch=2)
    theirs = mapped(symmetry(pixels), tmp_path / "theirs", tta=kind, blend=True, batch=2)
    for name, mine, yours in zip(NAMES, ours, theirs, strict=True):
        differs = np.abs(symmetry(mine).astype(int) - yours)
        assert (differs > 0).mean() < 0.001
        assert name == "landcover" or differs.max() <= 1
    plain = mapped(pixels, tmp_path / "plain", blend=True)
    assert (plain[0] != ours[0]).mean() > 0.1


def test_a_tile_that_is_the_raster_gives_the_mean_of_its_runs(tmp_path: Path) -> None:
    pixels = noise(TILE, TILE)
    found = mapped(pixels, tmp_path, tta="dihedral")
    model = LocalModel(probabilities=True)
    runs = [
        symmetry.inverse(model.run({"aerial": symmetry(pixels)[None, None]})["probabilities"][0])
        for symmetry in SYMMETRIES["dihedral"]
    ]
    mean = np.stack(runs).mean(axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(found[0][0], mean.argmax(axis=0))
    np.testing.assert_array_equal(found[1][0], np.rint(mean.max(axis=0) * 254))
    np.testing.assert_array_equal(found[2], np.rint(mean * 254))


class Slow(LocalModel):
    """Takes at least 4 ms a call."""

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        time.sleep(0.004)
        return super().run(feed)


@pytest.mark.parametrize(("kind", "runs"), [("none", 1), ("flips", 4), ("dihedral", 8)])
def test_every_run_of_a_tile_counts(kind: TestTime, runs: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(100, 76))
    model = Slow(probabilities=True)
    report = map_files([path], tmp_path / "maps", model, tta=kind, probabilities=True)
    assert model.runs == [1] * (runs * report.tiles)
    assert report.latency_ms.p50 >= 4 * runs
    assert report.plan is not None
    assert (report.plan.tta, report.plan.runs_per_tile) == (kind, runs)
    assert report.plan.recompute == runs * report.tiles * TILE**2 / report.pixels
    with rasterio.open(tmp_path / "maps" / "a_landcover.tif") as dataset:
        tag = dataset.tags().get("SEGX_TTA")
    assert tag == (None if kind == "none" else f"{kind}, {runs} runs per tile")


def test_a_run_goes_on_in_the_same_symmetries_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1200, 48))
    model = LocalModel(probabilities=True, fail_at=4 * 70)
    with pytest.raises(ZeroDivisionError):
        map_files([path], tmp_path / "maps", model, tta="flips")
    with pytest.raises(DataError, match="the interrupted run of another command"):
        map_files([path], tmp_path / "maps", LocalModel(probabilities=True), tta="dihedral")
    again = map_files([path], tmp_path / "maps", LocalModel(probabilities=True), tta="flips")
    assert again.resumed


def test_memory_for_the_average_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.stream.summary.rss_bytes", lambda: 2**30)
    path = write(tmp_path / "a.tif", noise(100, 76))
    planned = {}
    for kind in ("none", "flips"):
        model = LocalModel(probabilities=True, batch=2)
        report = map_files([path], tmp_path / kind, model, tta=kind, probabilities=True)
        assert report.memory is not None
        planned[kind] = report.memory.planned_mib
    assert planned["flips"] - planned["none"] >= 12 * 2 * 13 * TILE**2 / 2**20


def test_windows_that_serve_many_tiles_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(100, 76))
    with pytest.raises(
        ConfigError, match="--tta flips and --satellite-lattice are given; "
    ) as info:
        map_files([path], tmp_path / "maps", tta="flips", lattice_cells=4)
    assert str(info.value).count(";") == 2
    assert not (tmp_path / "maps").exists()
