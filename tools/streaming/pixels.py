"""Compare two maps bit for bit, piece by piece, with their overviews."""

from pathlib import Path
from typing import Any

import rasterio
from rasterio.windows import Window

ROWS = 512
"""Rows that are compared at once."""


def first_difference(first: Path, second: Path) -> str:
    """Say where two rasters differ; empty if all pixels of all levels are the same."""
    with rasterio.open(first) as one, rasterio.open(second) as other:
        levels = [raster.overviews(1) for raster in (one, other)]
        if levels[0] != levels[1]:
            return f"overviews {levels[0]} and {levels[1]}"
    for level in (None, *range(len(levels[0]))):
        if found := _difference(first, second, level):
            return found if level is None else f"overview {levels[0][level]}: {found}"
    return ""


def _difference(first: Path, second: Path, level: int | None) -> str:
    options = {} if level is None else {"overview_level": level}
    with rasterio.open(first, **options) as one, rasterio.open(second, **options) as other:
        kinds = [_kind(raster) for raster in (one, other)]
        if kinds[0] != kinds[1]:
            return f"{kinds[0]} and {kinds[1]}"
        for top in range(0, one.height, ROWS):
            window = Window(0, top, one.width, min(ROWS, one.height - top))
            differ = one.read(window=window) != other.read(window=window)
            if differ.any():
                return f"{int(differ.sum())} pixels differ from row {top} on"
    return ""


def _kind(raster: Any) -> tuple[Any, ...]:
    return (raster.shape, raster.count, raster.dtypes, raster.nodata, raster.transform, raster.crs)
