"""What a run is about: input checked against the model, joined into mosaics, cut into tiles."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rasterio.crs import CRS

from ..aerial.bands import bands_text, choose_for_all
from ..aerial.elevation import open_elevation
from ..aerial.mosaic import AerialFile, Mosaic, join
from ..aerial.reader import AerialView, AerialWindow, MosaicReader
from ..aerial.resample import ResampledView, TileGrid, tile_grid
from ..aerial.scaling import Scaling, choose_scaling
from ..card import ModelCard
from ..errors import BundleError, ConfigError, DataError, GridError
from ..geoseries import GeoSeries
from ..manifest import AerialSpec
from ..output.kinds import BLOCK
from ..report import FIT_NAMES, Fit
from ..satellite_lattice import check_step
from ..satellite_policy import check_policy
from ..scene import Scene, check_overlap
from ..tiler import Tile, TilePlan
from .blend import tiles_for
from .lattice import Lattice, choose_lattice
from .options import InferOptions

SAMPLE_TAG = "SEGX_SAMPLE"
"""Tag of generated imagery, its value the segx that made it; a toy bundle takes no other."""
SUBSTITUTED_TAG = "SUBSTITUTED"
"""Tag of an aerial file that a conversion made: what of it and its series is made up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One mosaic, and how it is read and cut."""

    mosaic: Mosaic
    tile_grid: TileGrid
    plan: TilePlan
    lattice: Lattice
    bands: tuple[int, ...] | None
    """Bands of the files in the model's order; None for all as they are."""
    elevation: str | None
    """What `--elevation` names; None where the files hold it."""
    crs: str | None
    """CRS of elevation files that have none."""
    blend: bool
    """Whether whole tiles make the map, not their interiors alone."""
    overlaps: bool
    """Whether whole tiles are looked at, if only to compare them."""
    fit: Fit
    """What was done to make the input fit the model."""
    scaling: Scaling | None = None
    """How stored values become uint8; None for files of uint8."""

    @property
    def block_rows(self) -> int:
        """Rows of the tiles' grid that a block row of a file's maps is made from, at most."""
        return math.ceil(BLOCK / self.tile_grid.row_scale) + 1

    @contextmanager
    def open(self) -> Iterator[AerialView]:
        """Open the imagery on the grid of the tiles, for one thread.

        Raises:
            DataError: If a file is missing or damaged.
        """
        with ExitStack() as stack:
            layers = []
            if self.elevation is not None:
                heights = open_elevation(self.elevation, self.mosaic.grid, assume_crs=self.crs)
                layers.append(heights)
                stack.callback(heights.close)
            reader = stack.enter_context(
                MosaicReader(self.mosaic, bands=self.bands, layers=layers, scaling=self.scaling)
            )
            yield ResampledView(reader, self.tile_grid) if self.tile_grid.resampled else reader

    def tiles(self, rows: slice, cols: slice) -> Iterator[Tile]:
        """Yield the tiles that a window of the map is made from, row-major."""
        if self.overlaps:
            return tiles_for(self.plan, cols, rows)
        return (
            tile
            for tile in self.plan.within(cols)
            if tile.interior[0].start < rows.stop and rows.start < tile.interior[0].stop
        )

    def reach(self, tile: Tile) -> tuple[slice, slice]:
        """Rows and columns of the map that a tile counts in."""
        if not self.blend:
            return tile.interior
        size, (height, width) = self.plan.size, self.plan.shape
        return (
            slice(max(tile.row, 0), min(tile.row + size, height)),
            slice(max(tile.col, 0), min(tile.col + size, width)),
        )

    def shows(self, tile: Tile, window: AerialWindow) -> bool:
        """Whether a tile holds data where it counts."""
        rows, cols = self.reach(tile)
        inside = (
            slice(rows.start - tile.row, rows.stop - tile.row),
            slice(cols.start - tile.col, cols.stop - tile.col),
        )
        return bool(window.valid[inside].any())


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that a run maps."""

    areas: tuple[Area, ...]
    card: ModelCard
    options: InferOptions

    @property
    def files(self) -> tuple[AerialFile, ...]:
        """All aerial files."""
        return tuple(file for area in self.areas for file in area.mosaic.files)

    @property
    def fit(self) -> Fit:
        """What was done to make the input fit the model, over all areas."""
        texts: dict[str, str | None] = {}
        for name in FIT_NAMES:
            found = dict.fromkeys(getattr(area.fit, name) for area in self.areas)
            texts[name] = "; ".join(text for text in found if text is not None) or None
        return Fit(**texts)


def make_survey(scenes: Sequence[Scene], card: ModelCard, options: InferOptions) -> Survey:
    """Check that every scene fits a model, join scenes into mosaics, and plan their tiles.

    Raises:
        DataError: If an input is missing, damaged or does not fit, or maps would clash.
        ConfigError: If an option does not go with the model.
        BundleError: If a toy bundle meets real imagery, or a branch may not be left out.
    """
    _check_names([scene.aerial for scene in scenes])
    spec = with_halo(card.aerial, options.halo)
    check_policy(options.missing_satellite, card)
    _check_tta(options)
    check_step(options.lattice_cells, card)
    mosaics = join(scenes, reach=_reach(scenes, spec, options))
    areas = [_area(mosaic, card, spec, options) for mosaic in mosaics]
    return Survey(areas=_scaled(areas, spec, options.scale), card=card, options=options)


def _reach(scenes: Sequence[Scene], spec: AerialSpec, options: InferOptions) -> int:
    """Pixels of the files that the halo covers: files that near belong together."""
    if not options.resample or not scenes:
        return spec.halo
    with scenes[0].open() as reader:
        return math.ceil(spec.halo * spec.resolution_m / reader.info.grid.resolution_m)


def with_halo(spec: AerialSpec, halo: int | None) -> AerialSpec:
    """Give a model another halo.

    Raises:
        ConfigError: If it leaves no interior, or tiles off the network's lattice.
    """
    if halo is None or halo == spec.halo:
        return spec
    try:
        return replace(spec, halo=halo)
    except ValueError as error:
        raise ConfigError(f"--halo {halo}: {error}; choose another, such as {spec.halo}") from error


def _area(mosaic: Mosaic, card: ModelCard, spec: AerialSpec, options: InferOptions) -> Area:
    _check_toy(mosaic, card, options)
    infos = [file.info for file in mosaic.files]
    bands = choose_for_all(infos, options.bands, spec, elevation=options.elevation is not None)
    satellite = mosaic.satellite if card.satellite is not None else None
    if options.missing_satellite != "aerial-only":
        check_overlap(mosaic.grid, satellite, mosaic.files[0].path)
    series_grid = satellite.grid if isinstance(satellite, GeoSeries) else None
    tiles = tile_grid(mosaic.grid, spec, options.resample, name=str(mosaic.files[0].path))
    lattice = choose_lattice(spec, tiles.grid, series_grid)
    return Area(
        mosaic=mosaic,
        tile_grid=tiles,
        plan=TilePlan(
            shape=tiles.grid.shape,
            size=spec.tile_size,
            halo=lattice.halo,
            origin=lattice.origin,
        ),
        lattice=lattice,
        bands=bands,
        elevation=options.elevation,
        crs=options.crs,
        blend=options.blend,
        overlaps=options.overlaps,
        fit=Fit(
            resampled=tiles.text,
            bands=bands_text(bands, card.aerial),
            elevation=_elevation_text(mosaic, options),
            crs=_crs_text(mosaic, options),
            satellite_bands=satellite.bands_text if isinstance(satellite, GeoSeries) else None,
            substituted=_substituted_text(mosaic),
        ),
    )


def _elevation_text(mosaic: Mosaic, options: InferOptions) -> str | None:
    """Open what `--elevation` names once, to see that it serves, and say what it is."""
    if options.elevation is None:
        return None
    opened = open_elevation(options.elevation, mosaic.grid, assume_crs=options.crs)
    with closing(opened) as layer:
        return layer.text


def _substituted_text(mosaic: Mosaic) -> str | None:
    """Say what conversions made up."""
    found = (file.info.tags.get(SUBSTITUTED_TAG) for file in mosaic.files)
    return "; ".join(dict.fromkeys(text for text in found if text)) or None


def _crs_text(mosaic: Mosaic, options: InferOptions) -> str | None:
    """Say that `--crs` gave files their CRS; refuse it for one that names its own.

    Raises:
        GridError: If a file names another CRS.
    """
    if options.crs is None:
        return None
    asked = CRS.from_string(options.crs).to_epsg()
    for file in mosaic.files:
        crs = file.info.grid.crs
        if file.info.names_crs and crs.to_epsg() != asked:
            raise GridError(
                f"{file.path} is in {crs.to_string()[:60]} and --crs says {options.crs}; expected "
                "files that name no CRS; leave --crs out, or correct the file"
            )
    named = all(file.info.names_crs for file in mosaic.files)
    return None if named else f"{options.crs}, which files do not name"


def _scaled(areas: Sequence[Area], spec: AerialSpec, wanted: str | None) -> tuple[Area, ...]:
    """Find one rule for all files of a run that are not of uint8."""
    read = [(file, area.bands) for area in areas for file in area.mosaic.files]
    scaling = choose_scaling(read, wanted, spec)
    if scaling is None:
        return tuple(areas)
    return tuple(
        replace(area, scaling=scaling, fit=replace(area.fit, scaling=scaling.text))
        for area in areas
    )


def _check_toy(mosaic: Mosaic, card: ModelCard, options: InferOptions) -> None:
    """Refuse to let a toy map imagery that was not generated."""
    for file in mosaic.files:
        if card.toy and SAMPLE_TAG not in file.info.tags and not options.allow_toy:
            raise BundleError(
                f"{card.name} is a toy for generated imagery; expected that, and {file.path} is "
                "not generated; train a model on your data, or pass --toy-ok to see a map without "
                "meaning"
            )


def _check_tta(options: InferOptions) -> None:
    """Refuse test-time augmentation where the satellite branch does not see the tile's runs."""
    if options.tta != "none" and options.lattice_cells is not None:
        raise ConfigError(
            f"--tta {options.tta} and --satellite-lattice are given; expected one of them: windows "
            "that serve many tiles are run once, and not mirrored with each; leave one out"
        )


def _check_names(aerials: Sequence[Path]) -> None:
    """Refuse aerial files whose maps would overwrite each other."""
    seen: dict[str, Path] = {}
    for path in aerials:
        other = seen.setdefault(path.stem.casefold(), path)
        if other != path:
            raise DataError(
                f"{other} and {path} would both become {path.stem}_landcover.tif; expected files "
                "of different names; infer them into different folders"
            )
