"""Histograms of activations in fixed memory, and the range that loses least information.

They stand in for those of ONNX Runtime, whose bins are as wide as the first sample makes them: one
blank tile there, and the others need more bins than there is memory.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 2048
"""Bins of a histogram, over both signs; there are never more."""

LEVELS = 128
"""Magnitudes that INT8 tells apart."""

FLOOR = 1e-6
"""Probability of a bin that nothing falls into: the logarithm needs one."""

Histogram = tuple[NDArray[Any], NDArray[Any], Any, Any, float]
"""Counts, edges of the bins, lowest value, highest value, magnitude where the bins end."""


def merge_histogram(
    old: Histogram, values: NDArray[Any], low: Any, high: Any, threshold: float
) -> Histogram:
    """Add values to a histogram around 0; wider ones double the width of its bins.

    Args:
        old: What was counted so far.
        values: What to add.
        low: Lowest of the values.
        high: Highest of the values.
        threshold: Largest magnitude of the values.
    """
    counts, limit = np.asarray(old[0]), float(old[4])
    bins = len(counts)
    if limit == 0.0:
        # Only zeros so far; they lie in the middle, however wide the bins are.
        limit = float(threshold)
    while limit < threshold:
        side = np.zeros(bins // 4, dtype=counts.dtype)
        counts = np.concatenate([side, counts.reshape(-1, 2).sum(axis=1), side])
        limit *= 2
    added, edges = np.histogram(values, bins, range=(-limit, limit))
    edges = edges.astype(np.asarray(old[1]).dtype)
    return counts + added, edges, min(old[2], low), max(old[3], high), limit


def entropy_threshold(counts: NDArray[Any], limit: float) -> float:
    """Magnitude to cut activations off at: the one where INT8 loses least information.

    The divergence of Kullback and Leibler between the distribution with its tail put into the last
    bin, and the same in 128 levels (Migacz, "8-bit inference with TensorRT", GTC 2017). The bin at
    0 is counted as the one beside it: INT8 holds 0 exactly, and after a ReLU it outweighs the rest.

    Args:
        counts: Values by bin from -limit to limit.
        limit: Magnitude where the bins end.

    Returns:
        A magnitude of at most `limit`.
    """
    half = len(counts) // 2
    sizes = (counts[half:] + counts[:half][::-1]).astype(np.float64)
    sizes[0] = min(sizes[0], sizes[1])
    if not sizes.any():
        return limit
    used = int(np.flatnonzero(sizes)[-1]) + 1
    best, cut = np.inf, used
    for end in range(min(LEVELS, used), used + 1):
        divergence = _divergence(sizes, end)
        # Where two lose the same, the wider one: it cuts nothing off.
        if divergence <= best:
            best, cut = divergence, end
    return limit * cut / half


def _divergence(sizes: NDArray[np.float64], end: int) -> float:
    kept = sizes[:end]
    expected = kept.copy()
    expected[-1] += sizes[end:].sum()
    level = np.arange(end) * LEVELS // max(end, LEVELS)
    filled = kept > 0
    total = np.bincount(level, kept)
    share = total / np.maximum(np.bincount(level, filled), 1)
    found = np.where(filled, share[level], 0.0)
    p = np.maximum(expected / expected.sum(), FLOOR)
    q = np.maximum(found / found.sum(), FLOOR)
    return float(np.sum(p * np.log(p / q)))
