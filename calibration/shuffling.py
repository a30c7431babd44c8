"""Tell pairs of images from shuffled ones by a permutation test.

The statistic is the rank correlation of what both images show of the same cells, without the
differences between areas: pairs that are shuffled within their area must not pass because areas
differ. It is compared with the same of pairs whose satellite side is permuted within its area.

Reference: Phipson and Smyth 2010, Permutation p-values should never be zero, arXiv 1603.05766: p is
(1 + permutations that do as well) / (1 + permutations).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 999

FEWEST = 8
"""Pairs below which nothing can be said, of a set or of an area."""

MANY = 24
"""Pairs from which `P_MANY` is asked for rather than `P_FEW`."""
P_MANY, P_FEW = 0.01, 0.05

SMALL_AREA = 4
"""Areas of fewer pairs are taken as one."""

LARGE_AREA = 12
"""Pairs from which `P_LARGE_AREA` is asked for rather than `P_AREA`."""
P_LARGE_AREA, P_AREA = 0.2, 0.5
"""An area is suspect above this p-value ..."""
CLEAR_AREA = 2.0
"""... if, at the correlation of the others, it would lie this many standard deviations above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaPairs:
    """How well the pairs of one area fit."""

    samples: int
    correlation: float
    others: float
    """Correlation of the pairs of all other areas."""
    spread: float
    """Standard deviation of the correlation of permuted pairs."""
    p_value: float

    @property
    def suspect(self) -> bool:
        """Whether these pairs look shuffled while those of the other areas do not."""
        limit = P_LARGE_AREA if self.samples >= LARGE_AREA else P_AREA
        return self.p_value > limit and self.others > CLEAR_AREA * self.spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well a set of pairs fits."""

    samples: int
    correlation: float
    """Mean of the rank correlations of all signatures, within areas, -1 to 1."""
    shuffled: float
    """Largest of the same over the permuted pairs."""
    p_value: float
    areas: dict[str, AreaPairs]
    """By area, of those with enough pairs."""

    @property
    def limit(self) -> float:
        """Largest p-value of pairs that are taken."""
        return P_MANY if self.samples >= MANY else P_FEW


def fit(
    aerial: NDArray[np.float32], satellite: NDArray[np.float32], areas: Sequence[str], *, seed: int
) -> Fit:
    """Compare pairs with permuted ones.

    Args:
        aerial: What the aerial images show, shape (samples, signatures, cells).
        satellite: What the satellite images show of the same cells.
        areas: Area of each sample.
        seed: Of the permutations.
    """
    rng = np.random.default_rng(seed)
    sizes = Counter(areas)
    names = np.array([name if sizes[name] >= SMALL_AREA else "" for name in areas])
    groups = {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
    sides = _centred_ranks(aerial, groups), _centred_ranks(satellite, groups)
    correlation, permuted = _permuted(*sides, list(groups.values()), rng)
    return Fit(
        samples=len(names),
        correlation=correlation,
        shuffled=float(permuted.max()),
        p_value=_p_value(correlation, permuted),
        areas={
            name: _area(*sides, members, rng)
            for name, members in groups.items()
            if len(groups) > 1 and name and len(members) >= FEWEST
        },
    )


def _centred_ranks(
    values: NDArray[np.float32], groups: dict[str, NDArray[np.intp]]
) -> NDArray[np.float64]:
    """Rank each signature over all cells, equal values alike, and take off each group's mean."""
    ranks = np.empty(values.shape, dtype=np.float64)
    for signature in range(values.shape[1]):
        column = values[:, signature]
        _, place, counts = np.unique(column.ravel(), return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - (counts - 1) / 2
        ranks[:, signature] = middle[place.ravel()].reshape(column.shape)
    for members in groups.values():
        ranks[members] -= ranks[members].mean(axis=(0, 2), keepdims=True)
    return ranks


def _area(
    aerial: NDArray[np.float64],
    satellite: NDArray[np.float64],
    members: NDArray[np.intp],
    rng: np.random.Generator,
) -> AreaPairs:
    others = np.setdiff1d(np.arange(len(aerial)), members)
    found, permuted = _permuted(aerial[members], satellite[members], [np.arange(len(members))], rng)
    return AreaPairs(
        samples=len(members),
        correlation=found,
        others=_correlation(_unit(aerial[others]), _unit(satellite[others])),
        spread=float(permuted.std()),
        p_value=_p_value(found, permuted),
    )


def _permuted(
    aerial: NDArray[np.float64],
    satellite: NDArray[np.float64],
    groups: Sequence[NDArray[np.intp]],
    rng: np.random.Generator,
) -> tuple[float, NDArray[np.float64]]:
    """Correlate as paired, and with the satellite side permuted within each group."""
    air, orbit = _unit(aerial), _unit(satellite)
    permuted = np.empty(PERMUTATIONS)
    order = np.arange(len(air))
    for index in range(PERMUTATIONS):
        for members in groups:
            order[members] = rng.permutation(members)
        permuted[index] = _correlation(air, orbit[order])
    return _correlation(air, orbit), permuted


def _unit(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale each signature to a sum of squares of 1; one that is the same everywhere stays 0."""
    norms = np.sqrt(np.square(centred).sum(axis=(0, 2), keepdims=True))
    scaled: NDArray[np.float64] = centred / np.where(norms > 0, norms, 1.0)
    return scaled


def _correlation(aerial: NDArray[np.float64], satellite: NDArray[np.float64]) -> float:
    """Mean over the signatures of the correlation of two sides as `_unit` makes them."""
    return float(np.vdot(aerial, satellite) / aerial.shape[1])


def _p_value(found: float, permuted: NDArray[np.float64]) -> float:
    # A hair of tolerance: sums of the same numbers in another order are the same here.
    return (1 + int(np.count_nonzero(permuted >= found - 1e-12))) / (1 + len(permuted))
