"""The first two stages: read tiles, and prepare what the model takes of them."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..aerial.band import BandBuffer
from ..aerial.reader import AerialWindow, Damage
from ..card import ModelCard
from ..model import make_feed
from ..output.kinds import AERIAL_ONLY, COVERED_DATES, DAMAGED, GOOD, NODATA
from ..satellite import SatelliteInput
from ..satellite_policy import SatelliteFeeder
from ..tally import Tally
from ..tiler import Tile
from .jobs import Job
from .options import InferOptions
from .survey import Area
from .targets import Notes


@dataclass(frozen=True, slots=True, kw_only=True)
class StripEnd:
    """All tiles of a strip have passed."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTile:
    """A tile of a strip, as it comes from disk."""

    job: Job
    tile: Tile
    window: AerialWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTile:
    """A tile and what the model takes of it."""

    job: Job
    tile: Tile
    feed: dict[str, NDArray[Any]] | None
    """Inputs with a batch of one; None for a tile that shows nothing and is not run."""
    quality: NDArray[np.uint8] | None
    """Values of the quality mask, shape (size, size); None: nodata everywhere."""
    satellite: SatelliteInput | None = None
    """What the tile shows from space; None where that is left out."""
    outside: tuple[str, ...] = ()
    """Bands in which the tile is unlike those that the model was calibrated on."""


def read_tiles(
    jobs: Sequence[Job], tally: Tally, work: Notes
) -> Generator[ReadTile | StripEnd, None, None]:
    """Read the tiles of every strip, row by row.

    What is damaged becomes nodata, and is noted before any map can show it.

    Raises:
        DataError: If a file is gone, or the disk does not take a note.
    """
    tally.damaged.extend(Damage(**note["damage"]) for note in work.notes if "damage" in note)
    known = set(tally.damaged)
    for job in jobs:
        with job.area.open() as view:
            band, seen = BandBuffer(view, job.area.plan.size), 0
            band.start(job.read_cols)
            for tile in job.tiles():
                window = band.tile(tile)
                for block in view.damage[seen:]:
                    if block not in known:
                        known.add(block)
                        tally.damaged.append(block)
                        work.note({"damage": asdict(block)})
                seen = len(view.damage)
                yield ReadTile(job=job, tile=tile, window=window)
        yield StripEnd(job=job)


def prepare_tiles(
    tiles: Iterable[ReadTile | StripEnd],
    card: ModelCard,
    options: InferOptions,
    tally: Tally,
) -> Generator[PreparedTile | StripEnd, None, None]:
    """Add the satellite input of every tile that shows something.

    Raises:
        SatelliteError: If a tile's satellite input is missing and may not be.
    """
    feeder: SatelliteFeeder | None = None
    area: Area | None = None
    for item in tiles:
        if isinstance(item, StripEnd):
            yield item
            continue
        if item.job.area is not area:
            area = item.job.area
            feeder = None if options.lattice_cells is not None else open_feeder(area, card, options)
        yield _prepare(item, card, feeder, tally)


def open_feeder(area: Area, card: ModelCard, options: InferOptions) -> SatelliteFeeder | None:
    """Open what gives the satellite input of an area's tiles; None for a model without it."""
    if card.satellite is None:
        return None
    return SatelliteFeeder(
        area.mosaic.satellite,
        card.satellite,
        policy=options.missing_satellite,
        grid=area.tile_grid.grid,
    )


def _prepare(
    item: ReadTile, card: ModelCard, feeder: SatelliteFeeder | None, tally: Tally
) -> PreparedTile:
    job, tile, window = item.job, item.tile, item.window
    if not job.area.shows(tile, window):
        tally.empty_tiles += 1
        known = window.damaged is not None and window.damaged.any()
        quality = _quality(window, 0) if known else None
        return PreparedTile(job=job, tile=tile, feed=None, quality=quality)
    source, satellite = GOOD, None
    if feeder is not None:
        satellite = feeder.prepare(*centre_of(tile, job.area))
        source = source_of(satellite)
    feed = make_feed([window.pixels], None if satellite is None else [satellite])
    ranges = card.input_ranges
    return PreparedTile(
        job=job,
        tile=tile,
        feed=feed,
        quality=_quality(window, source),
        satellite=satellite,
        outside=() if ranges is None else ranges.outside(feed, window.valid),
    )


def centre_of(tile: Tile, area: Area) -> tuple[float, float]:
    """Row and column of a tile's centre on the tile grid, in pixel edges."""
    half = area.plan.size / 2
    return tile.row + half, tile.col + half


def source_of(satellite: SatelliteInput | None) -> int:
    """Value of the quality mask for what a tile shows from space."""
    if satellite is None:
        return AERIAL_ONLY
    return GOOD if satellite.clear else COVERED_DATES


def _quality(window: AerialWindow, source: int) -> NDArray[np.uint8]:
    """What each pixel of a tile is mapped from."""
    quality = np.where(window.valid, np.uint8(source), np.uint8(NODATA))
    if window.damaged is not None:
        quality[window.damaged] = DAMAGED
    return quality
