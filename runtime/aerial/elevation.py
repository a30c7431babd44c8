"""Give the elevation band of a model where aerial files lack it.

    --elevation zero    0 everywhere
    --elevation FILE    heights above the ground, from one band of any grid and CRS

The code is FLAIR's: 1 unit is 0.2 m, 255 is 51 m and all above. A file of uint8 holds that code;
any other type holds metres, after the scale and offset that the file states.
"""

import math
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
import rasterio.warp
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from ..errors import BandError, DataError, GridError
from ..grid import Grid
from ..raster import RasterReader

ELEVATION = "elevation"
"""Name of the band, as models and files spell it."""
ZERO = "zero"
"""Value of `--elevation` for 0 everywhere."""

UNITS_PER_M = 5
CHUNK = 256
"""Side of the squares that are resampled at once, in pixels, at most."""
CACHE_BYTES = 32 * 2**20
"""Most bytes of resampled squares that are kept."""

_SOURCE_SIDE = 1024
"""Most pixels of the elevation file on a side that one square is made of."""
_METRES = frozenset({"", "m", "metre", "metres", "meter", "meters"})
_SAMPLES = 4
"""Places along each axis at which heights are looked at before a run."""

Codes = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""FLAIR's code of heights, and which pixels hold one; shape (rows, columns) each."""


class Elevation(Protocol):
    """An elevation band on the grid of a mosaic; for one thread."""

    @property
    def text(self) -> str:
        """What the band is made of, for report and tags."""

    def read(self, rows: slice, cols: slice) -> Codes:
        """Read a window that lies on the mosaic."""

    def close(self) -> None:
        """Close the files behind it."""


def open_elevation(choice: str, grid: Grid) -> Elevation:
    """Open what `--elevation` names.

    Args:
        choice: `zero`, or the path of a raster.
        grid: Grid of the mosaic.

    Raises:
        DataError: If the file is missing, damaged, or holds no heights above the ground.
        BandError: If it has several bands, or counts in another unit than metres.
        GridError: If it lies elsewhere.
    """
    return ZeroElevation() if choice == ZERO else ElevationFile(Path(choice), grid)


class ZeroElevation:
    """Flat ground without anything on it."""

    @property
    def text(self) -> str:
        """What the band is made of."""
        return "zero everywhere"

    def read(self, rows: slice, cols: slice) -> Codes:
        """Give zeros that are valid."""
        shape = rows.stop - rows.start, cols.stop - cols.start
        return np.zeros(shape, dtype=np.uint8), np.ones(shape, dtype=np.bool_)

    def close(self) -> None:
        """Do nothing."""


class ElevationFile:
    """Heights from a raster, resampled bilinearly onto the grid of a mosaic.

    It is resampled in squares that lie on the mosaic's grid, whatever window is read: a pixel is
    the same in all of them. The squares last used are kept.
    """

    def __init__(self, path: Path, grid: Grid) -> None:
        """Open a raster; see `open_elevation`."""
        self._reader = RasterReader(path)
        self._grid = grid
        self._chunks: OrderedDict[tuple[int, int], Codes] = OrderedDict()
        try:
            self._scale, self._offset = self._metres()
            self._check_place()
            self._side = self._chunk_side()
            self._check_heights()
        except DataError:
            self._reader.close()
            raise

    @property
    def text(self) -> str:
        """What the band is made of."""
        info = self._reader.info
        stored = "as stored" if info.dtype == "uint8" else f"metres x {UNITS_PER_M}"
        same = info.grid.offset_of(self._grid) is not None
        return f"{info.path.name}, {stored}{'' if same else ', resampled bilinearly'}"

    def read(self, rows: slice, cols: slice) -> Codes:
        """Read a window that lies on the mosaic.

        Raises:
            DataError: If the file is damaged there.
        """
        shape = rows.stop - rows.start, cols.stop - cols.start
        codes, valid = np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.bool_)
        side = self._side
        for row in range(rows.start // side, -(-rows.stop // side)):
            for col in range(cols.start // side, -(-cols.stop // side)):
                found = self._chunk(row, col)
                to_rows, from_rows = _common(rows, row * side, side)
                to_cols, from_cols = _common(cols, col * side, side)
                codes[to_rows, to_cols] = found[0][from_rows, from_cols]
                valid[to_rows, to_cols] = found[1][from_rows, from_cols]
        return codes, valid

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _metres(self) -> tuple[float, float]:
        """Scale and offset from stored values to metres, or to the code where that is stored."""
        info = self._reader.info
        if info.count != 1 or info.dtype.startswith("complex"):
            raise BandError(
                f"{info.path} has {info.count} {info.dtype} band(s); expected one of heights above "
                "the ground; write them to a file of their own"
            )
        if info.dtype == "uint8":
            return 1.0, 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(info.path) as dataset:
                unit, scale, offset = dataset.units[0], dataset.scales[0], dataset.offsets[0]
        if (unit or "").lower() not in _METRES:
            raise BandError(
                f"{info.path} counts heights in {unit}; expected metres; convert it, for example "
                "with gdal_calc.py"
            )
        return scale * UNITS_PER_M, offset * UNITS_PER_M

    def _chunk_side(self) -> int:
        """Side of the squares: smaller ones where many pixels of the file go into one."""
        height, width = self._grid.shape
        rows, cols = self._positions(self._grid.crop(height // 2, width // 2, CHUNK, CHUNK))
        side, source = CHUNK, max(rows.stop - rows.start, cols.stop - cols.start)
        while side > 1 and source > _SOURCE_SIDE:
            side, source = side // 2, source // 2
        return side

    def _check_place(self) -> None:
        if not self._grid.overlaps(self._reader.info.grid):
            raise GridError(
                f"{self._reader.info.path} lies beside the aerial imagery; expected heights of the "
                "same ground; name another file with --elevation"
            )

    def _check_heights(self) -> None:
        """Refuse heights above the sea, which would all be cut to the largest code."""
        if self._reader.info.dtype == "uint8":
            return
        height, width = self._grid.shape
        size = min(8, height, width)
        rows = np.linspace(0, height - size, _SAMPLES).astype(int)
        cols = np.linspace(0, width - size, _SAMPLES).astype(int)
        crops = [self._grid.crop(row, col, size, size) for row in rows for col in cols]
        heights = np.concatenate([self._warp(crop).ravel() for crop in crops])
        heights = heights[np.isfinite(heights)]
        if heights.size and np.median(heights) > np.iinfo(np.uint8).max:
            raise DataError(
                f"{self._reader.info.path} says {np.median(heights) / UNITS_PER_M:.0f} m for most "
                "of the ground; expected heights above the ground, not above the sea; subtract the "
                "terrain first"
            )

    def _chunk(self, row: int, col: int) -> Codes:
        """One square of the mosaic's grid; row and column count squares."""
        key = row, col
        if key not in self._chunks:
            side = self._side
            while len(self._chunks) >= CACHE_BYTES // (2 * side**2):
                self._chunks.popitem(last=False)
            self._chunks[key] = coded(
                self._warp(self._grid.crop(row * side, col * side, side, side))
            )
        self._chunks.move_to_end(key)
        return self._chunks[key]

    def _warp(self, target: Grid) -> NDArray[np.float32]:
        """Resample onto a part of the mosaic's grid; heights in units of the code, NaN nowhere."""
        resampled = np.full(target.shape, np.nan, dtype=np.float32)
        source = self._source(target)
        if source is None:
            return resampled
        values, grid = source
        rasterio.warp.reproject(
            values,
            resampled,
            src_transform=grid.transform,
            src_crs=grid.crs,
            src_nodata=np.nan,
            dst_transform=target.transform,
            dst_crs=target.crs,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
        )
        return resampled

    def _source(self, target: Grid) -> tuple[NDArray[np.float32], Grid] | None:
        """What the file holds around a part of the mosaic's grid; None where it holds nothing."""
        grid = self._reader.info.grid
        rows, cols = (
            slice(max(axis.start, 0), min(axis.stop, size))
            for axis, size in zip(self._positions(target), grid.shape, strict=True)
        )
        height, width = rows.stop - rows.start, cols.stop - cols.start
        if height <= 0 or width <= 0:
            return None
        box = (rows.start, cols.start, height, width)
        stored: NDArray[Any] = self._reader.read(*box)[0]
        values = stored.astype(np.float32) * np.float32(self._scale) + np.float32(self._offset)
        values[~(self._reader.valid(*box) & np.isfinite(values))] = np.nan
        return values, grid.crop(*box)

    def _positions(self, target: Grid) -> tuple[slice, slice]:
        """Rows and columns of the file that a part of the mosaic's grid is made of."""
        grid = self._reader.info.grid
        left, bottom, right, top = target.bounds
        if grid.crs != target.crs:
            left, bottom, right, top = rasterio.warp.transform_bounds(
                target.crs, grid.crs, left, bottom, right, top
            )
        a, b, c, d, e, f = (~grid.transform)[:6]
        corners = [(x, y) for x in (left, right) for y in (bottom, top)]
        rows = _around([x * d + y * e + f for x, y in corners], target.shape[0])
        cols = _around([x * a + y * b + c for x, y in corners], target.shape[1])
        return rows, cols


def _around(edges: list[float], pixels: int) -> slice:
    """A run of source pixels, with what the kernel reaches beyond its ends."""
    margin = 2 + 2 * math.ceil((max(edges) - min(edges)) / pixels)
    return slice(math.floor(min(edges)) - margin, math.ceil(max(edges)) + margin)


def coded(heights: NDArray[np.float32]) -> Codes:
    """Round heights, in units of the code, to whole ones from 0 to 255; NaN becomes 0."""
    valid: NDArray[np.bool_] = np.isfinite(heights)
    known = np.where(valid, heights, np.float32(0.0))
    return np.clip(np.floor(known + np.float32(0.5)), 0, 255).astype(np.uint8), valid


def _common(wanted: slice, start: int, side: int) -> tuple[slice, slice]:
    """What a square covers of a run: counted in the run, and in the square."""
    first, last = max(wanted.start, start), min(wanted.stop, start + side)
    return (
        slice(first - wanted.start, last - wanted.start),
        slice(first - start, last - start),
    )
