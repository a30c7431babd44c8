"""Small grids and maps, and a way to read a finished map with its overviews."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from runtime.datasets.flair import CLASSES
from runtime.grid import Grid
from runtime.output.kinds import MapTags, class_tags

NORTH_UP = Affine(0.2, 0.0, 7e5, 0.0, -0.2, 6.6e6)


@pytest.fixture(scope="session")
def tags() -> MapTags:
    return MapTags(file={"SEGX_BUNDLE": "tiny"}, band=class_tags(CLASSES))


@pytest.fixture(scope="session")
def grid_of() -> Callable[..., Grid]:
    """Function that makes a grid: `grid_of(rows, cols)`."""

    def make(rows: int, cols: int, transform: Affine = NORTH_UP) -> Grid:
        return Grid((rows, cols), transform, CRS.from_epsg(2154))

    return make


@pytest.fixture(scope="session")
def levels_of() -> Callable[[str | Path], list[NDArray[np.uint8]]]:
    """Function that reads a map and its overviews, each of shape (bands, rows, cols)."""

    def read(path: str | Path) -> list[NDArray[np.uint8]]:
        with rasterio.open(path) as dataset:
            found = [dataset.read()]
            count = len(dataset.overviews(1))
        for level in range(count):
            with rasterio.open(path, overview_level=level) as dataset:
                found.append(dataset.read())
        return found

    return read
