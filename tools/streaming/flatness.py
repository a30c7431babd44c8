"""Tell whether what a process holds stays flat, or grows with what it has done.

Freed memory, closed files and ended threads bring a figure back to its lowest value; what leaks
lifts that one. So the second half of a run is cut into windows, the lowest value is taken of each,
and the median of the slopes between all pairs of them (Theil-Sen), which a few odd windows do not
move, is taken over the length of the whole run:

    rss   |    /\\  /\\/\\      /\\    /\\/\\
          |   /  \\/    \\/\\__/  \\__/    \\__     ____ lows of windows
          |__/             |      |
          0              half                end
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal, get_args

from .watching import Sample

WINDOWS = 12
"""Of the second half of a run."""

Figure = Literal["rss_mib", "files", "threads"]
FIGURES: tuple[Figure, ...] = get_args(Figure)

LEAST = {"rss_mib": 16.0, "files": 1.0, "threads": 1.0}
"""A rise below this over the whole run is flat: MiB, and numbers."""
SHARE = {"rss_mib": 0.05, "files": 0.0, "threads": 0.0}
"""As is one below this share of the lowest value of the second half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one figure went."""

    figure: Figure
    first: tuple[float, float]
    """Lowest and highest value of the first half."""
    second: tuple[float, float]
    """Lowest and highest value of the second half."""
    rise: float
    """Of the lows, over the length of the whole run, at the rate of the second half."""
    bound: float
    """What a rise is to stay below."""

    @property
    def is_flat(self) -> bool:
        """Whether the rise stays below its bound."""
        return self.rise < self.bound


def course(samples: Sequence[Sample], figure: Figure) -> Course:
    """Judge how a figure went.

    Args:
        samples: In order of time.
        figure: Which one.

    Raises:
        ValueError: If there are too few for every window to have some.
    """
    values = [(sample.at_s, float(getattr(sample, figure))) for sample in samples]
    end = values[-1][0] if values else 0.0
    first = [value for at, value in values if at <= end / 2]
    lows = [low for low in map(_low, _windows(values, end)) if low is not None]
    if not first or len(lows) < WINDOWS:
        raise ValueError(f"{len(values)} samples are too few; expected a longer run")
    second = [value for at, value in values if at > end / 2]
    slopes = [
        (late - early) / (at - before) for (before, early), (at, late) in combinations(lows, 2)
    ]
    return Course(
        figure=figure,
        first=(min(first), max(first)),
        second=(min(second), max(second)),
        rise=median(slopes) * end,
        bound=max(LEAST[figure], SHARE[figure] * min(second)),
    )


def _windows(values: Sequence[tuple[float, float]], end: float) -> list[list[tuple[float, float]]]:
    """Share the second half out by time."""
    windows: list[list[tuple[float, float]]] = [[] for _ in range(WINDOWS)]
    for at, value in values:
        if at > end / 2:
            index = int((2 * at / end - 1) * WINDOWS)
            windows[min(index, WINDOWS - 1)].append((at, value))
    return windows


def _low(window: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """When a window was lowest, and how low; None if it is empty."""
    return min(window, key=lambda item: (item[1], item[0]), default=None)
