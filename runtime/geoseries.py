"""Open the Sentinel-2 series of a scene: a folder of `S2_YYYYMMDD.tif` on one grid.

    S2_20210421.tif         10 bands, reflectance x 10000, any CRS; in any order if named
    S2_20210421_masks.tif   snow and cloud probability, 0 to 100; may be missing

    products.txt            names of the products, one per line, in any order; may be missing

A cell with 0 in every band is nodata. The radiometric offset of each date is taken from tags of its
file, else from the product of that day, else estimated (see `radiometry`).
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import BandError, GridError, SatelliteError
from .files import read_text
from .grid import Grid
from .products import OffsetOption, parse_products, scene_file_day
from .radiometry import (
    DateOffset,
    Offset,
    dark_levels,
    dated,
    product_offset,
    settle_offsets,
    tagged_offset,
)
from .raster import RasterInfo, RasterReader, describe
from .satellite import BANDS, SatelliteInput, SatelliteSpec
from .satellite_bands import NO_SUBSTITUTES, band_order, order_text
from .satellite_cells import Pixels
from .satellite_chunks import CACHE_BYTES, ChunkStore, DateFiles

PRODUCTS = "products.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoSeries:
    """A series with a place of its own on the ground; its pixels are read when they are needed."""

    name: str
    grid: Grid
    store: ChunkStore
    """Reads the pixels, and keeps some; its `cache_bytes` bound the memory for them."""
    found_offsets: tuple[Offset, ...]
    """Radiometric offset of each date, in order of time."""
    bands_text: str | None = None
    """Which bands of the files are used; None where all are, in their order."""

    @property
    def dates(self) -> int:
        """Dates of the series."""
        return len(self.store.files)

    @property
    def days(self) -> tuple[datetime.date, ...]:
        """Day of each acquisition, in order of time."""
        return tuple(files.day for files in self.store.files)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Radiometric offset of each date in digital numbers."""
        return tuple(offset.dn for offset in self.found_offsets)

    @property
    def radiometry(self) -> tuple[DateOffset, ...]:
        """Radiometric offset of each date, and where it comes from."""
        return dated(self.days, self.offsets, [item.origin for item in self.found_offsets])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.shape

    def source_files(self) -> tuple[Path, ...]:
        """Every file of the series, in order of time."""
        files = ((item.bands, item.masks) for item in self.store.files)
        products = Path(self.name) / PRODUCTS
        listed = (products,) if products.is_file() else ()
        return (*(path for pair in files for path in pair if path is not None), *listed)

    def read(self, rows: slice, cols: slice) -> Pixels:
        """Give the pixels of a box that lies on the series.

        Raises:
            DataError: If a file is damaged, or was changed or removed since it was opened.
        """
        return self.store.read(rows, cols)

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the window around a place on an aerial grid, through both CRS.

        Raises:
            NotSeenError: If the window shows nothing on any date.
            DataError: If a file is damaged.
        """
        cells = grid.cells_around(row, col, size=spec.window, cell_m=spec.cell_m, target=self.grid)
        return spec.prepare(self, *cells)


def open_series(
    folder: Path,
    *,
    cache_bytes: int = CACHE_BYTES,
    offset: OffsetOption = "auto",
    substitutes: Mapping[str, str] = NO_SUBSTITUTES,
) -> GeoSeries:
    """Open a folder of `S2_YYYYMMDD.tif` files with optional `S2_YYYYMMDD_masks.tif`.

    Headers are read, and the last pixel of every file, so that one that was cut short is found at
    once. A date without masks counts as clear wherever it holds data. Where a date says nothing of
    its radiometric offset, some pixels of all dates are read to estimate it.

    Args:
        folder: Folder of the series.
        cache_bytes: Memory for pixels.
        offset: The radiometric offset of all dates, or how it is found.
        substitutes: The band that stands for each that the files lack.

    Raises:
        ConfigError: If the files hold a band for which another one is to stand.
        SatelliteError: If the folder is missing or holds no series, or what it says of a product
            cannot be understood.
        BandError: If a file does not hold the ten bands and nothing stands for one.
        GridError: If the files do not share one grid.
        DataError: If a file is damaged.
    """
    if not folder.is_dir():
        raise SatelliteError(
            f"{folder} is not there; expected a folder of S2_YYYYMMDD.tif files; "
            "name it with --satellite"
        )
    by_day = _files_by_day(folder)
    files = [_date_files(day, by_day[day], substitutes) for day in sorted(by_day)]
    grid = describe(files[0].bands).grid
    products = _listed_products(folder)
    named = []
    for item in files:
        tags = _check_bands(item.bands, grid)
        named.append(tagged_offset(tags, where=str(item.bands)) or products.get(item.day))
        if item.masks is not None:
            _check_masks(item.masks, grid)
    store = ChunkStore(files, grid.shape, bands=len(BANDS), cache_bytes=cache_bytes)
    orders = dict.fromkeys(item.order for item in files if item.order is not None)
    texts = (order_text(order, substitutes) for order in orders)
    series = GeoSeries(
        name=str(folder),
        grid=grid,
        store=store,
        found_offsets=(),
        bands_text="; or ".join(text for text in texts if text is not None) or None,
    )
    return replace(series, found_offsets=settle_offsets(named, offset, partial(_dark, series)))


def _dark(series: GeoSeries) -> NDArray[np.float64]:
    """Measure the dark levels, and keep nothing of what was read for it."""
    store = ChunkStore(series.store.files, series.shape, bands=len(BANDS), cache_bytes=0)
    return dark_levels(replace(series, store=store))


def _listed_products(folder: Path) -> dict[datetime.date, Offset]:
    """Read the offsets that the names of products say, by day; none without a list.

    Raises:
        SatelliteError: If the list cannot be read, or names two offsets for a day.
    """
    path = folder / PRODUCTS
    if not path.is_file():
        return {}
    expected = "one product name per date; restore the file"
    text = read_text(path, expected=expected, error=SatelliteError)
    found: dict[datetime.date, Offset] = {}
    for day, dn in zip(*parse_products(text, where=str(path)), strict=True):
        offset = product_offset(dn)
        if offset is not None and found.setdefault(day, offset) != offset:
            raise SatelliteError(
                f"{path} names products of {day} with and without the offset of baseline 04.00; "
                "expected one kind per day; keep the line of the product that was used"
            )
    return found


def _date_files(day: datetime.date, bands: Path, substitutes: Mapping[str, str]) -> DateFiles:
    masks = bands.with_name(f"{bands.stem}_masks{bands.suffix}")
    return DateFiles(
        day=day,
        bands=bands,
        masks=masks if masks.is_file() else None,
        order=band_order(describe(bands), substitutes),
    )


def _files_by_day(folder: Path) -> dict[datetime.date, Path]:
    files: dict[datetime.date, Path] = {}
    for path in sorted(folder.iterdir()):
        day = scene_file_day(path)
        if day is None:
            continue
        if day in files:
            raise SatelliteError(
                f"{folder} holds {files[day].name} and {path.name}; expected one file per date; "
                "remove one"
            )
        files[day] = path
    if not files:
        raise SatelliteError(
            f"{folder} holds no S2_YYYYMMDD.tif; expected one file per Sentinel-2 date; "
            "name the right folder with --satellite"
        )
    return files


def _check_bands(path: Path, grid: Grid) -> dict[str, str]:
    """Check the bands of a date, and give the tags of its file."""
    with RasterReader(path) as reader:
        info = reader.info
        _same_grid(info, grid)
        if info.dtype not in ("uint16", "int16"):
            raise BandError(
                f"{path} is {info.dtype}; expected uint16 digital numbers (reflectance x 10000); "
                "rewrite the file"
            )
        _read_last(reader)
        return info.tags


def _check_masks(path: Path, grid: Grid) -> None:
    with RasterReader(path) as reader:
        _same_grid(reader.info, grid)
        if reader.info.count != 2:
            raise BandError(
                f"{path} has {reader.info.count} bands; expected 2 (snow and cloud probability, "
                "0 to 100); rewrite the file"
            )
        _read_last(reader)


def _read_last(reader: RasterReader) -> None:
    """Read the last pixel, which a file that was cut short lacks."""
    height, width = reader.info.grid.shape
    reader.read(height - 1, width - 1, 1, 1)


def _same_grid(info: RasterInfo, grid: Grid) -> None:
    if info.grid.shape != grid.shape or grid.offset_of(info.grid) != (0, 0):
        raise GridError(
            f"{info.path} is on another grid ({info.grid.shape[0]} x {info.grid.shape[1]} px) than "
            f"the first date ({grid.shape[0]} x {grid.shape[1]} px); expected one for all dates; "
            "warp them to one grid"
        )
