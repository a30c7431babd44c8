"""Read windows of GeoTIFFs: the one way in which aerial, satellite and label rasters are opened."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from .errors import DataError, GridError
from .grid import Grid
from .raster_files import open_raster

HiddenBy = Literal["nothing", "value", "mask", "alpha"]
FARTHEST = 1e9
"""No projected coordinate on the Earth is larger, in metres or feet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterInfo:
    """What a raster's header says."""

    path: Path
    grid: Grid
    count: int
    dtype: str
    nodata: float | None
    bands: tuple[str, ...]
    """Band descriptions; an empty text where a band has none."""
    tags: dict[str, str]
    block_height: int = 1
    """Rows of the blocks that the file is stored in."""
    block_width: int = 1
    alpha: int | None = None
    """Index of the band that says where there is data; one that carries a name is data itself."""
    placed: bool = True
    """Whether the file says where it lies; else its transform is the one that was assumed."""
    names_crs: bool = True
    """Whether the file names its CRS; else it is the one that was assumed."""


class RasterReader:
    """An open GeoTIFF; use it as a context manager, one reader per thread."""

    def __init__(
        self,
        path: Path,
        *,
        assume_crs: str | None = None,
        assume_transform: Affine | None = None,
    ) -> None:
        """Open a raster.

        Args:
            path: A raster of one of the formats in `raster_files`.
            assume_crs: CRS of a file that has none or an unnamed local one.
            assume_transform: Geotransform of a file that has none.

        Raises:
            DataError: If it is missing, no raster, or leads to other than local rasters.
            GridError: If it has no CRS or no place on the ground.
        """
        self._dataset = open_raster(path)
        try:
            self.info = self._describe(path, assume_crs, assume_transform)
        except GridError:
            self._dataset.close()
            raise
        self._hidden_by = _hidden_by(self._dataset, self.info.alpha)

    def _describe(
        self, path: Path, assume_crs: str | None, assume_transform: Affine | None
    ) -> RasterInfo:
        dataset = self._dataset
        crs = dataset.crs
        assumed = assume_crs is not None and (crs is None or crs.to_epsg() is None)
        if assumed:
            crs = CRS.from_string(assume_crs)
        if crs is None:
            raise GridError(
                f"{path} has no CRS; expected a georeferenced raster; "
                f"assign one: gdal_edit.py -a_srs EPSG:NNNN {path.name}, or, where the command has "
                "it, --crs EPSG:NNNN"
            )
        placed = not dataset.transform.is_identity
        transform = dataset.transform if placed else assume_transform
        if transform is None:
            raise GridError(
                f"{path} has no geotransform; expected a georeferenced raster; georeference it"
            )
        grid = Grid((dataset.height, dataset.width), transform, crs)
        if transform.is_degenerate or not max(map(abs, grid.bounds)) < FARTHEST:
            raise GridError(
                f"{path} has the geotransform {tuple(transform)[:6]}; expected pixels "
                "with an area, on the Earth; georeference it"
            )
        names = tuple(text or "" for text in dataset.descriptions)
        return RasterInfo(
            path=path,
            grid=grid,
            count=dataset.count,
            dtype=dataset.dtypes[0],
            nodata=dataset.nodata,
            bands=names,
            tags=dict(dataset.tags()),
            block_height=dataset.block_shapes[0][0],
            block_width=dataset.block_shapes[0][1],
            alpha=_alpha(dataset.colorinterp, names),
            placed=placed,
            names_crs=not assumed,
        )

    def read(
        self,
        row: int,
        col: int,
        height: int,
        width: int,
        *,
        bands: Sequence[int] | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Read a window that lies on the raster.

        Args:
            row: First row.
            col: First column.
            height: Rows.
            width: Columns.
            bands: Indices of the bands wanted, in the order wanted; all if None.
            out: Where the pixels go, shape (bands, height, width); a new array if None.

        Returns:
            The pixels, shape (bands, height, width).

        Raises:
            DataError: If the file is truncated or damaged there.
        """
        indexes = None if bands is None else [band + 1 for band in bands]
        try:
            data: NDArray[Any] = self._dataset.read(
                indexes, window=Window(col, row, width, height), out=out
            )
        except RasterioError as error:
            raise DataError(
                f"{self.info.path} cannot be read at rows {row} to {row + height} and columns "
                f"{col} to {col + width} ({_brief(error)}); expected whole data; the file is "
                "damaged or truncated, replace it"
            ) from error
        return data

    def read_all(self) -> NDArray[Any]:
        """Read the whole raster, shape (bands, rows, cols)."""
        return self.read(0, 0, *self.info.grid.shape)

    def read_valid(
        self,
        row: int,
        col: int,
        height: int,
        width: int,
        *,
        bands: Sequence[int] | None = None,
        out: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Read a window and which of its pixels hold data, without reading anything twice.

        The rule is that of `valid`, for the bands that are read: an alpha band that is not among
        them hides pixels beside a nodata value or mask, and one that is asked for is data.

        Args:
            row: First row.
            col: First column.
            height: Rows.
            width: Columns.
            bands: Indices of the bands wanted, in the order wanted; all if None.
            out: Where the pixels go, shape (bands, height, width); a new array if None.

        Returns:
            The pixels, shape (bands, height, width), and which hold data, shape (height, width);
            None where nothing can hide a pixel.

        Raises:
            DataError: If the file is truncated or damaged there.
        """
        window = (row, col, height, width)
        pixels = self.read(*window, bands=bands, out=out)
        valid = None
        if self._hidden_by == "value":
            valid = self._has_value(pixels, bands)
        if self._hidden_by == "mask" or (self._hidden_by == "alpha" and bands is None):
            valid = self.valid(*window)
        alpha = self.info.alpha
        if bands is not None and alpha is not None and alpha not in bands:
            shown = self.read(*window, bands=(alpha,))[0] != 0
            valid = shown if valid is None else valid & shown
        return pixels, valid

    def _has_value(self, pixels: NDArray[Any], bands: Sequence[int] | None) -> NDArray[np.bool_]:
        """Which pixels differ from the nodata value in any band."""
        values = self._dataset.nodatavals
        valid = np.zeros(pixels.shape[1:], dtype=np.bool_)
        for plane, band in zip(pixels, range(len(values)) if bands is None else bands, strict=True):
            valid |= plane != int(values[band])
        return valid

    def valid(self, row: int, col: int, height: int, width: int) -> NDArray[np.bool_]:
        """Tell which pixels of a window hold data, by nodata value, mask band or alpha.

        A pixel is nodata when all its bands are. GDAL flags the fourth of four uint8 bands as alpha
        unless it is told otherwise, so an alpha band that carries a name is data.

        Raises:
            DataError: If the file is truncated or damaged there.
        """
        if self._hidden_by == "nothing":
            return np.ones((height, width), dtype=np.bool_)
        try:
            mask = self._dataset.dataset_mask(window=Window(col, row, width, height))
        except RasterioError as error:
            raise DataError(
                f"{self.info.path} has an unreadable mask ({_brief(error)}); replace the file"
            ) from error
        valid: NDArray[np.bool_] = np.not_equal(mask, 0)
        return valid

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def __enter__(self) -> "RasterReader":
        """Return the open reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def describe(
    path: Path, *, assume_crs: str | None = None, assume_transform: Affine | None = None
) -> RasterInfo:
    """Read a raster's header.

    Args:
        path: A GeoTIFF.
        assume_crs: CRS of a file that has none or an unnamed local one.
        assume_transform: Geotransform of a file that has none.

    Raises:
        DataError: If it is missing or no raster.
        GridError: If it has no CRS or no place on the ground.
    """
    with RasterReader(path, assume_crs=assume_crs, assume_transform=assume_transform) as reader:
        return reader.info


def _hidden_by(dataset: Any, alpha: int | None) -> HiddenBy:
    """What says which pixels hold data; a value only where uint8 bands can be compared with it."""
    flags = set(dataset.mask_flag_enums[0])
    if MaskFlags.alpha in flags:
        return "nothing" if alpha is None else "alpha"
    if flags == {MaskFlags.all_valid}:
        return "nothing"
    if flags != {MaskFlags.nodata} or set(dataset.dtypes) != {"uint8"}:
        return "mask"
    return "value" if set(dataset.nodatavals) <= set(range(256)) else "mask"


def _alpha(meanings: Sequence[ColorInterp], names: Sequence[str]) -> int | None:
    if ColorInterp.alpha not in meanings:
        return None
    index = list(meanings).index(ColorInterp.alpha)
    return None if names[index] else index


def reflected(start: int, length: int, size: int) -> NDArray[np.intp]:
    """Indices of a run that may leave 0..size-1, mirrored at the borders without repeating them.

    Args:
        start: First position; may be negative.
        length: Positions wanted.
        size: Pixels that exist, at least 1.

    Returns:
        Indices in 0..size-1, shape (length,).
    """
    if size == 1:
        return np.zeros(length, dtype=np.intp)
    period = 2 * (size - 1)
    phase = np.arange(start, start + length) % period
    return np.minimum(phase, period - phase).astype(np.intp)


def _brief(error: Exception) -> str:
    """First line of what a library says is wrong; its cause says more than "read failed"."""
    lines = str(error.__cause__ or error).splitlines()
    return lines[0][:120] if lines else type(error).__name__


def block_cache(size_bytes: int) -> AbstractContextManager[object]:
    """Bound the blocks that GDAL keeps, in the whole process, while the context is open."""
    # A number, as GDAL takes it: bytes, whatever its documentation says of small ones.
    context: AbstractContextManager[object] = rasterio.Env(GDAL_CACHEMAX=size_bytes)
    return context
