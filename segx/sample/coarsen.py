"""Bring what was painted at 0.2 m to 0.25 m: five pixels become four.

    painted     |  0  |  1  |  2  |  3  |  4  |
    written     |   0   |   1   |   2   |   3   |

A written value is the mean over its pixel; a written label is that of the painted pixel in which
its middle lies, so that the middle one of five is dropped.
"""

import numpy as np
from numpy.typing import NDArray

PAINTED, WRITTEN = 5, 4
"""Pixels of the same length on the ground."""

MIDDLES = (0, 1, 3, 4)
"""Painted pixel below the middle of each written one."""


def coarsen_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average an image, shape (bands, rows, columns), both sides multiples of 5 px."""
    means = _average(_average(image.astype(np.float32), axis=1), axis=2)
    return np.rint(means).astype(np.uint8)


def coarsen_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take the labels, shape (rows, columns), below the middle of each coarser pixel."""
    keep = (np.arange(size).reshape(-1, PAINTED)[:, MIDDLES].ravel() for size in labels.shape)
    return labels[np.ix_(*keep)]


def _average(values: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """Average along one axis; every written pixel overlaps two painted ones."""
    length = values.shape[axis] // PAINTED * WRITTEN
    made = np.empty((*values.shape[:axis], length, *values.shape[axis + 1 :]), dtype=np.float32)
    steps: list[slice] = [slice(None)] * values.ndim

    def every(step: int, start: int) -> tuple[slice, ...]:
        return (*steps[:axis], slice(start, None, step), *steps[axis + 1 :])

    for place in range(WRITTEN):
        # Pixel 0 covers the painted pixels 0 to 1.25, so that 1 / 1.25 of it lies in the first.
        first = np.float32((WRITTEN - place) / PAINTED)
        made[every(WRITTEN, place)] = values[every(PAINTED, place)] * first + values[
            every(PAINTED, place + 1)
        ] * (np.float32(1) - first)
    return made
