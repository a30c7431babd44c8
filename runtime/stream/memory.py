"""Say before a run how much memory it will take, and make it fit into a limit.

Everything that grows with the raster is bounded by the width of a strip of tiles: the rows that
are read, the rows of the maps that wait to be written, and the overlaps of blended tiles. The rest
is what the opened model holds, and a few tiles on their way between the stages.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..aerial.band import band_bytes
from ..errors import ConfigError
from .blend import blend_bytes

MIB = 2**20
STRIP_TILES = 8
"""Columns of tiles in a strip, where memory allows."""
QUEUES = {"read": 3, "prepare": 3, "infer": 2, "write": 256, "finish": 256}
"""Items that may wait behind each stage; the last two hand on little more than numbers."""
IN_HANDS = 4
"""Tiles that the stages themselves hold."""
GDAL_CACHE = 32 * MIB
"""Blocks that GDAL keeps."""
SERIES_CACHE = 128 * MIB
"""Pixels of the Sentinel-2 series that are kept, at most."""
FINISHING = 48 * MIB
"""Blocks on their way through the compression of a finished map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What decides how much memory a run takes; sizes in pixels and bytes."""

    tile_size: int
    halo: int
    stride: int
    tile_cols: int
    """Columns of tiles of the widest mosaic."""
    channels: int
    """Aerial bands."""
    block_height: int
    """Rows that a source block of the aerial files holds, at most."""
    block_rows: int
    """Rows of tiles' pixels that a block row of a map covers."""
    map_bands: int
    """Bands of all maps that are written."""
    result_bytes: int
    """Results of one tile."""
    satellite_bytes: int = 0
    """Satellite input of one tile; 0 without a satellite branch."""
    blended_channels: int = 0
    """Classes whose probabilities are blended; 0 where tiles are cropped."""
    batch: int = 1
    fitting_bytes: int = 0
    """What resampling and an elevation file take."""
    averaging_bytes: int = 0
    """What test-time augmentation takes beside the results."""
    nodes_bytes: int = 0
    """What satellite windows that serve many tiles leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """How wide strips are, and what a run takes then."""

    strip_tiles: int
    """Columns of tiles in a strip."""
    parts: Mapping[str, int]
    """Bytes by what holds them."""

    @property
    def total_mib(self) -> float:
        """All of them, in MiB."""
        return sum(self.parts.values()) / MIB


def plan_memory(work: Workload, *, held: int, limit: int | None) -> MemoryPlan:
    """Choose the width of strips.

    Args:
        work: What is to be done.
        held: Bytes that the process holds already: Python, libraries and the opened model.
        limit: Most bytes that the process may hold; None for no limit but the usual width.

    Raises:
        ConfigError: If not even strips of one tile fit.
    """
    tiles = min(STRIP_TILES, work.tile_cols)
    plan = _plan(work, tiles, held)
    if limit is None:
        return plan
    while plan.total_mib * MIB > limit and plan.strip_tiles > 1:
        plan = _plan(work, plan.strip_tiles - 1, held)
    if plan.total_mib * MIB > limit:
        needed = int(plan.total_mib) + 1
        raise ConfigError(
            f"--max-memory is {limit / MIB:.0f} MiB and this run needs {needed} MiB, of which the "
            f"opened model holds {held / MIB:.0f}; expected at least that; allow "
            f"{needed} MiB, or write fewer maps"
        )
    return plan


def _plan(work: Workload, tiles: int, held: int) -> MemoryPlan:
    width = tiles * work.stride + 2 * work.halo
    area = work.tile_size**2
    tile = (work.channels + 1) * area + work.satellite_bytes
    waiting = (QUEUES["read"] + QUEUES["prepare"] + IN_HANDS) * work.batch
    done = (QUEUES["infer"] + 2) * work.batch
    blended = 0
    if work.blended_channels:
        blended = blend_bytes(
            size=work.tile_size, halo=work.halo, width=width, channels=work.blended_channels
        )
    return MemoryPlan(
        strip_tiles=tiles,
        parts={
            "model": held,
            "rows read": band_bytes(
                channels=work.channels,
                size=work.tile_size,
                width=width,
                block_rows=work.block_height,
            ),
            "tiles": waiting * tile + done * (work.result_bytes + area),
            "rows of maps": 2 * work.map_bands * (work.stride + work.block_rows) * width,
            "blending": blended,
            "fitting": work.fitting_bytes,
            "averaging": work.averaging_bytes,
            "satellite windows": work.nodes_bytes,
            "GDAL's blocks": GDAL_CACHE,
            "series": SERIES_CACHE if work.satellite_bytes else 0,
            "finishing": FINISHING,
        },
    )
