"""A raster half of which holds no data, said in each way in which rasters say it."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import rasterio
from local_model import LocalModel, map_files, noise, read, write
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from runtime.output.kinds import GOOD, NODATA

Way = Literal["value", "mask", "sidecar", "alpha"]
SHAPE = (90, 110)
ROWS, COLS = np.indices(SHAPE)
BORDERS = {
    "left": COLS < 45,
    "slanted": ROWS > COLS,
    "specks": np.random.default_rng(4).random(SHAPE) < 0.5,
}
FILL = 7
"""Value of nodata; pixels below the mask and the alpha band hold it too."""


def raster(path: Path, hidden: NDArray[np.bool_]) -> Path:
    """Write a raster that holds the same value wherever it will be hidden, and nowhere else."""
    pixels = noise(*hidden.shape)
    pixels[pixels == FILL] = FILL + 1
    return write(path, np.where(hidden, np.uint8(FILL), pixels))


def hide(path: Path, hidden: NDArray[np.bool_], way: Way) -> None:
    """Declare pixels of a raster as nodata, and leave all values as they are."""
    if way == "alpha":
        with rasterio.open(path) as dataset:
            pixels, profile = dataset.read(1), dataset.profile
        profile["count"] = 2
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(pixels, 1)
            dataset.write(np.where(hidden, 0, 255).astype(np.uint8), 2)
        with rasterio.open(path, "r+") as dataset:
            dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        return
    inside = way != "sidecar"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as dataset:
        if way == "value":
            dataset.nodata = FILL
        else:
            dataset.write_mask(~hidden)
    assert path.with_name(path.name + ".msk").is_file() == (not inside)


def mapped(
    path: Path, out: Path, *, blend: bool = False, probabilities: bool = False
) -> dict[str, NDArray[np.uint8]]:
    """Maps of a raster, by name."""
    map_files(
        [path],
        out,
        LocalModel(probabilities=blend or probabilities),
        blend=blend,
        confidence=True,
        probabilities=probabilities,
        quality=True,
    )
    return {found.stem.removeprefix("a_"): read(found) for found in out.glob("a_*.tif")}


@pytest.fixture(scope="module")
def without() -> dict[tuple[str, bool], dict[str, NDArray[np.uint8]]]:
    """Maps of the rasters before anything is hidden, as they are made."""
    return {}


@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize("border", list(BORDERS))
@pytest.mark.parametrize("way", ["value", "mask", "sidecar", "alpha"])
def test_the_valid_half_is_that_of_a_raster_without_nodata(
    way: Way,
    border: str,
    blend: bool,
    without: dict[tuple[str, bool], dict[str, NDArray[np.uint8]]],
    tmp_path: Path,
) -> None:
    hidden = BORDERS[border]
    path = raster(tmp_path / "a.tif", hidden)
    if (border, blend) not in without:
        without[border, blend] = mapped(path, tmp_path / "whole", blend=blend)
    whole = without[border, blend]
    hide(path, hidden, way)
    found = mapped(path, tmp_path / "maps", blend=blend)
    assert set(found) == {"landcover", "confidence", "quality"}
    for name, values in found.items():
        assert (values[:, hidden] == NODATA).all(), name
        assert (values[:, ~hidden] != NODATA).all(), name
        np.testing.assert_array_equal(values[:, ~hidden], whole[name][:, ~hidden], name)
    assert (found["quality"][0][~hidden] == GOOD).all()
    assert (whole["landcover"] == 0).any(), "class 0 is a class"


@pytest.mark.parametrize("way", ["value", "mask", "sidecar", "alpha"])
def test_all_maps_and_their_overviews_show_nodata_where_there_is_nothing_else(
    way: Way, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(1)
    hidden = np.broadcast_to(np.arange(520)[:, None] >= 301, (520, 40))
    path = raster(tmp_path / "a.tif", hidden)
    hide(path, hidden, way)
    found = mapped(path, tmp_path / "maps", probabilities=True)
    assert set(found) == {"landcover", "confidence", "probabilities", "quality"}
    for name, values in found.items():
        np.testing.assert_array_equal(values == NODATA, np.broadcast_to(hidden, values.shape))
        with rasterio.open(tmp_path / "maps" / f"a_{name}.tif", overview_level=0) as dataset:
            assert dataset.nodata == NODATA
            small = dataset.read()
        # Of the two rows of pixels below this row of the overview, one holds data.
        assert (small[:, 151:] == NODATA).all()
        assert (small[:, :151] != NODATA).all()
