"""Write maps as Cloud Optimized GeoTIFFs that appear under their name only when complete.

While tiles arrive, an uncompressed GeoTIFF `NAME.part.tif` is filled; at the end GDAL's COG driver
copies it (compressed, with overviews) and the copy is renamed. An error leaves nothing behind.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from .classes import LandCoverClass
from .errors import DataError, brief
from .grid import Grid

NODATA = 255
BLOCK = 512

Resampling = Literal["mode", "nearest", "average"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapKind:
    """What a raster of the output holds."""

    suffix: str
    """Part of the file name after the aerial file's stem."""
    bands: tuple[str, ...]
    """Description of each band."""
    overviews: Resampling
    colors: tuple[tuple[int, int, int], ...] = ()
    """Colour of each value, for a class map."""
    nodata: int | None = NODATA


def class_map(classes: Sequence[LandCoverClass]) -> MapKind:
    """Class indices with their colours."""
    return MapKind(
        suffix="landcover",
        bands=("land cover",),
        overviews="mode",
        colors=tuple(item.rgb for item in classes),
    )


def confidence_map() -> MapKind:
    """Probability of the winning class, 0 to 254."""
    return MapKind(suffix="confidence", bands=("confidence",), overviews="average")


def probability_map(classes: Sequence[LandCoverClass]) -> MapKind:
    """Probability of every class, 0 to 254, one band each."""
    return MapKind(
        suffix="probabilities", bands=tuple(item.name for item in classes), overviews="average"
    )


def class_tags(classes: Sequence[LandCoverClass]) -> dict[str, str]:
    """Band tags that name the classes: CLASS_0=building and so on."""
    return {f"CLASS_{index}": item.name for index, item in enumerate(classes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTags:
    """Tags of a map."""

    file: Mapping[str, str]
    """What made it."""
    band: Mapping[str, str]
    """Names of the classes."""


class MapWriter:
    """A map being written; use it as a context manager and `finish` it."""

    def __init__(self, path: Path, grid: Grid, kind: MapKind, tags: MapTags) -> None:
        """Create the partial file.

        Args:
            path: Final name.
            grid: Grid of the map: exactly that of the aerial raster.
            kind: What it holds.
            tags: Provenance and names of the classes.

        Raises:
            DataError: If the file cannot be created.
        """
        self.path = path
        self._kind = kind
        self._tags = tags
        self._part = path.with_name(f"{path.stem}.part.tif")
        self._copy = path.with_name(f"{path.stem}.part.cog")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._dataset = rasterio.open(
                self._part,
                "w",
                driver="GTiff",
                height=grid.shape[0],
                width=grid.shape[1],
                count=len(kind.bands),
                dtype="uint8",
                crs=grid.crs,
                transform=grid.transform,
                nodata=kind.nodata,
                tiled=True,
                blockxsize=BLOCK,
                blockysize=BLOCK,
                BIGTIFF="IF_SAFER",
            )
        except (RasterioError, OSError) as error:
            raise self._unwritable(error) from error
        self._describe()

    def _describe(self) -> None:
        dataset = self._dataset
        dataset.update_tags(**self._tags.file)
        dataset.update_tags(1, **self._tags.band)
        for index, text in enumerate(self._kind.bands, start=1):
            dataset.set_band_description(index, text)
        if self._kind.colors:
            table = dict.fromkeys(range(256), (0, 0, 0, 0))
            table.update({i: (*rgb, 255) for i, rgb in enumerate(self._kind.colors)})
            dataset.write_colormap(1, table)
            dataset.colorinterp = [ColorInterp.palette]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self._kind.bands)

    def write(self, rows: slice, cols: slice, values: NDArray[np.uint8]) -> None:
        """Write a window.

        Args:
            rows: Rows of the map.
            cols: Columns of the map.
            values: Shape (bands, rows, cols).

        Raises:
            DataError: If the disk does not take it.
        """
        window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
        try:
            self._dataset.write(values, window=window)
        except (RasterioError, OSError) as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Copy the partial file into its final form and name.

        Raises:
            DataError: If the disk does not take it.
        """
        try:
            self._dataset.close()
            rasterio.shutil.copy(
                str(self._part),
                str(self._copy),
                driver="COG",
                COMPRESS="DEFLATE",
                NUM_THREADS="ALL_CPUS",
                BLOCKSIZE=BLOCK,
                OVERVIEW_RESAMPLING=self._kind.overviews.upper(),
                BIGTIFF="IF_SAFER",
            )
            self._check_end()
            os.replace(self._copy, self.path)
        except Exception as error:  # GDAL's own errors leave `copy` without a public base class
            self.discard()
            raise self._unwritable(error) from error
        self.discard()

    def _check_end(self) -> None:
        """Read the copy's last block: GDAL writes a file's end on closing and hides errors then."""
        with rasterio.open(self._copy) as copy:
            row, col = ((size - 1) // BLOCK * BLOCK for size in copy.shape)
            copy.read(window=Window(col, row, copy.width - col, copy.height - row))

    def discard(self) -> None:
        """Remove everything that is not complete."""
        try:
            self._dataset.close()
        finally:
            for file in (self._part, self._copy):
                file.unlink(missing_ok=True)
                file.with_name(file.name + ".aux.xml").unlink(missing_ok=True)

    def _unwritable(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path} cannot be written ({brief(error)}); expected room and permission; "
            "free some disk space or choose another --out"
        )

    def __enter__(self) -> "MapWriter":
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what is not complete."""
        self.discard()
