"""Laws of whole maps, with a model that sees its surroundings."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_model import (
    HALO,
    TILE,
    LocalModel,
    card_of,
    look_around,
    map_files,
    noise,
    read,
    whole_map,
    write,
)
from numpy.typing import NDArray

from runtime.output.kinds import NODATA

sides = st.integers(1, 150)


@settings(max_examples=20)
@given(height=sides, width=sides)
def test_tiles_make_the_map_of_the_whole(
    height: int, width: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("whole")
    pixels = noise(height, width)
    map_files([write(folder / "a.tif", pixels)], folder / "maps")
    found = read(folder / "maps" / "a_landcover.tif")[0]
    if pixels.shape == (TILE, TILE):  # a patch is run as in training
        np.testing.assert_array_equal(found, look_around(pixels) % 13)
    else:
        np.testing.assert_array_equal(found, whole_map(pixels))


@settings(max_examples=15)
@given(data=st.data(), height=st.integers(2, 150), width=st.integers(2, 150))
def test_a_mosaic_cut_anywhere_is_the_map_of_the_whole(
    data: st.DataObject, height: int, width: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mosaic")
    pixels = noise(height, width)
    rows, cols = (
        [0, *sorted(data.draw(st.sets(st.integers(1, side - 1), max_size=3))), side]
        for side in pixels.shape
    )
    places = [
        (np.s_[top:bottom, left:right], folder / f"{top}_{left}.tif")
        for top, bottom in pairwise(rows)
        for left, right in pairwise(cols)
    ]
    for part, path in places:
        write(path, pixels[part], part[0].start, part[1].start)
    map_files([path for _, path in places], folder / "maps")
    found = np.full_like(pixels, NODATA)
    for part, path in places:
        found[part] = read(folder / "maps" / f"{path.stem}_landcover.tif")[0]
    expected = look_around(pixels) % 13 if pixels.shape == (TILE, TILE) else whole_map(pixels)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("tile", [TILE, 64, 100])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("strip", [1, 2, 100])
def test_the_map_does_not_depend_on_how_it_is_made(
    tile: int, batch: int, strip: int, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(strip)
    pixels = noise(131, 167)
    model = LocalModel(batch=batch)
    path = write(tmp_path / "a.tif", pixels)
    report = map_files([path], tmp_path / "maps", model, card=card_of(tile), confidence=True)
    np.testing.assert_array_equal(read(tmp_path / "maps" / "a_landcover.tif")[0], whole_map(pixels))
    assert set(model.runs) == {batch}, "the last batch is filled up"
    assert len(model.runs) == -(-report.tiles // batch)
    assert report.plan is not None
    assert report.plan.batch == batch


@pytest.mark.parametrize("halo", [HALO - 4, 0])
def test_a_halo_that_is_too_small_shows_at_the_seams(halo: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(150, 150))
    good = map_files([path], tmp_path / "good")
    map_files([path], tmp_path / "bad", halo=halo)
    assert good.plan is not None
    assert good.plan.halo_exact
    found = read(tmp_path / "bad" / "a_landcover.tif")
    assert (found != read(tmp_path / "good" / "a_landcover.tif")).any()


def test_where_files_overlap_the_first_that_holds_data_gives_it(tmp_path: Path) -> None:
    first, second = noise(90, 70, seed=1), noise(90, 80, seed=2)
    paths = [write(tmp_path / "a.tif", first), write(tmp_path / "b.tif", second, 0, 50)]
    map_files(paths, tmp_path / "maps")
    expected = whole_map(np.concatenate([first, second[:, 20:]], axis=1))
    np.testing.assert_array_equal(read(tmp_path / "maps" / "a_landcover.tif")[0], expected[:, :70])
    np.testing.assert_array_equal(read(tmp_path / "maps" / "b_landcover.tif")[0], expected[:, 50:])


def test_a_gap_between_files_is_not_run(tmp_path: Path) -> None:
    # An L: the corner that no file covers is far from both.
    paths = [
        write(tmp_path / "a.tif", noise(300, 60, seed=1)),
        write(tmp_path / "b.tif", noise(60, 300, seed=2), 240, 60),
    ]
    model = LocalModel()
    report = map_files(paths, tmp_path / "maps", model)
    stride = TILE - 2 * HALO
    every = -(-300 // stride) * -(-360 // stride)
    assert report.tiles == len(model.runs) < every / 2
    for name in ("a", "b"):
        assert (read(tmp_path / "maps" / f"{name}_landcover.tif") < NODATA).all()


def blended(pixels: NDArray[np.uint8], folder: Path, **options: Any) -> NDArray[np.uint8]:
    path = write(folder / "a.tif", pixels)
    model = LocalModel(probabilities=True, batch=2)
    map_files([path], folder / "maps", model, blend=True, **options)
    names = ("landcover", "confidence", "probabilities")
    maps = [folder / "maps" / f"a_{name}.tif" for name in names]
    return np.concatenate([read(path) for path in maps if path.is_file()])


def test_a_blended_map_does_not_depend_on_strips(
    few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    pixels, every = noise(140, 170), {"confidence": True, "probabilities": True}
    whole = blended(pixels, tmp_path / "whole", **every)
    few_columns(2)
    np.testing.assert_array_equal(blended(pixels, tmp_path / "strips", **every), whole)
    # With an exact halo tiles agree inside, so that blending changes their edges only.
    assert whole.shape == (15, 140, 170)
    assert (whole < NODATA).all()


def test_a_tile_without_data_changes_no_other_pixel_of_a_blended_map(tmp_path: Path) -> None:
    pixels = noise(200, 230)
    whole = blended(pixels, tmp_path / "whole")
    hidden = np.zeros(pixels.shape, dtype=np.bool_)
    hidden[40:170, 60:200] = True
    path = tmp_path / "some" / "a.tif"
    path.parent.mkdir()
    import rasterio

    write(path, np.where(hidden, pixels, pixels))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(~hidden)
    model = LocalModel(probabilities=True)
    report = map_files([path], tmp_path / "some" / "maps", model, blend=True)
    assert report.tiles_skipped > 0
    found = read(tmp_path / "some" / "maps" / "a_landcover.tif")
    np.testing.assert_array_equal(found, np.where(hidden, NODATA, whole))
