"""Which of many rectangles touch another; of tens of thousands in a moment."""

import time
from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.aerial.extents import Extents

Place = tuple[int, int, int, int]
"""Row, column, height, width."""
places = st.lists(
    st.tuples(*[st.integers(-30, 30)] * 2, *[st.integers(1, 25)] * 2), min_size=0, max_size=20
)
place = st.tuples(*[st.integers(-40, 40)] * 2, *[st.integers(1, 30)] * 2)
COUNTRY = 225
"""Sheets along each side of a country of 50 000."""
MOST_S = 20.0
"""A second on a slow core; looking at all sheets for each takes minutes."""


def slices(given: Place) -> tuple[slice, slice]:
    row, col, height, width = given
    return slice(row, row + height), slice(col, col + width)


@given(given=places, window=place)
def test_those_that_share_a_pixel_are_found_in_rising_order(
    given: list[Place], window: Place
) -> None:
    rows, cols = slices(window)
    expected = [
        index
        for index, (down, across) in enumerate(map(slices, given))
        if down.start < rows.stop
        and rows.start < down.stop
        and across.start < cols.stop
        and cols.start < across.stop
    ]
    assert Extents.of([slices(item) for item in given]).overlapping(rows, cols).tolist() == expected


@given(given=places, reach=st.integers(0, 5))
def test_groups_are_complete_in_rising_order_and_by_their_first(
    given: list[Place], reach: int
) -> None:
    groups = [group.tolist() for group in Extents.of(list(map(slices, given))).components(reach)]
    assert sorted(chain.from_iterable(groups)) == list(range(len(given)))
    assert groups == sorted(groups)
    assert all(group == sorted(group) for group in groups)
    group_of = {index: number for number, group in enumerate(groups) for index in group}
    for i, one in enumerate(given):
        for j, other in enumerate(given):
            near = all(
                one[axis] <= other[axis] + other[axis + 2] + reach
                and other[axis] <= one[axis] + one[axis + 2] + reach
                for axis in (0, 1)
            )
            assert not near or group_of[i] == group_of[j]


def test_a_country_of_sheets_is_one_group_in_seconds() -> None:
    sheets = [
        (slice(row * 5000, row * 5000 + 5000), slice(col * 5000, col * 5000 + 5000))
        for row in range(COUNTRY)
        for col in range(COUNTRY)
    ]
    begin = time.process_time()
    extents = Extents.of(sheets)
    (group,) = extents.components(32)
    np.testing.assert_array_equal(group, np.arange(COUNTRY**2))
    for row in range(0, COUNTRY * 5000, 1000):
        assert len(extents.overlapping(slice(row, row + 1), slice(0, COUNTRY * 5000))) == COUNTRY
    assert time.process_time() - begin < MOST_S
