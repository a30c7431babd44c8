"""Rounds of a bench: a scene end to end, then the model alone for as many tiles."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .bundle import Bundle
from .energy import EnergyMeter
from .ladder import Opened
from .model import OpenModel
from .pipeline import infer
from .report import Report, reset_peak_rss
from .scene import find_scenes
from .stream.options import InferOptions
from .tally import Tally

Feed = Mapping[str, NDArray[Any]]
OnStep = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One measurement end to end, where there is a scene, and one of the model alone."""

    calls: int
    """Calls in a row."""
    tiles_per_s: float
    """Of the model alone, in these calls."""
    end_to_end_tiles_per_s: float | None
    """After the first call; None without a scene, or with one of a single call."""
    end_to_end_wall_s: float | None
    efficiency: float | None
    """The second over the first."""


def measure_round(
    bundle: Bundle,
    opened: Opened,
    feed: Feed,
    repeats: int,
    scene: Path | None,
    on_step: tuple[OnStep, OnStep],
) -> tuple[Round, Report | None]:
    """Map a scene, if there is one, and run the model for as many tiles.

    Args:
        bundle: What to time.
        opened: The same, opened.
        feed: What the model is run on, again and again.
        repeats: Least calls of the model alone.
        scene: The scene.
        on_step: Told of the work done end to end, and by the model alone.
    """
    report, calls = None, repeats
    if scene is not None:
        report = _end_to_end(bundle, opened, scene, on_step[0])
        calls = max(calls, -(-report.tiles // opened.model.batch))
    rate = _model_alone(opened.model, feed, calls, on_step[1])
    measured = _round(report, calls, rate)
    if report is not None:
        report = dataclasses.replace(report, efficiency=measured.efficiency)
    return measured, report


def _round(report: Report | None, calls: int, tiles_per_s: float) -> Round:
    end_to_end = None if report is None else report.tiles_per_s
    return Round(
        calls=calls,
        tiles_per_s=tiles_per_s,
        end_to_end_tiles_per_s=end_to_end,
        end_to_end_wall_s=None if report is None else report.wall_s,
        efficiency=None if end_to_end is None else end_to_end / tiles_per_s,
    )


def _model_alone(model: OpenModel, feed: Feed, calls: int, advance: OnStep) -> float:
    """Tiles per second of calls in a row."""
    begin = time.perf_counter()
    for step, _ in enumerate(model.run_many(repeat(feed, calls))):
        advance(step + 1, calls)
    return calls * model.batch / (time.perf_counter() - begin)


def _end_to_end(bundle: Bundle, opened: Opened, scene: Path, advance: OnStep) -> Report:
    scenes = find_scenes(scene, None, needs_satellite=bundle.card.satellite is not None)
    reset_peak_rss()
    with (
        tempfile.TemporaryDirectory(prefix="segx-bench-") as out,
        EnergyMeter(opened.choice.device) as meter,
    ):
        tally = Tally(opened.choice, self_test=opened.self_test, timed=opened.model, meter=meter)
        return infer(
            scenes,
            bundle.card,
            opened.model,
            Path(out),
            tally=tally,
            options=InferOptions(allow_toy=True),
            on_tile=advance,
        )


def of_median_wall(reports: Sequence[Report]) -> Report | None:
    """The run of median wall time; of an even number the faster one of the two in the middle."""
    ordered = sorted(reports, key=lambda report: report.wall_s)
    return ordered[(len(ordered) - 1) // 2] if ordered else None
