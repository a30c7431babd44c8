"""The grid of a converted series: cells of 10 m on the lattice of the products."""

import math

import rasterio.warp
from affine import Affine
from rasterio.crs import CRS

from runtime.errors import GridError
from runtime.grid import Grid

CELL_M = 10.0
MARGIN_M = 400.0
"""Ground around an aerial image: the window of 40 cells around a tile at its edge, and more."""
MOST_CELLS = 30_000
"""Cells on a side at most; a whole tile has 10 980."""


def margin_grid(aerial: Grid, like: Grid, margin_m: float = MARGIN_M) -> Grid:
    """Lay a grid around an aerial image.

    Args:
        aerial: Grid of the image.
        like: A band of 10 m whose CRS and lattice are taken.
        margin_m: Ground on each side, in metres.

    Raises:
        GridError: If the two cannot be related, or the grid would be too large.
    """
    left, bottom, right, top = rasterio.warp.transform_bounds(aerial.crs, like.crs, *aerial.bounds)
    bounds = (left - margin_m, bottom - margin_m, right + margin_m, top + margin_m)
    return _snapped([bounds], like)


def whole_grid(grids: list[Grid]) -> Grid:
    """Lay a grid around whole products, on the lattice and in the CRS of the first.

    Raises:
        GridError: If it would be too large.
    """
    first = grids[0]
    bounds = [
        item.bounds
        if item.crs == first.crs
        else rasterio.warp.transform_bounds(item.crs, first.crs, *item.bounds)
        for item in grids
    ]
    return _snapped(bounds, first)


def _snapped(bounds: list[tuple[float, float, float, float]], like: Grid) -> Grid:
    x0, y0 = like.transform.c, like.transform.f
    slack = 1e-6
    left = math.floor((min(item[0] for item in bounds) - x0) / CELL_M + slack) * CELL_M + x0
    top = y0 - math.floor((y0 - max(item[3] for item in bounds)) / CELL_M + slack) * CELL_M
    cols = math.ceil((max(item[2] for item in bounds) - left) / CELL_M - slack)
    rows = math.ceil((top - min(item[1] for item in bounds)) / CELL_M - slack)
    if max(rows, cols) > MOST_CELLS:
        raise GridError(
            f"the products span {rows} x {cols} cells of 10 m; expected {MOST_CELLS} on a side at "
            "most; name the aerial image, to take only what lies around it"
        )
    return Grid((rows, cols), Affine(CELL_M, 0.0, left, 0.0, -CELL_M, top), CRS(like.crs))
