"""Resample heights from one raster of any grid and CRS onto parts of another grid."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.warp
from numpy.typing import NDArray
from rasterio.enums import Resampling

from ..errors import BandError, GridError
from ..grid import Grid
from ..raster import RasterReader
from ..raster_files import open_raster

_METRES = frozenset({"", "m", "metre", "metres", "meter", "meters"})


class HeightFile:
    """An open raster of heights; for one thread."""

    def __init__(
        self, path: Path, grid: Grid, *, uint8_is_code: bool, assume_crs: str | None = None
    ) -> None:
        """Open a raster.

        Args:
            path: One band of heights in metres, after the scale and offset that the file states.
            grid: Grid of the mosaic.
            uint8_is_code: Whether uint8 holds a model's code of heights and no metres.
            assume_crs: CRS of a file that has none or an unnamed local one.

        Raises:
            DataError: If the file is missing or damaged.
            BandError: If it has several bands, or counts in another unit than metres.
            GridError: If it lies elsewhere or nowhere.
        """
        self._reader = RasterReader(path, assume_crs=assume_crs)
        self._grid = grid
        self.is_code = uint8_is_code and self._reader.info.dtype == "uint8"
        """Whether heights are given as they are stored, not in metres."""
        try:
            self._scale, self._offset = self._to_metres()
            self._check_place()
        except (BandError, GridError):
            self._reader.close()
            raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._reader.info.path

    @property
    def resampled(self) -> bool:
        """Whether its pixels are not those of the mosaic."""
        return self._reader.info.grid.offset_of(self._grid) is None

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def warp(self, target: Grid) -> NDArray[np.float32]:
        """Resample bilinearly onto a part of the mosaic's grid; metres, NaN where unknown."""
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

    def positions(self, target: Grid) -> tuple[slice, slice]:
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

    def _to_metres(self) -> tuple[float, float]:
        """Scale and offset from stored values to metres."""
        info = self._reader.info
        if info.count != 1 or info.dtype.startswith("complex"):
            raise BandError(
                f"{info.path} has {info.count} {info.dtype} band(s); expected one of heights; "
                "write them to a file of their own"
            )
        if self.is_code:
            return 1.0, 0.0
        with open_raster(info.path) as dataset:
            unit, scale, offset = dataset.units[0], dataset.scales[0], dataset.offsets[0]
        if (unit or "").lower() not in _METRES:
            raise BandError(
                f"{info.path} counts heights in {unit}; expected metres; convert it, for example "
                "with gdal_calc.py"
            )
        return scale, offset

    def _check_place(self) -> None:
        if not self._grid.overlaps(self._reader.info.grid):
            raise GridError(
                f"{self.path} lies beside the aerial imagery; expected heights of the "
                "same ground; name another file with --elevation"
            )

    def _source(self, target: Grid) -> tuple[NDArray[np.float32], Grid] | None:
        """What the file holds around a part of the mosaic's grid; None where it holds nothing."""
        grid = self._reader.info.grid
        rows, cols = (
            slice(max(axis.start, 0), min(axis.stop, size))
            for axis, size in zip(self.positions(target), grid.shape, strict=True)
        )
        height, width = rows.stop - rows.start, cols.stop - cols.start
        if height <= 0 or width <= 0:
            return None
        box = (rows.start, cols.start, height, width)
        stored: NDArray[Any] = self._reader.read(*box)[0]
        values = stored.astype(np.float32) * np.float32(self._scale) + np.float32(self._offset)
        values[~(self._reader.valid(*box) & np.isfinite(values))] = np.nan
        return values, grid.crop(*box)


def _around(edges: list[float], pixels: int) -> slice:
    """A run of source pixels, with what the kernel reaches beyond its ends."""
    margin = 2 + 2 * math.ceil((max(edges) - min(edges)) / pixels)
    return slice(math.floor(min(edges)) - margin, math.ceil(max(edges)) + margin)
