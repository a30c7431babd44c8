"""Open the Sentinel-2 series of a scene: a folder of `S2_YYYYMMDD.tif` on one grid.

    S2_20210421.tif         10 bands, reflectance x 10000, any CRS
    S2_20210421_masks.tif   snow and cloud probability, 0 to 100; may be missing

The digital numbers hold no radiometric offset; a cell with 0 in every band is nodata.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

from .errors import BandError, GridError, SatelliteError
from .grid import Grid
from .products import scene_file_day
from .raster import RasterInfo, RasterReader, describe
from .satellite import BANDS, SatelliteInput, SatelliteSpec
from .satellite_cells import Pixels
from .satellite_chunks import CACHE_BYTES, ChunkStore, DateFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoSeries:
    """A series with a place of its own on the ground; its pixels are read when they are needed."""

    name: str
    grid: Grid
    store: ChunkStore
    """Reads the pixels, and keeps some; its `cache_bytes` bound the memory for them."""

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
        """Radiometric offset of each date in digital numbers: none is left in these files."""
        return (0,) * self.dates

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.shape

    def source_files(self) -> tuple[Path, ...]:
        """Every file of the series, in order of time."""
        files = ((item.bands, item.masks) for item in self.store.files)
        return tuple(path for pair in files for path in pair if path is not None)

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


def open_series(folder: Path, *, cache_bytes: int = CACHE_BYTES) -> GeoSeries:
    """Open a folder of `S2_YYYYMMDD.tif` files with optional `S2_YYYYMMDD_masks.tif`.

    Headers are read, and the last pixel of every file, so that one that was cut short is found at
    once. A date without masks counts as clear wherever it holds data.

    Args:
        folder: Folder of the series.
        cache_bytes: Memory for pixels.

    Raises:
        SatelliteError: If the folder is missing or holds no series.
        BandError: If a file does not hold the ten bands.
        GridError: If the files do not share one grid.
        DataError: If a file is damaged.
    """
    if not folder.is_dir():
        raise SatelliteError(
            f"{folder} is not there; expected a folder of S2_YYYYMMDD.tif files; "
            "name it with --satellite"
        )
    by_day = _files_by_day(folder)
    files = [_date_files(day, by_day[day]) for day in sorted(by_day)]
    grid = describe(files[0].bands).grid
    for item in files:
        _check_bands(item.bands, grid)
        if item.masks is not None:
            _check_masks(item.masks, grid)
    store = ChunkStore(files, grid.shape, bands=len(BANDS), cache_bytes=cache_bytes)
    return GeoSeries(name=str(folder), grid=grid, store=store)


def _date_files(day: datetime.date, bands: Path) -> DateFiles:
    masks = bands.with_name(f"{bands.stem}_masks{bands.suffix}")
    return DateFiles(day=day, bands=bands, masks=masks if masks.is_file() else None)


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


def _check_bands(path: Path, grid: Grid) -> None:
    with RasterReader(path) as reader:
        info = reader.info
        _same_grid(info, grid)
        names = tuple(name.upper() for name in info.bands)
        if info.count != len(BANDS) or (all(names) and names != BANDS):
            shown = ", ".join(names) if all(names) else f"{info.count} unnamed bands"
            raise BandError(
                f"{path} holds {shown}; expected the {len(BANDS)} bands {', '.join(BANDS)} in this "
                "order; rewrite the file"
            )
        if info.dtype not in ("uint16", "int16"):
            raise BandError(
                f"{path} is {info.dtype}; expected uint16 digital numbers (reflectance x 10000); "
                "rewrite the file"
            )
        _read_last(reader)


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
