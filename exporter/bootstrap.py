"""Say how far a difference in mIoU can be trusted, from the spread between patches.

Patches are drawn again and again with replacement, the same ones for every map (a paired
bootstrap): what makes a patch hard for all maps cancels out. Pixels of a patch stay together;
patches beside each other are taken as independent, so that the bounds are rather too narrow.

Reference: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 6 (standard
error) and 13 (percentile interval).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
SEED = 2022
CONFIDENCE = 0.9
"""Share of the draws above the lower bound, and below the upper one."""

Z = 1.2816
"""Standard errors that a normal distribution's `CONFIDENCE` lies from its middle."""

_BLOCK = 250
"""Draws at a time, so that memory does not grow with their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a difference may be off, in its own unit; NaN where nothing could be drawn."""

    lower: float
    """`CONFIDENCE` of the draws lie above."""
    upper: float
    """`CONFIDENCE` of the draws lie below."""
    standard_error: float

    def patches_for(self, difference: float, patches: int) -> float:
        """Patches after which the lower bound of a positive difference would be above zero.

        The standard error falls with the square root of their number.

        Args:
            difference: What was found, in the unit of the bounds.
            patches: Patches it was found on.

        Returns:
            Their number; infinity for a difference of zero or below.
        """
        if not difference > 0:
            return float("inf")
        return float(np.ceil(patches * (Z * self.standard_error / difference) ** 2))


def draw_mious(
    counts: Sequence[NDArray[np.int64]],
    scored: NDArray[np.bool_],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> NDArray[np.float64]:
    """Work out the mIoU of every map on patches drawn with replacement.

    The scored classes stay the same in all draws; one that a draw happens to hold no label of is
    left out of that draw, for all maps.

    Args:
        counts: Pixels of each map by patch, label and prediction, shape (patches, K, K). All maps
            are compared with the same labels.
        scored: Which classes count, shape (K,).
        draws: How often.
        seed: The same seed draws the same patches.

    Returns:
        mIoU, 0 to 1, shape (maps, draws); NaN where a draw holds no label.
    """
    sums = [_sums(value, scored) for value in counts]
    patches = counts[0].shape[0]
    rng = np.random.default_rng(seed)
    results = np.empty((len(sums), draws))
    for begin in range(0, draws, _BLOCK):
        size = min(_BLOCK, draws - begin)
        times = rng.multinomial(patches, [1.0 / patches] * patches, size=size).astype(np.float64)
        for row, (hits, union, labelled) in enumerate(sums):
            mean = _mean(times @ hits, times @ union, times @ labelled)
            results[row, begin : begin + size] = mean
    return results


def bounds(differences: NDArray[np.float64]) -> Bounds:
    """Sum up the differences that were found in all draws, shape (draws,)."""
    known = differences[np.isfinite(differences)]
    if known.size < 2:
        return Bounds(lower=float("nan"), upper=float("nan"), standard_error=float("nan"))
    lower, upper = np.quantile(known, [1.0 - CONFIDENCE, CONFIDENCE])
    return Bounds(lower=float(lower), upper=float(upper), standard_error=float(known.std(ddof=1)))


def _sums(
    counts: NDArray[np.int64], scored: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixels that are right, in the union, and labelled, by patch and scored class."""
    hits = np.diagonal(counts, axis1=1, axis2=2)
    labelled, predicted = counts.sum(axis=2), counts.sum(axis=1)
    union = labelled + predicted - hits
    found = tuple(values[:, scored].astype(np.float64) for values in (hits, union, labelled))
    return found[0], found[1], found[2]


def _mean(
    hits: NDArray[np.float64], union: NDArray[np.float64], labelled: NDArray[np.float64]
) -> NDArray[np.float64]:
    present = labelled > 0
    iou = np.divide(hits, union, out=np.zeros_like(hits), where=present)
    mean: NDArray[np.float64] = np.full(len(hits), np.nan)
    number = present.sum(axis=1)
    np.divide(iou.sum(axis=1), number, out=mean, where=number > 0)
    return mean
