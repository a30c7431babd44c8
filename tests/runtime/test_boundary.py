import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from runtime.boundary import BOUNDARY_PX, boundary_band

maps = arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 12)),
    elements=st.sampled_from([0, 1, 255]),
)


def by_definition(labels: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Walk from every pixel of a border to all pixels within reach."""
    height, columns = labels.shape
    band = np.zeros(labels.shape, dtype=np.bool_)
    for row, col in np.ndindex(labels.shape):
        for r, c in ((row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)):
            if not (0 <= r < height and 0 <= c < columns):
                continue
            here, there = labels[row, col], labels[r, c]
            if here != there and 255 not in (here, there):
                reach = width - 1
                band[
                    max(row - reach, 0) : row + reach + 1, max(col - reach, 0) : col + reach + 1
                ] = True
    return band


@given(labels=maps, width=st.integers(1, 11))
def test_the_band_is_what_its_definition_says(labels: NDArray[np.uint8], width: int) -> None:
    np.testing.assert_array_equal(boundary_band(labels, width=width), by_definition(labels, width))


@given(labels=maps, width=st.integers(1, 6))
def test_a_wider_band_holds_the_narrower_one(labels: NDArray[np.uint8], width: int) -> None:
    narrow, wide = (boundary_band(labels, width=w) for w in (width, width + 1))
    assert not (narrow & ~wide).any()


def test_a_straight_border_has_as_many_pixels_on_either_side() -> None:
    labels = np.zeros((5, 40), dtype=np.uint8)
    labels[:, 17:] = 4
    expected = np.zeros((5, 40), dtype=np.bool_)
    expected[:, 17 - BOUNDARY_PX : 17 + BOUNDARY_PX] = True
    np.testing.assert_array_equal(boundary_band(labels), expected)


def test_pixels_without_a_class_make_no_border() -> None:
    labels = np.full((6, 9), 3, dtype=np.uint8)
    labels[:, 4] = 255
    labels[:, 5:] = 7
    assert not boundary_band(labels).any()


def test_a_band_without_width_is_a_wrong_call() -> None:
    with pytest.raises(ValueError, match="a band of 0 px"):
        boundary_band(np.zeros((2, 2), dtype=np.uint8), width=0)
