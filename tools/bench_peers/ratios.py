"""How many times longer, or larger: ratios of one round each, and what they come to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import rasterio
from rasterio.windows import Window

from .contest import Turn

ROWS = 512
"""Rows of two maps that are compared at once."""

Figure = Callable[[Turn], float | None]

FIGURES: Mapping[str, Figure] = {
    "process_s": lambda turn: turn.process_s,
    "work_s": lambda turn: turn.inside.work_s if turn.inside else None,
    "steady_s": lambda turn: turn.inside.steady_s if turn.inside else None,
    "peak_rss_mib": lambda turn: turn.peak_rss_mib,
}
"""What is compared, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A contender's figure over segx's, over the rounds that both ended well."""

    min: float
    median: float
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is compared with one run of segx."""

    title: str
    segx: str
    """Name of the contender that the others are divided by."""
    others: tuple[str, ...]


def ratio(turns: Sequence[Turn], over: str, under: str, figure: Figure) -> Ratio | None:
    """Divide two contenders' figures round by round; None where they share no round.

    Args:
        turns: All runs.
        over: Name of the contender above the line.
        under: Name of the contender below it.
        figure: What is divided.
    """
    above, below = by_round(turns, over, figure), by_round(turns, under, figure)
    found = [above[number] / below[number] for number in sorted(above.keys() & below.keys())]
    if not found:
        return None
    return Ratio(min=min(found), median=median(found), rounds=len(found))


def by_round(turns: Sequence[Turn], name: str, figure: Figure) -> dict[int, float]:
    """Give a contender's figure by round, of the runs that ended well."""
    values = {
        turn.round: figure(turn) for turn in turns if turn.contender == name and not turn.failed
    }
    return {number: value for number, value in values.items() if value is not None}


def last_map(turns: Sequence[Turn], name: str) -> Path | None:
    """Path of the map of a contender's last run."""
    maps = [turn.inside.map for turn in turns if turn.contender == name and turn.inside]
    return maps[-1] if maps else None


def agreement(first: Path, second: Path) -> float:
    """Share of pixels that two maps give the same class.

    Raises:
        ValueError: If they differ in size.
    """
    with rasterio.open(first) as one, rasterio.open(second) as other:
        if one.shape != other.shape:
            raise ValueError(f"{first} has {one.shape} px, {second} {other.shape}")
        height, width = map(int, one.shape)
        equal = 0
        for top in range(0, height, ROWS):
            window = Window(0, top, width, min(ROWS, height - top))
            equal += int((one.read(1, window=window) == other.read(1, window=window)).sum())
    return equal / (height * width)
