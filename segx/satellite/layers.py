"""Open the layers of products on the grid of a series.

A band of 20 m gives each of its pixels to the four cells of 10 m in it (nearest neighbour): no
value is made up, and probabilities keep their edges. A product in another CRS, such as that of the
neighbouring zone, is resampled bilinearly, its masks by nearest neighbour.
"""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from runtime.errors import BandError, DataError, GridError, brief
from runtime.grid import Grid
from runtime.raster_files import open_named, open_raster
from runtime.satellite import BANDS

DRIVERS = {".jp2": "JP2OpenJPEG", ".tif": "GTiff", ".tiff": "GTiff"}
"""GDAL's drivers by ending, for files in a zip or catalogue; they hold their pixels themselves."""
REMOTE = "/vsicurl/"
"""What begins so lies in a catalogue that the user named."""
MOST_PX = 40_000
"""Pixels on a side of a layer at most."""


class OpenLayer(AbstractContextManager["OpenLayer"]):
    """A layer of one product, seen on a grid."""

    def __init__(self, path: str, grid: Grid, *, band: bool) -> None:
        """Open a layer.

        Args:
            path: What GDAL opens.
            grid: Where it is wanted.
            band: Whether it holds digital numbers; else probabilities or classes.

        Raises:
            DataError: If it cannot be read.
            BandError: If it is of another kind.
            GridError: If it lies nowhere on the ground.
        """
        self.path, self._stack = path, ExitStack()
        try:
            self._open(grid, band=band)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, grid: Grid, *, band: bool) -> None:
        dataset = self._stack.enter_context(open_layer(self.path))
        kinds = ("uint16", "int16") if band else ("uint8", "uint16")
        if dataset.count != 1 or dataset.dtypes[0] not in kinds:
            raise BandError(
                f"{self.path} has {dataset.count} {dataset.dtypes[0]} band(s); expected one of "
                f"{' or '.join(kinds)}; give the product as it was published"
            )
        bilinear = band and dataset.crs != grid.crs
        options = {"src_nodata": 0, "nodata": 0} if band else {}
        self._vrt = self._stack.enter_context(
            WarpedVRT(
                dataset,
                crs=grid.crs,
                transform=grid.transform,
                height=grid.shape[0],
                width=grid.shape[1],
                resampling=Resampling.bilinear if bilinear else Resampling.nearest,
                **options,
            )
        )

    def read(self, row: int, rows: int, cols: int) -> NDArray[Any]:
        """Read whole rows, shape (rows, cols); 0 where the product shows nothing.

        Raises:
            DataError: If the file is damaged.
        """
        try:
            data: NDArray[Any] = self._vrt.read(1, window=Window(0, row, cols, rows))
        except RasterioError as error:
            raise DataError(
                f"{self.path} cannot be read ({brief(error.__cause__ or error)}); expected whole "
                "data; fetch the product again"
            ) from error
        return data

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._stack.close()


def open_layer(path: str) -> Any:
    """Open a layer as it lies on disk, in its zip, or in a catalogue.

    Raises:
        DataError: If it cannot be opened, is larger than any product, or leads elsewhere.
        GridError: If it has no place on the ground.
    """
    if path.startswith("/vsi"):
        driver = DRIVERS.get(Path(path).suffix.lower(), "GTiff")
        dataset = open_named(path, driver, local=not path.startswith(REMOTE))
    else:
        dataset = open_raster(Path(path), drivers=frozenset(DRIVERS.values()))
    if max(dataset.width, dataset.height) > MOST_PX:
        size = f"{dataset.height} x {dataset.width}"
        dataset.close()
        raise DataError(
            f"{path} says it has {size} px; expected {MOST_PX} on a side at most; fetch the "
            "product again"
        )
    if dataset.crs is None or dataset.transform.is_identity:
        dataset.close()
        raise GridError(
            f"{path} has no place on the ground; expected a georeferenced band; fetch the product "
            "again"
        )
    return dataset


def grid_of(path: str) -> Grid:
    """Read where a band lies.

    Raises:
        DataError: If it cannot be opened.
        GridError: If it has no place on the ground.
    """
    with open_layer(path) as dataset:
        return Grid((dataset.height, dataset.width), dataset.transform, dataset.crs)


def empty_bands(rows: int, cols: int) -> NDArray[np.uint16]:
    """Bands without data, shape (B, rows, cols)."""
    return np.zeros((len(BANDS), rows, cols), dtype=np.uint16)
