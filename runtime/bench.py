"""Time a bundle: per part, per tile, and end to end over a generated raster.

Tile latency is the time of one `run` over all parts with the arrays already in memory; it holds no
reading, preparing or writing. Tiles per second are those of `run_many`, which lets a GPU copy one
tile while it computes another. End to end is the wall time of `pipeline.infer` over a raster on
disk and holds everything, the start excepted (opening the bundle and the first tile are reported
apart).
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import ConfigError
from .ladder import Opened
from .manifest import Accuracy
from .maps import MapOptions
from .model import OpenModel, batch_of, golden_feed, repeated
from .pipeline import infer
from .report import Latency, Report, latency, peak_rss_mib
from .scene import find_scenes
from .selftest import SelfTest
from .tally import Tally, mean_added, reasons_by_name

INSIDE = (
    "tile: all parts on arrays in memory; tiles/s: the same in a row, a GPU copies meanwhile; "
    "end to end: read, prepare, infer, write, COG"
)

Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """How long to measure."""

    warmup: int = 3
    repeats: int = 20

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
    device: str
    precision: str
    """What was executed."""
    verified: bool
    size_mib: float
    load_s: float
    """Opening and compiling all parts, engines that had to be built included."""
    first_tile_s: float
    """The first run: that of the self-test, unless it was skipped."""
    batch: int
    """Tiles per call."""
    latency_ms: Latency
    """One call, all parts."""
    part_ms: dict[str, float]
    """Mean of each part."""
    device_ms: dict[str, float] | None
    """Mean per call on the GPU: upload, each part, download; None on a CPU."""
    tiles_per_s: float
    """Of calls in a row."""
    mpx_per_s: float
    """Pixels of whole tiles in that time: the limit of tiled inference."""
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
    passed_over: dict[str, str]
    """Why each backend that would have been preferred was not taken, by its name."""
    self_test: SelfTest
    inside: str = INSIDE


def bench(
    bundle: Bundle,
    opened: Opened,
    plan: BenchPlan,
    *,
    scene: Path | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> BenchResult:
    """Time a bundle on its golden tile and, if a scene is given, end to end.

    Args:
        bundle: What to time.
        opened: The same, opened; its batch is how many tiles a call takes. It is left open.
        plan: Warm-up and repeats.
        scene: A scene that fits the bundle, for the end-to-end run, which takes tiles one by one.
        on_step: Called after every run of the tile.

    Raises:
        ConfigError: If a scene is to be mapped with a batch of several tiles.
        SegxError: If the bundle's golden tile cannot be read or the scene does not fit.
    """
    model = opened.model
    batch = batch_of(model)
    if scene is not None and batch > 1:
        raise ConfigError(
            f"a batch of {batch} and a scene; expected one of them, since a scene is mapped tile "
            "by tile; leave out --scene or --batch"
        )
    one, expected = golden_feed(bundle)
    feed = repeated(one, batch)
    begin = time.perf_counter()
    classes = model.run(feed)["classes"].copy()
    first_tile_s = time.perf_counter() - begin
    times = _time_tiles(model, feed, plan, on_step)
    report = None if scene is None else _end_to_end(bundle, opened, scene)
    return BenchResult(
        bundle=bundle.manifest.name,
        sha256=bundle.sha256,
        backend=opened.choice.name,
        device=opened.choice.device,
        precision=model.precision,
        verified=bundle.manifest.verified,
        size_mib=bundle.size_mib,
        load_s=opened.load_s,
        first_tile_s=opened.self_test.seconds or first_tile_s,
        batch=batch,
        latency_ms=latency(times.seconds),
        part_ms=times.part_ms,
        device_ms=times.device_ms,
        tiles_per_s=times.tiles_per_s,
        mpx_per_s=times.tiles_per_s * bundle.manifest.aerial.tile_size**2 / 1e6,
        end_to_end=report,
        efficiency=None if report is None else _efficiency(report),
        golden_agreement=float(np.mean(classes == expected["classes"])),
        accuracy=bundle.manifest.accuracy,
        peak_rss_mib=peak_rss_mib(),
        warmup=plan.warmup,
        repeats=plan.repeats,
        passed_over=reasons_by_name(opened.choice),
        self_test=opened.self_test,
    )


@dataclass(frozen=True, slots=True)
class _Times:
    """What calls of the golden tile took."""

    seconds: list[float]
    """Of each call alone."""
    part_ms: dict[str, float]
    device_ms: dict[str, float] | None
    tiles_per_s: float


def _time_tiles(
    model: OpenModel, feed: Feed, plan: BenchPlan, on_step: Callable[[int, int], None]
) -> _Times:
    total = plan.warmup + 2 * plan.repeats
    for step in range(plan.warmup):
        model.run(feed)
        on_step(step + 1, total)
    parts, stages = dict(model.part_seconds), dict(model.stage_ms)
    seconds = []
    for step in range(plan.repeats):
        begin = time.perf_counter()
        model.run(feed)
        seconds.append(time.perf_counter() - begin)
        on_step(plan.warmup + step + 1, total)
    part_s = mean_added(parts, model.part_seconds, plan.repeats) or {}
    device_ms = mean_added(stages, model.stage_ms, plan.repeats)
    begin = time.perf_counter()
    for step, _ in enumerate(model.run_many(repeat(feed, plan.repeats))):
        on_step(plan.warmup + plan.repeats + step + 1, total)
    tiles_per_s = plan.repeats * batch_of(model) / (time.perf_counter() - begin)
    return _Times(
        seconds, {name: 1e3 * busy for name, busy in part_s.items()}, device_ms, tiles_per_s
    )


def _end_to_end(bundle: Bundle, opened: Opened, scene: Path) -> Report:
    scenes = find_scenes(scene, None, needs_satellite=bundle.card.satellite is not None)
    tally = Tally(opened.choice, self_test=opened.self_test, timed=opened.model)
    with tempfile.TemporaryDirectory(prefix="segx-bench-") as out:
        return infer(
            scenes,
            bundle.card,
            opened.model,
            Path(out),
            tally=tally,
            options=MapOptions(allow_toy=True),
        )


def _efficiency(report: Report) -> float | None:
    """Share of the wall time after the first tile in which the model computes; None for one."""
    if report.tiles < 2:
        return None
    first = report.latency_ms.mean / 1e3
    return (report.stages_s["infer"] - first) / max(report.wall_s - report.cold_start_s, 1e-9)
