"""A mosaic on a slope, and the same slope on grids of other places, pixels and CRS."""

import numpy as np
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from runtime.aerial.elevation import Codes, Elevation
from runtime.grid import Grid

EAST, NORTH = 861_900.0, 6_523_380.0
MOSAIC = Grid((300, 310), Affine(0.2, 0, EAST, 0, -0.2, NORTH), CRS.from_epsg(2154))
TURNED = Grid((90, 80), Affine(0.16, 0.12, EAST, 0.12, -0.16, NORTH), CRS.from_epsg(2154))


def height(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres above the ground, at a place in the mosaic's CRS."""
    return 20 + 0.3 * (xs - EAST) + 0.2 * (ys - NORTH)


def centres(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, cols = np.indices(grid.shape) + 0.5
    a, b, c, d, e, f = grid.transform[:6]
    return cols * a + rows * b + c, cols * d + rows * e + f


def expected(grid: Grid) -> NDArray[np.float64]:
    return np.clip(height(*centres(grid)) * 5, 0, 255)


def around(epsg: int, side: float, size: int) -> Grid:
    """A grid of another CRS around the mosaic."""
    (x,), (y,) = rasterio.warp.transform("EPSG:2154", f"EPSG:{epsg}", [EAST + 20], [NORTH - 20])
    half = size / 2 * side
    return Grid((size, size), Affine(side, 0, x - half, 0, -side, y + half), CRS.from_epsg(epsg))


def plane_on(grid: Grid) -> NDArray[np.float32]:
    xs, ys = centres(grid)
    if grid.crs != MOSAIC.crs:
        moved = rasterio.warp.transform(grid.crs, MOSAIC.crs, xs.ravel(), ys.ravel())
        xs, ys = (np.reshape(axis, grid.shape) for axis in moved)
    return height(xs, ys).astype(np.float32)


def whole(band: Elevation, grid: Grid) -> Codes:
    return band.read(slice(0, grid.shape[0]), slice(0, grid.shape[1]))
