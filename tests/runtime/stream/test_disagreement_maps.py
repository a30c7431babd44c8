"""The map of where overlapping tiles differ, against a count over the whole raster."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from attribute_tables import read_table
from local_model import POOL, TILE, LocalModel, card_of, map_files, noise, read, write
from numpy.typing import NDArray

from runtime.output.kinds import AGREE, DIFFER, NODATA, ONE_TILE
from runtime.raster import reflected
from runtime.tiler import TilePlan

SHAPE = 130, 150


def brute_force(pixels: NDArray[np.uint8], plan: TilePlan, soft: bool) -> NDArray[np.uint8]:
    """Whether all tiles that see a pixel give it one class, from the classes of all tiles."""
    height, width = plan.shape
    model, given = LocalModel(probabilities=soft), np.zeros((13, height, width), dtype=np.int64)
    for tile in plan:
        rows, cols = (
            reflected(at, plan.size, side) for at, side in ((tile.row, height), (tile.col, width))
        )
        result = model.run({"aerial": pixels[np.ix_(rows, cols)][None, None]})
        classes = result["probabilities"].argmax(axis=1)[0] if soft else result["classes"][0]
        for row in range(max(tile.row, 0), min(tile.row + plan.size, height)):
            for col in range(max(tile.col, 0), min(tile.col + plan.size, width)):
                given[classes[row - tile.row, col - tile.col], row, col] += 1
    several = np.where((given > 0).sum(axis=0) > 1, np.uint8(DIFFER), np.uint8(AGREE))
    return np.where(given.sum(axis=0) == 1, np.uint8(ONE_TILE), several)


@pytest.mark.parametrize("halo", [POOL, 4 * POOL])
@pytest.mark.parametrize("blend", [False, True])
def test_tiles_are_compared_wherever_they_see_a_pixel(
    blend: bool, halo: int, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    pixels = noise(*SHAPE)
    path = write(tmp_path / "a.tif", pixels)
    plan = TilePlan(shape=SHAPE, size=TILE, halo=halo)
    expected = brute_force(pixels, plan, blend)
    assert {*np.unique(expected)} == {AGREE, DIFFER} | ({ONE_TILE} if halo == POOL else set())
    for columns in (100, 1):
        few_columns(columns)
        map_files(
            [path],
            tmp_path / str(columns),
            LocalModel(probabilities=blend, batch=2),
            card=card_of(TILE, halo),
            blend=blend,
            disagreement=True,
        )
        found = tmp_path / str(columns) / "a_disagreement.tif"
        np.testing.assert_array_equal(read(found)[0], expected)
        assert [row.pixels for row in read_table(found)] == [
            (expected == value).sum() for value in range(3)
        ]


@pytest.mark.parametrize("blend", [False, True])
def test_the_other_maps_stay_as_they_are(
    blend: bool, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(2)
    path = write(tmp_path / "a.tif", noise(*SHAPE))
    for name, asked in (("with", True), ("without", False)):
        map_files(
            [path],
            tmp_path / name,
            LocalModel(probabilities=blend),
            card=card_of(TILE, POOL),
            blend=blend,
            confidence=True,
            quality=True,
            disagreement=asked,
        )
    for kind in ("landcover", "confidence", "quality"):
        np.testing.assert_array_equal(
            read(tmp_path / "with" / f"a_{kind}.tif"), read(tmp_path / "without" / f"a_{kind}.tif")
        )


def test_nodata_is_nodata_there_too(tmp_path: Path) -> None:
    pixels, hidden = noise(*SHAPE), np.zeros(SHAPE, dtype=np.bool_)
    hidden[20:60, 33:90] = True
    path = write(tmp_path / "a.tif", pixels)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(~hidden)
    map_files([path], tmp_path / "maps", disagreement=True)
    found = read(tmp_path / "maps" / "a_disagreement.tif")[0]
    np.testing.assert_array_equal(found == NODATA, hidden)


def test_a_run_goes_on_to_the_same_disagreement(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1100, 90))
    options = {"card": card_of(TILE, POOL), "disagreement": True}
    map_files([path], tmp_path / "whole", **options)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        map_files([path], tmp_path / "maps", LocalModel(fail_at=60), **options)  # type: ignore[arg-type]
    assert map_files([path], tmp_path / "maps", **options).resumed  # type: ignore[arg-type]
    for kind in ("disagreement", "landcover"):
        np.testing.assert_array_equal(
            read(tmp_path / "maps" / f"a_{kind}.tif"), read(tmp_path / "whole" / f"a_{kind}.tif")
        )
