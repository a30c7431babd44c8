"""Say what a run will take, without doing it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..augmented import augmented
from ..card import TileRunner
from ..output.spool import spool_bytes
from .jobs import count_tiles
from .mapset import map_kinds
from .memory import MIB, MemoryPlan
from .survey import Survey

TRIALS = 3
"""Calls of the model whose fastest says how long a tile takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run will take."""

    files: int
    mosaics: int
    pixels: int
    """Pixels of the maps."""
    area_km2: float
    tiles: int
    """Tiles that reach into a file; those without data are not run."""
    tile_size: int
    halo: int
    stride: int
    lattice_px: int
    recompute: float
    """Pixels run over pixels mapped, borders included."""
    batch: int
    memory_mib: Mapping[str, float]
    """By what holds it."""
    disk_mib: float
    """Of unfinished maps, at most; the finished ones are compressed."""
    tile_s: float
    """What the model takes for a tile alone, in all its runs."""
    seconds: float
    """What it takes for all tiles: reading and writing hide behind it."""


def forecast(
    survey: Survey,
    model: TileRunner,
    feed: Mapping[str, NDArray[Any]],
    memory: MemoryPlan,
    *,
    batch: int,
) -> Forecast:
    """Say what a run will take.

    Args:
        survey: What is to be mapped.
        model: The opened model.
        feed: Inputs of one call of it.
        memory: The plan of memory.
        batch: Tiles in it.
    """
    first, options = survey.areas[0], survey.options
    files = survey.files
    pixels = sum(file.info.grid.shape[0] * file.info.grid.shape[1] for file in files)
    bands = sum(len(kind.bands) for kind in map_kinds(survey.card, options).values())
    tiles = sum(count_tiles(area) for area in survey.areas)
    mapped = sum(area.plan.shape[0] * area.plan.shape[1] for area in survey.areas)
    tile_s = _fastest(augmented(model, options.tta), feed) / batch
    return Forecast(
        files=len(files),
        mosaics=len(survey.areas),
        pixels=pixels,
        area_km2=sum(file.info.grid.area_km2 for file in files),
        tiles=tiles,
        tile_size=first.plan.size,
        halo=first.plan.margin,
        stride=first.plan.stride,
        lattice_px=first.lattice.step,
        recompute=tiles * options.runs_per_tile * first.plan.size**2 / mapped,
        batch=batch,
        memory_mib={name: held / MIB for name, held in memory.parts.items()},
        disk_mib=sum(spool_bytes(file.info.grid.shape, bands) for file in files) / MIB,
        tile_s=tile_s,
        seconds=tiles * tile_s,
    )


def _fastest(model: TileRunner, feed: Mapping[str, NDArray[Any]]) -> float:
    times = []
    for _ in range(TRIALS):
        begin = time.perf_counter()
        model.run(feed)
        times.append(time.perf_counter() - begin)
    return min(times)
