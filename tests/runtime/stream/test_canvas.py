import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.stream.canvas import Canvas

FILL = 255


def values_of(rows: slice, cols: slice) -> dict[str, NDArray[np.uint8]]:
    row, col = np.ogrid[rows, cols]
    return {
        "classes": ((row * 7 + col) % 250).astype(np.uint8)[None],
        "two": np.stack([(row + col) % 251, (row * 3 + col * 5) % 251]).astype(np.uint8),
    }


@given(
    height=st.integers(1, 60),
    step=st.integers(1, 13),
    block=st.integers(1, 17),
    left=st.integers(0, 5),
)
def test_blocks_of_any_height_come_out_of_tiles_of_any_height(
    height: int, step: int, block: int, left: int
) -> None:
    cols = slice(left, left + 9)
    canvas = Canvas(cols, {"classes": 1, "two": 2}, fill=FILL)
    taken: list[dict[str, NDArray[np.uint8]]] = []
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        for piece in (slice(left, left + 4), slice(left + 4, left + 9)):
            canvas.put(rows, piece, values_of(rows, piece))
        while (start := block * len(taken)) < height:
            stop = min(start + block, height)
            if stop > rows.stop:
                break
            taken.append(canvas.take(slice(start, stop), cols))
            canvas.forget(stop)
    whole = values_of(slice(0, height), cols)
    for name, expected in whole.items():
        found = np.concatenate([piece[name] for piece in taken], axis=1)
        assert np.array_equal(found, expected)


def test_what_no_tile_puts_is_filled() -> None:
    canvas = Canvas(slice(10, 20), {"classes": 1}, fill=FILL)
    canvas.put(slice(4, 6), slice(12, 15), {"classes": np.ones((1, 2, 3), dtype=np.uint8)})
    canvas.forget(5)
    canvas.put(slice(7, 8), slice(10, 11), {"classes": np.zeros((1, 1, 1), dtype=np.uint8)})
    found = canvas.take(slice(5, 8), slice(10, 20))["classes"][0]
    assert found[0].tolist() == [FILL, FILL, 1, 1, 1, *[FILL] * 5]
    assert found[1].tolist() == [FILL] * 10
    assert found[2].tolist() == [0, *[FILL] * 9]


def test_rows_and_columns_may_be_named_one_by_one() -> None:
    canvas = Canvas(slice(3, 9), {"classes": 1, "two": 2}, fill=FILL)
    canvas.put(slice(2, 8), slice(3, 9), values_of(slice(2, 8), slice(3, 9)))
    rows, cols = np.array([2, 2, 5, 7]), np.array([3, 8, 8])
    found = canvas.take(rows, cols)
    for name, expected in values_of(slice(0, 9), slice(0, 9)).items():
        assert np.array_equal(found[name], expected[:, rows][:, :, cols])


def test_a_row_that_was_dropped_does_not_come_back() -> None:
    canvas = Canvas(slice(0, 2), {"classes": 1}, fill=FILL)
    one = {"classes": np.zeros((1, 2, 2), dtype=np.uint8)}
    canvas.put(slice(0, 2), slice(0, 2), one)
    canvas.forget(1)
    with pytest.raises(ValueError, match="row 0 was dropped"):
        canvas.put(slice(0, 2), slice(0, 2), one)
