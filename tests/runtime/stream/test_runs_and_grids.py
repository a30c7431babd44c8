"""Runs that meet in one folder, and rasters of unusual grids."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from local_model import (
    TILE,
    LocalModel,
    look_around,
    map_files,
    noise,
    read,
    whole_map,
    write,
)
from numpy.typing import NDArray

from runtime.errors import DataError
from runtime.output.workplace import FOLDER


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs give up at once where another one has their folder."""
    monkeypatch.setattr("runtime.output.workplace._WAIT_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_second_run_into_the_same_folder_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    pixels, out = noise(600, 90), tmp_path / "maps"
    path = write(tmp_path / "a.tif", pixels)
    other = write(tmp_path / "b.tif", noise(60, 70))
    refusals = []

    def second(done: int, total: int) -> None:
        if done in (1, total // 2, total):
            for again in (path, other):
                model = LocalModel()
                with pytest.raises(DataError, match="is being written by another run") as stop:
                    map_files([again], out, model, restart=done == 1)
                assert model.runs == []
                refusals.append(str(stop.value))

    report = map_files([path], out, on_tile=second)
    assert len(refusals) == 6
    assert all("\n" not in text and str(out) in text for text in refusals)
    assert not report.resumed
    assert sorted(found.name for found in out.iterdir()) == [
        "a_landcover.qml",
        "a_landcover.tif",
        "a_landcover.tif.aux.xml",
        "a_landcover.tif.vat.dbf",
        "report.json",
    ]
    np.testing.assert_array_equal(read(out / "a_landcover.tif")[0], whole_map(pixels))


@pytest.mark.usefixtures("impatient")
def test_after_a_run_that_was_refused_the_folder_is_free(tmp_path: Path) -> None:
    path, out = write(tmp_path / "a.tif", noise(60, 70)), tmp_path / "maps"

    def second(done: int, total: int) -> None:
        with pytest.raises(DataError):
            map_files([path], out)

    map_files([path], out, on_tile=second)
    map_files([path], out)
    assert not (out / FOLDER).exists()


@pytest.mark.parametrize("changed", [False, True])
def test_after_a_run_that_is_done_the_same_command_begins_anew(
    changed: bool, tmp_path: Path
) -> None:
    out = tmp_path / "maps"
    path = write(tmp_path / "a.tif", noise(700, 60))
    first = map_files([path], out, LocalModel())
    pixels = noise(700, 60, seed=int(changed))
    if changed:
        write(path, pixels)
    model = LocalModel()
    second = map_files([path], out, model)
    assert not second.resumed
    assert second.tiles == len(model.runs) == first.tiles
    assert second.mpx_per_s == pytest.approx(second.pixels / second.wall_s / 1e6)
    np.testing.assert_array_equal(read(out / "a_landcover.tif")[0], whole_map(pixels))


def test_a_run_that_fails_leaves_the_maps_of_the_one_before(tmp_path: Path) -> None:
    path, out = write(tmp_path / "a.tif", noise(700, 60)), tmp_path / "maps"
    map_files([path], out)
    before = (out / "a_landcover.tif").read_bytes()
    write(path, noise(700, 60, seed=1))
    with pytest.raises(ZeroDivisionError):
        map_files([path], out, LocalModel(fail_at=40))
    assert (out / "a_landcover.tif").read_bytes() == before
    assert map_files([path], out).resumed
    assert (out / "a_landcover.tif").read_bytes() != before


TURNED = Affine(0.16, 0.12, 861_904.6, 0.12, -0.16, 6_523_377.2)
FLIPPED = Affine(0.2, 0, 861_904.6, 0, 0.2, 6_523_377.2)


def place(path: Path, pixels: NDArray[np.uint8], grid: Affine, row: int, col: int) -> Path:
    """Write a raster whose corner lies at a row and column of a grid."""
    write(path, pixels)
    x = grid.a * col + grid.b * row + grid.c
    y = grid.d * col + grid.e * row + grid.f
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = Affine(grid.a, grid.b, x, grid.d, grid.e, y)
    return path


@pytest.mark.parametrize("grid", [TURNED, FLIPPED], ids=["turned", "south up"])
def test_a_mosaic_of_turned_files_keeps_their_grids(grid: Affine, tmp_path: Path) -> None:
    pixels = noise(110, 130)
    parts = {"a": np.s_[:70, :], "b": np.s_[70:, :50], "c": np.s_[70:, 50:]}
    paths = {
        name: place(
            tmp_path / f"{name}.tif",
            pixels[rows, cols],
            grid,
            rows.start or 0,
            cols.start or 0,
        )
        for name, (rows, cols) in parts.items()
    }
    map_files(list(paths.values()), tmp_path / "maps")
    whole = whole_map(pixels)
    for name, part in parts.items():
        with (
            rasterio.open(tmp_path / "maps" / f"{name}_landcover.tif") as found,
            rasterio.open(paths[name]) as aerial,
        ):
            assert found.transform == aerial.transform
            assert (found.crs, found.shape) == (aerial.crs, aerial.shape)
            np.testing.assert_array_equal(found.read(1), whole[part])


@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 200), (200, 1), (2, 2), (TILE, TILE), (TILE, 1), (TILE + 1, TILE)]
)
def test_rasters_of_few_pixels_and_of_one_tile(
    shape: tuple[int, int], blend: bool, tmp_path: Path
) -> None:
    pixels = noise(*shape)
    path = write(tmp_path / "a.tif", pixels)
    model = LocalModel(probabilities=blend)
    report = map_files([path], tmp_path / "maps", model, blend=blend)
    assert report.plan is not None
    assert report.pixels == pixels.size
    found = read(tmp_path / "maps" / "a_landcover.tif")
    assert found.shape == (1, *shape)
    if shape == (TILE, TILE):
        # A patch is run as in training, without a halo.
        assert (report.tiles, report.plan.stride, report.plan.halo) == (1, TILE, 0)
    if not blend:
        is_patch = shape == (TILE, TILE)
        expected = look_around(pixels) % 13 if is_patch else whole_map(pixels)
        np.testing.assert_array_equal(found[0], expected)


def test_a_file_of_one_pixel_beside_others_is_mapped_as_a_part_of_them(tmp_path: Path) -> None:
    pixels = noise(60, 61)
    parts = {"a": np.s_[:, :60], "b": np.s_[:30, 60:], "c": np.s_[30:31, 60:], "d": np.s_[31:, 60:]}
    paths = [
        write(tmp_path / f"{name}.tif", pixels[part], part[0].start or 0, part[1].start or 0)
        for name, part in parts.items()
    ]
    map_files(paths, tmp_path / "maps")
    for name, part in parts.items():
        found = read(tmp_path / "maps" / f"{name}_landcover.tif")[0]
        np.testing.assert_array_equal(found, whole_map(pixels)[part])
