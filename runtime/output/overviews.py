"""Halve maps in size, again and again, for the overviews of a file.

A block row of 512 rows gives whole rows of every level, so overviews are made while a map is
written. Each level is made of the one before. A last odd row or column is halved by itself.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .kinds import BLOCK, NODATA, OverviewRule

Pixel = TypeVar("Pixel", np.uint8, np.uint16)


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths of a map and its overviews, each half of the one before, rounded up.

    They end where both sides fit into a block, or at 1/512.

    Args:
        shape: Height and width of the map.
    """
    shapes = [shape]
    while max(shapes[-1]) > BLOCK and 2 ** len(shapes) <= BLOCK:
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes


def halve(values: NDArray[np.uint8], rule: OverviewRule) -> NDArray[np.uint8]:
    """Halve a map in size, rounded up.

    Pixels of nodata do not count; four of them give nodata.

        mode      the most frequent value; of equally frequent ones the smallest
        average   the mean, a half rounded up

    Args:
        values: Shape (..., rows, cols), from an even row and column of the map on.
        rule: How four pixels become one.
    """
    rows, cols = values.shape[-2:]
    if rows % 2 or cols % 2:
        spare = [(0, 0)] * (values.ndim - 2) + [(0, rows % 2), (0, cols % 2)]
        values = np.pad(values, spare, constant_values=NODATA)
    return _mode(values) if rule == "mode" else _average(values)


def _mode(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    upper, lower = values[..., ::2, :], values[..., 1::2, :]
    low, high = np.minimum(upper, lower), np.maximum(upper, lower)
    left_low, right_low = _columns(low)
    left_high, right_high = _columns(high)
    first, last = np.minimum(left_low, right_low), np.maximum(left_high, right_high)
    middle, other = np.maximum(left_low, right_low), np.minimum(left_high, right_high)
    second, third = np.minimum(middle, other), np.maximum(middle, other)
    # Of four sorted values the first wins unless a pair stands behind it; nodata sorts last.
    pair = ((second == third) | (third == last)) & (first != second) & (third != NODATA)
    result: NDArray[np.uint8] = np.where(pair, third, first)
    return result


def _average(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    upper, lower = values[..., ::2, :], values[..., 1::2, :]
    if values.max() != NODATA:
        left, right = _columns(np.add(upper, lower, dtype=np.uint16))
        quarter: NDArray[np.uint8] = ((left + right + 2) >> 2).astype(np.uint8)
        return quarter
    parts = [part for half in (upper, lower) for part in _columns(half)]
    total, count = np.zeros((2, *parts[0].shape), dtype=np.uint16)
    for part in parts:
        counts = part != NODATA
        np.add(total, part, out=total, where=counts)
        count += counts
    divisor = np.maximum(count, 1)
    mean: NDArray[np.uint8] = ((total + divisor // 2) // divisor).astype(np.uint8)
    mean[count == 0] = NODATA
    return mean


def _columns(values: NDArray[Pixel]) -> tuple[NDArray[Pixel], NDArray[Pixel]]:
    return values[..., ::2], values[..., 1::2]
