"""Time a bundle: per part, per tile, and end to end over a generated raster.

Tile latency is the time of one `run` over all parts with the arrays already in memory; it holds no
reading, preparing or writing. End to end is the wall time of `pipeline.infer` over a raster on disk
and holds everything, the start excepted (opening the bundle and the first tile are reported apart).
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .backends import BackendChoice
from .bundle import Bundle
from .manifest import Accuracy
from .maps import MapOptions
from .model import TileModel, golden_feed, open_model
from .pipeline import infer
from .report import Latency, Report, latency, peak_rss_mib
from .scene import find_scenes
from .tally import Tally

INSIDE = "tile: all parts on arrays in memory; end to end: read, prepare, infer, write, COG"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """How long to measure."""

    warmup: int = 3
    repeats: int = 20
    threads: int | None = None
    """Processor threads; the library's default if None."""

    def __post_init__(self) -> None:
        """Refuse a plan that measures nothing."""
        if self.repeats < 1 or self.warmup < 0:
            raise ValueError(
                f"repeats is {self.repeats} and warmup {self.warmup}; expected >= 1, 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What one bundle took on one backend."""

    bundle: str
    sha256: str
    backend: str
    precision: str
    """What was executed."""
    verified: bool
    size_mib: float
    load_s: float
    """Opening and compiling all parts."""
    first_tile_s: float
    latency_ms: Latency
    """One tile, all parts."""
    part_ms: dict[str, float]
    """Mean of each part."""
    tiles_per_s: float
    mpx_per_s: float
    """Pixels of whole tiles per second of tile latency: the limit of tiled inference."""
    end_to_end: Report | None
    """A run over a raster on disk."""
    efficiency: float | None
    """Tile time over wall time of that run, its cold start excluded."""
    golden_agreement: float
    """Share of the golden tile's pixels whose class is the expected one."""
    accuracy: Accuracy | None
    """As measured at export."""
    peak_rss_mib: float
    warmup: int
    repeats: int
    inside: str = INSIDE


def bench(
    bundle: Bundle,
    choice: BackendChoice,
    plan: BenchPlan,
    *,
    scene: Path | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> BenchResult:
    """Time a bundle on its golden tile and, if a scene is given, end to end.

    Args:
        bundle: What to time.
        choice: Backend to time it on.
        plan: Warm-up and repeats.
        scene: A scene that fits the bundle, for the end-to-end run.
        on_step: Called after every run of the tile.

    Raises:
        SegxError: If the bundle cannot be opened or the scene does not fit.
    """
    feed, expected = golden_feed(bundle)
    begin = time.perf_counter()
    model = open_model(bundle, choice, threads=plan.threads)
    load_s = time.perf_counter() - begin
    begin = time.perf_counter()
    classes = model.run(feed)["classes"].copy()
    first_tile_s = time.perf_counter() - begin
    seconds, parts = _time_tiles(model, feed, plan, on_step)
    report = None if scene is None else _end_to_end(bundle, choice, model, scene)
    model.close()
    tile = latency(seconds)
    tiles_per_s = len(seconds) / sum(seconds)
    return BenchResult(
        bundle=bundle.manifest.name,
        sha256=bundle.sha256,
        backend=choice.name,
        precision=model.precision,
        verified=bundle.manifest.verified,
        size_mib=bundle.size_mib,
        load_s=load_s,
        first_tile_s=first_tile_s,
        latency_ms=tile,
        part_ms=parts,
        tiles_per_s=tiles_per_s,
        mpx_per_s=tiles_per_s * bundle.manifest.aerial.tile_size**2 / 1e6,
        end_to_end=report,
        efficiency=None if report is None else _efficiency(report),
        golden_agreement=float(np.mean(classes == expected["classes"])),
        accuracy=bundle.manifest.accuracy,
        peak_rss_mib=peak_rss_mib(),
        warmup=plan.warmup,
        repeats=plan.repeats,
    )


def _time_tiles(
    model: TileModel,
    feed: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
    plan: BenchPlan,
    on_step: Callable[[int, int], None],
) -> tuple[list[float], dict[str, float]]:
    total = plan.warmup + plan.repeats
    seconds = []
    for step in range(total):
        if step == plan.warmup:
            model.part_seconds.clear()
        begin = time.perf_counter()
        model.run(feed)
        seconds.append(time.perf_counter() - begin)
        on_step(step + 1, total)
    parts = {name: busy / plan.repeats * 1e3 for name, busy in model.part_seconds.items()}
    return seconds[plan.warmup :], parts


def _end_to_end(bundle: Bundle, choice: BackendChoice, model: TileModel, scene: Path) -> Report:
    scenes = find_scenes(scene, None, needs_satellite=bundle.card.satellite is not None)
    with tempfile.TemporaryDirectory(prefix="segx-bench-") as out:
        return infer(
            scenes,
            bundle.card,
            model,
            Path(out),
            tally=Tally(choice),
            options=MapOptions(allow_toy=True),
        )


def _efficiency(report: Report) -> float | None:
    """Share of the wall time after the first tile in which the model computes; None for one."""
    if report.tiles < 2:
        return None
    first = report.latency_ms.mean / 1e3
    return (report.stages_s["infer"] - first) / max(report.wall_s - report.cold_start_s, 1e-9)
