"""Open the Sentinel-2 series of a scene: a folder of `S2_YYYYMMDD.tif` on one grid.

    S2_20210421.tif         10 bands, reflectance x 10000, any CRS
    S2_20210421_masks.tif   snow and cloud probability, 0 to 100; may be missing

The digital numbers hold no radiometric offset; a cell with 0 in every band is nodata.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import BandError, GridError, SatelliteError
from .grid import Grid
from .products import scene_file_day
from .raster import RasterInfo, RasterReader, describe
from .satellite import BANDS, SatelliteInput, SatelliteSpec, SatelliteStack


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoSeries:
    """A series with a place of its own on the ground."""

    name: str
    grid: Grid
    stack: SatelliteStack

    @property
    def dates(self) -> int:
        """Dates of the series."""
        return len(self.stack.dates)

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the window around a place on an aerial grid, through both CRS.

        Raises:
            SatelliteError: If the window shows nothing on any date.
        """
        cells = grid.cells_around(row, col, size=spec.window, cell_m=spec.cell_m, target=self.grid)
        return spec.prepare(self.stack, *cells)


def open_series(folder: Path) -> GeoSeries:
    """Open a folder of `S2_YYYYMMDD.tif` files with optional `S2_YYYYMMDD_masks.tif`.

    A date without masks counts as clear wherever it holds data.

    Raises:
        SatelliteError: If the folder is missing or holds no series.
        BandError: If a file does not hold the ten bands.
        GridError: If the files do not share one grid.
    """
    if not folder.is_dir():
        raise SatelliteError(
            f"{folder} is not there; expected a folder of S2_YYYYMMDD.tif files; "
            "name it with --satellite"
        )
    files = _files_by_day(folder)
    days = sorted(files)
    grid = describe(files[days[0]]).grid
    dn = np.stack([_read_bands(files[day], grid) for day in days])
    cover = np.stack([_read_cover(files[day], grid) for day in days])
    stack = SatelliteStack(dn=dn, cover=cover, dates=tuple(days), offsets=(0,) * len(days))
    return GeoSeries(name=str(folder), grid=grid, stack=stack)


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


def _read_bands(path: Path, grid: Grid) -> NDArray[np.uint16]:
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
        dn = reader.read_all().clip(0).astype(np.uint16)
        # 0 in every band is what the stack knows as nodata, whatever the file's own value is.
        dn[:, ~reader.valid(0, 0, *grid.shape)] = 0
        return dn


def _read_cover(path: Path, grid: Grid) -> NDArray[np.uint8]:
    masks = path.with_name(f"{path.stem}_masks{path.suffix}")
    if not masks.is_file():
        return np.zeros((2, *grid.shape), dtype=np.uint8)
    with RasterReader(masks) as reader:
        _same_grid(reader.info, grid)
        if reader.info.count != 2:
            raise BandError(
                f"{masks} has {reader.info.count} bands; expected 2 (snow and cloud probability, "
                "0 to 100); rewrite the file"
            )
        return reader.read_all().clip(0, 100).astype(np.uint8)


def _same_grid(info: RasterInfo, grid: Grid) -> None:
    if info.grid.shape != grid.shape or grid.offset_of(info.grid) != (0, 0):
        raise GridError(
            f"{info.path} is on another grid ({info.grid.shape[0]} x {info.grid.shape[1]} px) than "
            f"the first date ({grid.shape[0]} x {grid.shape[1]} px); expected one for all dates; "
            "warp them to one grid"
        )
