from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from runtime.output.kinds import NODATA, OverviewRule
from runtime.output.overviews import halve, level_shapes

SIDES = st.integers(1, 9)
MAPS = st.tuples(st.integers(1, 3), SIDES, SIDES).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 3, 254, NODATA]))
)


def mode(pixels: list[int]) -> int:
    counts = Counter(pixel for pixel in pixels if pixel != NODATA)
    return min(counts, key=lambda value: (-counts[value], value), default=NODATA)


def average(pixels: list[int]) -> int:
    held = [pixel for pixel in pixels if pixel != NODATA]
    return (2 * sum(held) + len(held)) // (2 * len(held)) if held else NODATA


RULES = {"mode": mode, "average": average}


def reference(values: NDArray[np.uint8], rule: OverviewRule) -> NDArray[np.uint8]:
    bands, rows, cols = values.shape
    result = np.empty((bands, -(-rows // 2), -(-cols // 2)), dtype=np.uint8)
    for band, row, col in np.ndindex(result.shape):
        four = values[band, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
        result[band, row, col] = RULES[rule]([int(value) for value in four.ravel()])
    return result


@pytest.mark.parametrize("rule", ["mode", "average"])
@given(values=MAPS)
def test_four_pixels_become_one_by_the_rule(rule: OverviewRule, values: NDArray[np.uint8]) -> None:
    before = values.copy()
    np.testing.assert_array_equal(halve(values, rule), reference(values, rule))
    np.testing.assert_array_equal(values, before)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_overviews_halve_until_a_block_holds_the_map(height: int, width: int) -> None:
    shapes = level_shapes((height, width))
    assert shapes[0] == (height, width)
    assert max(shapes[-1]) <= 512
    for (rows, cols), half in pairwise(shapes):
        assert max(rows, cols) > 512
        assert half == ((rows + 1) // 2, (cols + 1) // 2)


def test_the_smallest_overview_is_a_512th() -> None:
    assert level_shapes((600_000, 3))[-1] == (1172, 1)
