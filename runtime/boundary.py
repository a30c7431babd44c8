"""Find the pixels along the borders between labels, where a coarser model errs first.

Reference: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?", BMVC,
section 3, which calls such a band a trimap.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import IGNORE_INDEX

BOUNDARY_PX = 8
"""Pixels at most this far on either side of a border count as lying along it, as for seams.

At 0.2 m they are 1.6 m, and two cells of the aerial logits, which have a quarter of the resolution:
a border that moves by one cell, or is rounded off where logits are interpolated, moves inside the
band. A wider one would hold the whole of narrow roads and hedges, and say nothing of their borders.
"""


def boundary_band(labels: NDArray[np.uint8], *, width: int = BOUNDARY_PX) -> NDArray[np.bool_]:
    """Mark the pixels that lie along a border between two classes.

    A border runs between two pixels side by side whose labels are classes and differ; 255 is no
    class and makes no border. The two pixels are at distance 1 from it, their neighbours in all
    eight directions at most at distance 2, and so on (Chebyshev distance).

    Args:
        labels: Class indices, shape (H, W); 255 is ignored.
        width: Largest distance in pixels that counts, from 1.

    Returns:
        Shape (H, W). Pixels without a class may lie in the band; they count for nothing anyway.
    """
    if width < 1:
        raise ValueError(f"a band of {width} px; expected at least 1")
    known = labels != IGNORE_INDEX
    band = np.zeros(labels.shape, dtype=np.bool_)
    for axis in (0, 1):
        first, second = _shifted(labels, axis, 1)
        both = np.logical_and(*_shifted(known, axis, 1))
        border = (first != second) & both
        for side in _shifted(band, axis, 1):
            side |= border
    # A square is a row of pixels moved along a column.
    for axis in (0, 1):
        seeds = band.copy()
        for distance in range(1, min(width, labels.shape[axis])):
            for target, source in zip(
                _shifted(band, axis, distance), _shifted(seeds, axis, distance)[::-1], strict=True
            ):
                target |= source
    return band


def _shifted(values: NDArray[Any], axis: int, distance: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Views of all pixels but the last, and of all but the first `distance`, along an axis."""
    moved = np.moveaxis(values, axis, 0)
    return np.moveaxis(moved[:-distance], 0, axis), np.moveaxis(moved[distance:], 0, axis)
