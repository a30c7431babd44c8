"""Map arrays: the stages of a run over rasters, with arrays at both ends.

                 col of the aerial array
    series       |
    +--+--+--+--+--+--+      The two share a plane without rotation: a pixel of the series is one
    |  |  |  |  |  |  |      cell of the model's satellite window, and the corner of the aerial
    +--+--+--+--+--+--+      array lies at a row and column of the series, counted in its pixel
    |  |  |  +--+  |  |      edges. Where nothing else is said, both have one centre.
    +--+--+--|##|--+--+
    |  |  |  +--+  |  |      ## aerial array
    +--+--+--+--+--+--+

Pixels of the aerial array have the size that the model was trained at. Tiles, halo, blending, dates
and what happens where Sentinel-2 is missing are as for rasters.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from .aerial.mosaic import AerialFile, Mosaic
from .aerial.reader import AerialView, AerialWindow, Damage
from .aerial.resample import TileGrid
from .augmented import augmented
from .card import ModelCard, TileRunner
from .errors import BandError, ConfigError, DataError
from .grid import Grid
from .output.kinds import BLOCK, NODATA, MapKind, MapTags
from .pipeline import run_jobs
from .radiometry import DateOffset
from .raster import RasterInfo
from .report import Fit
from .satellite import SatelliteInput, SatelliteSpec, SatelliteStack, window_cells
from .satellite_lattice import check_step
from .satellite_policy import check_policy
from .stream.dates_used import DatesUsed
from .stream.jobs import make_jobs
from .stream.lattice import choose_lattice
from .stream.mapset import MapSet
from .stream.memory import STRIP_TILES
from .stream.options import InferOptions
from .stream.survey import Area, Survey, with_halo
from .tally import Tally
from .tiler import TilePlan

NAME = "array"
PLANE = "EPSG:3857"
"""Stands for a plane in metres: arrays lie nowhere."""
OF_FILES = ("bands", "elevation", "scale", "crs", "satellite_substitute", "resample", "max_memory")
"""Options that say something of files only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySeries:
    """A series on a grid of the model's cells, and where the aerial array lies on it."""

    stack: SatelliteStack
    corner: tuple[float, float] | None = None
    """Row and column of the aerial array's upper left corner; None: both have one centre."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return NAME

    @property
    def dates(self) -> int:
        """Dates of the series."""
        return len(self.stack.dates)

    @property
    def radiometry(self) -> tuple[DateOffset, ...]:
        """Radiometric offset of each date, and where it comes from."""
        return self.stack.radiometry

    def source_files(self) -> tuple[Path, ...]:
        """None: it is in memory."""
        return ()

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        """Cut the window around a place on the aerial array.

        Raises:
            NotSeenError: If it shows nothing on any date.
        """
        scale = grid.resolution_m / spec.cell_m
        corner = self.corner
        if corner is None:
            middle = [side / 2 for side in self.stack.shape]
            corner = (
                middle[0] - grid.shape[0] / 2 * scale,
                middle[1] - grid.shape[1] / 2 * scale,
            )
        cells = window_cells(corner[0] + row * scale, corner[1] + col * scale, spec.window)
        return spec.prepare(self.stack, *cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The maps of an aerial array; 255 is nodata in all of uint8."""

    classes: NDArray[np.uint8]
    """Class indices, shape (H, W)."""
    confidence: NDArray[np.uint8]
    """Probability of that class, 0 to 254, shape (H, W)."""
    quality: NDArray[np.uint8]
    """0 all inputs good, 1 satellite from covered dates only, 2 aerial only, shape (H, W)."""
    extra: Mapping[str, NDArray[np.uint8]]
    """Further maps that were asked for, by name, each of shape (bands, H, W)."""
    tiles: int
    """Tiles that the model ran."""


def predict(
    model: TileRunner,
    card: ModelCard,
    aerial: NDArray[np.uint8],
    series: ArraySeries | None,
    *,
    valid: NDArray[np.bool_] | None,
    options: InferOptions,
) -> Prediction:
    """Map an aerial array.

    Args:
        model: The opened model, which ends as `options.variant` says.
        card: What to know of it.
        aerial: Shape (C, H, W), bands in the model's order.
        series: The Sentinel-2 series; None without one.
        valid: Which pixels hold data, shape (H, W); None: all do.
        options: What to write, and how; those of files must be left out.

    Raises:
        BandError: If the array has other bands.
        DataError: If an array has another shape or type.
        ConfigError: If an option is one of files.
        SegxError: If a tile cannot be mapped.
    """
    _check(aerial, valid, card, options)
    store = _Arrays()
    survey = _survey(aerial, series, valid, card, options)
    model = augmented(model, options.tta)
    tally = Tally(None, runs_per_tile=options.runs_per_tile)
    maps = MapSet(survey, store, [MapTags(file={}, band={})], tally, DatesUsed(store, tally))
    jobs = make_jobs(survey.areas, maps.sheets, STRIP_TILES)
    maps.expect(jobs)
    run_jobs(jobs, survey, model, maps, store)
    made = store.maps
    known = ("classes", "confidence", "quality")
    return Prediction(
        classes=made["classes"][0],
        confidence=made["confidence"][0],
        quality=made["quality"][0],
        extra={name: array for name, array in made.items() if name not in known},
        tiles=tally.tiles,
    )


def _check(
    aerial: NDArray[np.uint8],
    valid: NDArray[np.bool_] | None,
    card: ModelCard,
    options: InferOptions,
) -> None:
    defaults = {item.name: item.default for item in fields(InferOptions)}
    for name in OF_FILES:
        if getattr(options, name) != defaults[name]:
            raise ConfigError(
                f"the option {name} is given for arrays; expected it with files only; bring the "
                "arrays into the form that the model takes, and leave it out"
            )
    bands = card.aerial.bands
    if aerial.ndim != 3 or len(aerial) != len(bands):
        raise BandError(
            f"the aerial array has shape {aerial.shape}; expected ({len(bands)}, H, W) with the "
            f"bands {', '.join(bands)}; bring it into that order"
        )
    if aerial.dtype != np.uint8 or not aerial.size:
        raise DataError(
            f"the aerial array is of type {aerial.dtype} and shape {aerial.shape}; expected uint8 "
            "with at least one pixel; scale it as the imagery that the model was trained on"
        )
    if valid is not None and (valid.shape != aerial.shape[1:] or valid.dtype != np.bool_):
        raise DataError(
            f"the mask is of type {valid.dtype} and shape {valid.shape}; expected bool "
            f"{aerial.shape[1:]}; give one value per pixel"
        )
    check_policy(options.missing_satellite, card)
    check_step(options.lattice_cells, card)


def _survey(
    aerial: NDArray[np.uint8],
    series: ArraySeries | None,
    valid: NDArray[np.bool_] | None,
    card: ModelCard,
    options: InferOptions,
) -> Survey:
    spec = with_halo(card.aerial, options.halo)
    height, width = aerial.shape[1:]
    side = spec.resolution_m
    grid = Grid((height, width), Affine(side, 0, 0, 0, -side, 0), CRS.from_string(PLANE))
    info = RasterInfo(
        path=Path(NAME),
        grid=grid,
        count=len(aerial),
        dtype="uint8",
        nodata=None,
        bands=spec.bands,
        tags={},
    )
    satellite = series if card.satellite is not None else None
    file = AerialFile(path=info.path, info=info, row=0, col=0)
    area = _ArrayArea(
        mosaic=Mosaic(grid=grid, files=(file,), satellite=satellite),
        tile_grid=TileGrid(grid=grid, source=grid),
        plan=TilePlan(shape=grid.shape, size=spec.tile_size, halo=spec.halo),
        lattice=choose_lattice(spec, grid, None),
        bands=None,
        elevation=None,
        crs=None,
        blend=options.blend,
        overlaps=options.overlaps,
        fit=Fit(),
        view=_ArrayView(grid=grid, pixels=aerial, valid=valid),
    )
    return Survey(areas=(area,), card=card, options=options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArrayView:
    """An aerial array, read in windows."""

    grid: Grid
    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None
    damage: Sequence[Damage] = ()

    def read(self, rows: slice, cols: slice) -> AerialWindow:
        """Cut a window; pixels without data are 0 for the model, as in files."""
        pixels = self.pixels[:, rows, cols]
        if self.valid is None:
            valid = np.ones(pixels.shape[1:], dtype=np.bool_)
        else:
            valid = self.valid[rows, cols]
        return AerialWindow(pixels=pixels, valid=valid, damaged=None)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArrayArea(Area):
    """An area whose imagery is in memory."""

    view: _ArrayView

    @contextmanager
    def open(self) -> Iterator[AerialView]:
        """Give the imagery."""
        yield self.view


@dataclass(slots=True)
class _ArraySheet:
    """Takes the maps of an aerial array."""

    stem: str
    grid: Grid
    share: range
    maps: dict[str, NDArray[np.uint8]]
    finished: bool = False
    is_whole: bool = True
    paths: tuple[str, ...] = ()

    @property
    def mapped(self) -> Grid:
        return self.grid

    def missing(self, cols: slice) -> tuple[int, ...]:
        return tuple(self.share)

    def write(self, block: int, cols: slice, values: Mapping[str, NDArray[np.uint8]]) -> None:
        rows = slice(block * BLOCK, (block + 1) * BLOCK)
        for name, array in self.maps.items():
            array[:, rows, cols] = values[name]

    def finish(self, known: Mapping[str, str] | None = None) -> tuple[str, ...]:
        self.finished = True
        return self.paths


@dataclass(slots=True)
class _Arrays:
    """Makes the arrays that take the maps; what is noted is of no use to anybody."""

    maps: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def note(self, note: Mapping[str, Any]) -> None:
        """Forget it: nothing goes on after this process."""

    def sheet(
        self,
        stem: str,
        grid: Grid,
        kinds: Mapping[str, MapKind],
        tags: MapTags,
        share: range | None = None,
    ) -> _ArraySheet:
        for name, kind in kinds.items():
            shape = (len(kind.bands), *grid.shape)
            self.maps[name] = np.full(shape, NODATA, dtype=np.uint8)
        blocks = range(-(-grid.shape[0] // BLOCK))
        return _ArraySheet(stem=stem, grid=grid, share=blocks, maps=self.maps)
