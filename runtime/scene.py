"""Find what `segx infer` is to map: aerial rasters, each with its Sentinel-2 series.

INPUT is                      aerial                     series
a GeoTIFF                     that file                  --satellite, or sentinel2/ beside it
a scene folder                aerial.tif in it           --satellite, or sentinel2/ in it
a FLAIR #2 tree               its patches                its SEN2 files
any other folder              every *.tif in it          --satellite, or sentinel2/ in it
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rasterio.crs import CRS
from rasterio.errors import CRSError

from .datasets.flair import CRS as FLAIR_CRS
from .datasets.flair import FlairTree
from .errors import ConfigError, DataError, GridError, SatelliteError
from .geoseries import GeoSeries, open_series
from .grid import Grid
from .products import OffsetOption
from .radiometry import DateOffset
from .raster import RasterReader
from .satellite import SatelliteInput, SatelliteSpec, window_cells
from .satellite_bands import parse_substitutes

SCENE_AERIAL = "aerial.tif"
SCENE_LABELS = "labels.tif"
SATELLITE_FOLDER = "sentinel2"
RESOLUTION_TOLERANCE = 0.1
"""An aerial resolution further off than this share is refused."""

_EPSG = re.compile(r"(?i:EPSG):\d{4,6}")


class SatelliteSource(Protocol):
    """Where a tile's satellite input comes from."""

    @property
    def name(self) -> str:
        """Folder or area; sources of one name are one series."""

    @property
    def dates(self) -> int:
        """Dates of the series."""

    @property
    def radiometry(self) -> tuple[DateOffset, ...]:
        """Radiometric offset of each date, and where it comes from."""

    def source_files(self) -> tuple[Path, ...]:
        """Files that it is read from."""

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        """Make the input of the tile centred on (row, col) of an aerial grid, in pixel edges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSeries:
    """The series of one FLAIR patch, placed by its centroid."""

    tree: FlairTree
    patch_id: str

    @property
    def name(self) -> str:
        """Area of the patch."""
        return self.tree.patches[self.patch_id].area

    @property
    def dates(self) -> int:
        """Dates of the series."""
        return len(self.tree.stack(self.patch_id).dates)

    @property
    def radiometry(self) -> tuple[DateOffset, ...]:
        """Radiometric offset of each date, and where it comes from."""
        return self.tree.stack(self.patch_id).radiometry

    def source_files(self) -> tuple[Path, ...]:
        """Files of the patch's series."""
        return self.tree.series_files(self.patch_id)

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        """Cut the window around a place on the patch, whose centre lies at the centroid.

        Raises:
            SatelliteError: If the window shows nothing on any date.
        """
        centre_row, centre_col = self.tree.centroid(self.patch_id)
        scale = grid.resolution_m / spec.cell_m
        height, width = grid.shape
        cells = window_cells(
            centre_row + (row - height / 2) * scale,
            centre_col + (col - width / 2) * scale,
            spec.window,
        )
        return spec.prepare(self.tree.stack(self.patch_id), *cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One aerial raster and its series: what becomes one map."""

    aerial: Path
    satellite: SatelliteSource | None
    assume_crs: str | None = None
    alone: bool = False
    """Mapped by itself, whatever lies beside it."""

    def open(self) -> RasterReader:
        """Open the aerial raster."""
        return RasterReader(self.aerial, assume_crs=self.assume_crs)


def find_scenes(
    source: Path,
    satellite: Path | None,
    *,
    needs_satellite: bool,
    may_lack: bool = False,
    satellite_offset: OffsetOption = "auto",
    satellite_substitute: str | None = None,
    crs: str | None = None,
) -> list[Scene]:
    """Find the aerial rasters of an input and the series that belong to them.

    Args:
        source: A GeoTIFF, a scene folder, a FLAIR #2 tree or a folder of GeoTIFFs.
        satellite: Folder of `S2_YYYYMMDD.tif` files; beside or in `source` if None.
        needs_satellite: Whether the model has a satellite branch.
        may_lack: Whether a folder of series that is not named and not there will do.
        satellite_offset: Radiometric offset of the series, or how it is found.
        satellite_substitute: Bands that stand for those that the series lacks, such as `B8A=B08`.
        crs: CRS of aerial files that have none or an unnamed local one, such as `EPSG:2154`.

    Raises:
        ConfigError: If `crs` or `satellite_substitute` cannot be understood or are not needed.
        DataError: If there is no aerial raster.
        SatelliteError: If a series is needed and missing.
    """
    if not source.exists():
        raise DataError(f"{source} is not there; expected a GeoTIFF or a folder; check the path")
    if crs is not None:
        check_crs(crs)
    substitutes = parse_substitutes(satellite_substitute)
    if satellite is None and _is_flair(source):
        if satellite_substitute is not None:
            raise _needless_substitute(satellite_substitute, f"{source} is a FLAIR #2 tree")
        tree = FlairTree(source, satellite_offset=satellite_offset)
        return [
            Scene(
                aerial=patch.image,
                satellite=PatchSeries(tree=tree, patch_id=name) if needs_satellite else None,
                assume_crs=crs or FLAIR_CRS,
                alone=True,
            )
            for name, patch in tree.patches.items()
        ]
    files = _aerial_files(source)
    series = None
    if needs_satellite:
        folder = satellite or (source if source.is_dir() else source.parent) / SATELLITE_FOLDER
        if satellite is not None or folder.is_dir() or not may_lack:
            if satellite is None and not folder.is_dir():
                raise SatelliteError(
                    f"{folder} is not there; expected a folder of S2_YYYYMMDD.tif files; name it "
                    "with --satellite, make one with `segx satellite`, or map from the aerial "
                    "image alone with --missing-satellite aerial-only"
                )
            series = open_series(folder, offset=satellite_offset, substitutes=substitutes)
    if series is None and satellite_substitute is not None:
        raise _needless_substitute(satellite_substitute, "no series is used")
    return [Scene(aerial=path, satellite=series, assume_crs=crs) for path in files]


def _needless_substitute(text: str, found: str) -> ConfigError:
    return ConfigError(
        f"--satellite-substitute {text} is given, and {found}; expected a folder of "
        "S2_YYYYMMDD.tif files; leave it out"
    )


def check_crs(crs: str) -> None:
    """Check a value of `--crs`.

    Raises:
        ConfigError: If it is no EPSG code that is known.
    """
    try:
        known = _EPSG.fullmatch(crs) is not None and bool(CRS.from_string(crs))
    except CRSError:
        known = False
    if not known:
        raise ConfigError(f"--crs is {crs!r}; expected EPSG:NNNN, such as EPSG:2154; correct --crs")


def _is_flair(source: Path) -> bool:
    if (source / SCENE_AERIAL).is_file() or (source / SATELLITE_FOLDER).is_dir():
        return False
    return source.is_dir() and next(source.rglob("IMG_*.tif"), None) is not None


def _aerial_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if (source / SCENE_AERIAL).is_file():
        return [source / SCENE_AERIAL]
    files = sorted(
        path
        for path in source.iterdir()
        if path.suffix.lower() in {".tif", ".tiff"} and path.is_file()
    )
    if not files:
        raise DataError(
            f"{source} holds no GeoTIFF; expected {SCENE_AERIAL} or *.tif files in it, or a "
            "FLAIR #2 tree (without --satellite); check the path"
        )
    return files


def check_overlap(grid: Grid, satellite: SatelliteSource | None, path: Path) -> None:
    """Check that aerial imagery and its series show some common ground.

    Args:
        grid: Grid of the imagery.
        satellite: Its series; one without a place of its own is passed over.
        path: The file to name.

    Raises:
        GridError: If the series lies elsewhere.
    """
    if isinstance(satellite, GeoSeries) and not grid.overlaps(satellite.grid):
        raise GridError(
            f"{path} and its Sentinel-2 series {satellite.name} do not overlap; expected the same "
            "ground; name the right folder with --satellite"
        )


def fits(found_m: float, expected_m: float) -> bool:
    """Whether an aerial resolution is near enough to that of the model."""
    return abs(found_m / expected_m - 1) <= RESOLUTION_TOLERANCE


def are_names(names: Sequence[str]) -> bool:
    """Whether every band says what it is; `band 1` and the like say nothing."""
    return all(name and not name.startswith("band") for name in names)
