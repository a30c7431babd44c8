"""Time a bundle: per part, per tile, and end to end over a generated raster.

Tile latency is the time of one `run` over all parts with the arrays already in memory; it holds no
reading, preparing or writing. Tiles per second are those of `run_many`, which lets a GPU copy one
tile while it computes another. End to end is the wall time of `pipeline.infer` over a raster on
disk and holds everything, the start excepted (opening the bundle and the first tile are reported
apart).

Efficiency is tiles per second end to end over tiles per second of the model alone, for as many
tiles, with all parts in both. A round measures one after the other, so that a machine that slows
down meanwhile slows both; of several rounds the median and the least one count.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bench_rounds import Feed, OnStep, Round, measure_round, of_median_wall
from .bundle import Bundle
from .ladder import Opened
from .manifest import Accuracy
from .model import OpenModel, golden_feed, repeated
from .report import Latency, Report, latency, peak_rss_mib
from .selftest import SelfTest
from .tally import mean_added, reasons_by_name

INSIDE = (
    "tile: all parts on arrays in memory; tiles/s: the same in a row, a GPU copies meanwhile; "
    "end to end: read, prepare, infer, write, COG; efficiency: tiles/s end to end, after the first "
    "one, over tiles/s in a row"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """How long to measure."""

    warmup: int = 3
    """Calls that are not counted."""
    repeats: int = 20
    """Calls that are counted, each alone; in a row at least as many."""
    rounds: int = 1
    """Measurements of calls in a row, each after one end to end; 5 or more for a figure."""

    def __post_init__(self) -> None:
        """Refuse a plan that measures nothing."""
        if self.repeats < 1 or self.rounds < 1 or self.warmup < 0:
            raise ValueError(
                f"repeats is {self.repeats}, rounds {self.rounds} and warmup {self.warmup}; "
                "expected >= 1, 1, 0"
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
    calls_ms: tuple[float, ...]
    """What every counted call took, in order."""
    part_ms: dict[str, float]
    """Mean of each part."""
    device_ms: dict[str, float] | None
    """Mean per call on the GPU: upload, each part, download; None on a CPU."""
    tiles_per_s: float
    """Of calls in a row, nothing else; median of the rounds."""
    mpx_per_s: float
    """Pixels of whole tiles in that time: the limit of tiled inference."""
    end_to_end: Report | None
    """A run over a raster on disk: that of median wall time."""
    efficiency: float | None
    """Tiles per second end to end over those of the model alone; median of the rounds."""
    efficiency_least: float | None
    """The least of the rounds."""
    rounds: tuple[Round, ...]
    golden_agreement: float
    """Share of the golden tile's pixels whose class is the expected one."""
    accuracy: Accuracy | None
    """As measured at export."""
    peak_rss_mib: float
    """Largest of the whole process; that of the end-to-end run is in its report."""
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
    on_step: OnStep = lambda done, total: None,
) -> BenchResult:
    """Time a bundle on its golden tile and, if a scene is given, end to end.

    Args:
        bundle: What to time.
        opened: The same, opened; its batch is how many tiles a call takes. It is left open.
        plan: Warm-up, repeats and rounds.
        scene: A scene that fits the bundle, for the end-to-end runs.
        on_step: Called whenever some of the work is done.

    Raises:
        SegxError: If the bundle's golden tile cannot be read or the scene does not fit.
    """
    model = opened.model
    batch = model.batch
    steps = _Steps(plan, with_scene=scene is not None, on_step=on_step)
    one, expected = golden_feed(bundle)
    feed = repeated(one, batch)
    begin = time.perf_counter()
    classes = model.run(feed)["classes"].copy()
    first_tile_s = time.perf_counter() - begin
    times = _time_calls(model, feed, plan, steps)
    peaks = [peak_rss_mib()]
    rounds, reports = [], []
    for _ in range(plan.rounds):
        parts = (steps.part(0 if scene is None else plan.repeats), steps.part(plan.repeats))
        done, report = measure_round(bundle, opened, feed, plan.repeats, scene, parts)
        rounds.append(done)
        reports += [] if report is None else [report]
        peaks.append(peak_rss_mib())
        peaks += [] if report is None else [report.peak_rss_mib]
    tiles_per_s = statistics.median(item.tiles_per_s for item in rounds)
    efficiencies = [item.efficiency for item in rounds if item.efficiency is not None]
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
        calls_ms=tuple(1e3 * seconds for seconds in times.seconds),
        part_ms=times.part_ms,
        device_ms=times.device_ms,
        tiles_per_s=tiles_per_s,
        mpx_per_s=tiles_per_s * bundle.manifest.aerial.tile_size**2 / 1e6,
        end_to_end=of_median_wall(reports),
        efficiency=statistics.median(efficiencies) if efficiencies else None,
        efficiency_least=min(efficiencies, default=None),
        rounds=tuple(rounds),
        golden_agreement=float(np.mean(classes == expected["classes"])),
        accuracy=bundle.manifest.accuracy,
        peak_rss_mib=max(peaks),
        warmup=plan.warmup,
        repeats=plan.repeats,
        passed_over=reasons_by_name(opened.choice),
        self_test=opened.self_test,
    )


class _Steps:
    """Tells how much of the work is done, in calls that are counted."""

    def __init__(self, plan: BenchPlan, *, with_scene: bool, on_step: OnStep) -> None:
        runs = plan.rounds * (2 if with_scene else 1)
        self.total = plan.warmup + plan.repeats * (1 + runs)
        self._done = 0
        self._on_step = on_step

    def part(self, size: int) -> OnStep:
        """Begin a part of so many steps; gives what to call with its own steps done and in all."""
        begin = self._done
        self._done += size

        def advance(done: int, of: int) -> None:
            self._on_step(begin + size * done // max(of, 1), self.total)

        return advance


@dataclass(frozen=True, slots=True)
class _Times:
    """What single calls of the golden tile took."""

    seconds: list[float]
    part_ms: dict[str, float]
    device_ms: dict[str, float] | None


def _time_calls(model: OpenModel, feed: Feed, plan: BenchPlan, steps: _Steps) -> _Times:
    advance = steps.part(plan.warmup)
    for step in range(plan.warmup):
        model.run(feed)
        advance(step + 1, plan.warmup)
    parts, stages = dict(model.part_seconds), dict(model.stage_ms)
    advance = steps.part(plan.repeats)
    seconds = []
    for step in range(plan.repeats):
        begin = time.perf_counter()
        model.run(feed)
        seconds.append(time.perf_counter() - begin)
        advance(step + 1, plan.repeats)
    part_s = mean_added(parts, model.part_seconds, plan.repeats) or {}
    device_ms = mean_added(stages, model.stage_ms, plan.repeats)
    return _Times(seconds, {name: 1e3 * busy for name, busy in part_s.items()}, device_ms)
