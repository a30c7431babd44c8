from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.datasets.windows import corners, read_filled, starts
from runtime.raster import RasterReader

Write = Callable[..., Path]


@given(st.integers(1, 400), st.integers(1, 120))
def test_tiles_cover_a_length_with_as_few_as_can_be_and_end_with_it(length: int, side: int) -> None:
    found = starts(length, side)
    covered = {pixel for start in found for pixel in range(start, start + side)}
    assert set(range(length)) <= covered
    assert len(found) == max(1, -(-length // side))
    assert list(found) == sorted(set(found))
    if length >= side:
        assert found[-1] + side == length
        assert all(start % side == 0 for start in found[:-1])


def test_tiles_go_row_by_row() -> None:
    assert list(corners((5, 9), 4)) == [(r, c) for r in (0, 1) for c in (0, 4, 5)]


def test_what_lies_beyond_an_image_is_zero_and_not_valid(
    write_aerial: Write, tmp_path: Path
) -> None:
    pixels = np.arange(1, 31, dtype=np.uint8).reshape(2, 3, 5)
    mask = np.ones((3, 5), dtype=np.bool_)
    mask[1, 2] = False
    path = write_aerial(tmp_path / "a.tif", pixels, bands=(), mask=mask)
    with RasterReader(path) as reader:
        found, valid = read_filled(reader, 0, 1, 6, bands=(1, 0))
    np.testing.assert_array_equal(found[:, :3, :4], pixels[::-1, :, 1:])
    np.testing.assert_array_equal(valid[:3, :4], mask[:, 1:])
    assert not found[:, 3:].any()
    assert not found[:, :, 4:].any()
    assert not valid[3:].any()
    assert not valid[:, 4:].any()
