"""Windows of a series: where they are cut, what is valid, how numbers become reflectance."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import SatelliteError
from runtime.satellite import (
    BANDS,
    DatePolicy,
    SatelliteSpec,
    SatelliteStack,
    cut,
    monthly_means,
    window_cells,
)

FIRST = datetime.date(2021, 1, 20)


def stack_of(
    dn: NDArray[Any],
    cover: NDArray[Any] | None = None,
    *,
    offset: int = 0,
) -> SatelliteStack:
    count, _, height, width = dn.shape
    return SatelliteStack(
        dn=dn,
        cover=np.zeros((count, 2, height, width), dtype=np.uint8) if cover is None else cover,
        dates=tuple(FIRST + datetime.timedelta(days=31 * i) for i in range(count)),
        offsets=(offset,) * count,
    )


def random_stack(shape: tuple[int, int, int, int] = (4, 10, 60, 50)) -> SatelliteStack:
    generator = np.random.default_rng(5)
    dn = generator.integers(1, 10_000, shape, dtype=np.uint16)
    cover = generator.integers(0, 101, (shape[0], 2, *shape[2:]), dtype=np.uint8)
    return stack_of(dn, cover)


def at(row: float, col: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One cell at a position counted in pixel centres."""
    return np.full((1, 1), row), np.full((1, 1), col)


def test_a_whole_centroid_gives_exactly_the_pixels_from_20_before_to_20_after() -> None:
    stack = random_stack()
    window = cut(stack, *window_cells(33, 24, 40))
    box = np.s_[:, :, 33 - 20 : 33 + 20, 24 - 20 : 24 + 20]
    assert np.array_equal(window.reflectance, stack.dn[box].astype(np.float32) / np.float32(1e4))
    assert np.array_equal(window.cover, stack.cover[box].max(axis=1))
    assert window.valid.all()
    assert window.inside.all()


@given(
    rows=st.lists(st.floats(0, 8), min_size=1, max_size=6),
    cols=st.lists(st.floats(0, 6), min_size=1, max_size=6),
    offset=st.sampled_from([0, 1000]),
)
def test_between_pixel_centres_a_linear_ramp_is_reproduced(
    rows: list[float], cols: list[float], offset: int
) -> None:
    band, row, col = np.ogrid[:10, :9, :7]
    dn = (1500 + 100 * band + 37 * row + 11 * col).astype(np.uint16)
    at_rows, at_cols = np.meshgrid(rows, cols, indexing="ij")
    found = cut(stack_of(dn[None], offset=offset), at_rows, at_cols).reflectance[0]
    expected = (1500 + 100 * band + 37 * at_rows + 11 * at_cols - offset) / 1e4
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@given(row=st.integers(-3, 12), col=st.integers(-3, 10), size=st.sampled_from([2, 6, 24]))
def test_beyond_the_border_its_pixels_are_repeated(row: int, col: int, size: int) -> None:
    stack = random_stack((2, 10, 9, 7))
    rows, cols = window_cells(row, col, size)
    if not ((rows >= 0) & (rows < 9)).any() or not ((cols >= 0) & (cols < 7)).any():
        with pytest.raises(SatelliteError, match="the series has 9 x 7 px"):
            cut(stack, rows, cols)
        return
    pad = 40
    padded = np.pad(stack.dn, [(0, 0), (0, 0), (pad, pad), (pad, pad)], mode="edge")
    top, left = row - size // 2 + pad, col - size // 2 + pad
    expected = padded[:, :, top : top + size, left : left + size].astype(np.float32)
    window = cut(stack, rows, cols)
    assert np.array_equal(window.reflectance, expected / np.float32(1e4))
    within = (rows >= 0) & (rows <= 8) & (cols >= 0) & (cols <= 6)
    assert np.array_equal(window.inside, within)


def test_a_window_off_the_series_is_refused_with_both_sizes() -> None:
    with pytest.raises(
        SatelliteError, match=r"needs Sentinel-2 rows 480 to 519 .* series has 60 x 50 px; give"
    ):
        cut(random_stack(), *window_cells(500, 20, 40))
    with pytest.raises(SatelliteError, match="needs Sentinel-2"):
        cut(random_stack(), *window_cells(float("nan"), 20, 40))


def test_from_baseline_0400_on_the_offset_is_taken_off() -> None:
    before = np.full((1, 10, 3, 3), 500, dtype=np.uint16)
    after = np.full((1, 10, 3, 3), 1500, dtype=np.uint16)
    stack = SatelliteStack(
        dn=np.concatenate([before, after]),
        cover=np.zeros((2, 2, 3, 3), dtype=np.uint8),
        dates=(FIRST, FIRST),
        offsets=(0, 1000),
    )
    assert (cut(stack, *at(1, 1)).reflectance == np.float32(0.05)).all()


def test_a_cell_that_draws_from_a_nodata_pixel_is_not_valid_and_zero() -> None:
    dn = np.full((1, 10, 3, 3), 3000, dtype=np.uint16)
    dn[:, :, :, 2] = 0
    window = cut(stack_of(dn, offset=1000), *np.meshgrid([1.0], [0.0, 1.0, 1.01, 1.99, 2.0]))
    valid = [True, True, False, False, False]
    assert window.valid[0, :, 0].tolist() == valid
    assert np.array_equal(window.reflectance[0, :, :, 0], np.tile(valid, (10, 1)) * np.float32(0.2))


def test_a_nodata_pixel_whose_weight_rounds_to_nothing_hides_nothing() -> None:
    dn = np.full((1, 10, 3, 3), 2000, dtype=np.uint16)
    dn[:, :, :, 1] = 0
    window = cut(stack_of(dn), *at(1, 2 - 1e-9))
    assert window.valid.all()
    assert (window.reflectance == np.float32(0.2)).all()


def test_a_pixel_dark_in_some_bands_only_is_data() -> None:
    dn = np.zeros((1, 10, 3, 3), dtype=np.uint16)
    dn[:, 6] = 1
    assert cut(stack_of(dn), *at(1, 1)).valid.all()


def test_not_a_number_in_a_float_series_is_nodata() -> None:
    dn = np.full((1, 10, 3, 3), 2000, dtype=np.float32)
    dn[:, :, 0] = np.nan
    window = cut(stack_of(dn), *np.meshgrid([0.0, 1.0], [0.0], indexing="ij"))
    assert window.valid.ravel().tolist() == [False, True]
    assert np.isfinite(window.reflectance).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("mask_dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_types_of_the_files_change_nothing(dtype: type, mask_dtype: type) -> None:
    stack = random_stack()
    other = SatelliteStack(
        dn=stack.dn.astype(dtype),
        cover=stack.cover.astype(mask_dtype),
        dates=stack.dates,
        offsets=stack.offsets,
    )
    cells = window_cells(30.25, 20.5, 10)
    expected = monthly_means(cut(stack, *cells), DatePolicy())
    found = monthly_means(cut(other, *cells), DatePolicy())
    np.testing.assert_allclose(found.series, expected.series, rtol=0, atol=1e-6)
    assert np.array_equal(found.date_mask, expected.date_mask)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_never_changed_and_may_be_read_only(order: Any) -> None:
    stack = random_stack()
    dn, cover = np.array(stack.dn, order=order), np.array(stack.cover, order=order)
    dn.setflags(write=False)
    cover.setflags(write=False)
    frozen = SatelliteStack(dn=dn, cover=cover, dates=stack.dates, offsets=(1000,) * 4)
    cells = window_cells(30.3, 20.6, 40)
    window = cut(frozen, *cells)
    for array in (window.reflectance, window.cover, window.valid, window.inside):
        array.setflags(write=False)
    monthly_means(window, DatePolicy())
    assert np.array_equal(dn, stack.dn)
    assert np.array_equal(cover, stack.cover)
    assert np.array_equal(cells, window_cells(30.3, 20.6, 40))


def test_files_mapped_into_memory_give_the_same_and_stay_the_same(tmp_path: Path) -> None:
    stack = random_stack()
    np.save(tmp_path / "dn.npy", stack.dn)
    np.save(tmp_path / "cover.npy", stack.cover)
    before = (tmp_path / "dn.npy").read_bytes(), (tmp_path / "cover.npy").read_bytes()
    mapped = SatelliteStack(
        dn=np.load(tmp_path / "dn.npy", mmap_mode="r"),
        cover=np.load(tmp_path / "cover.npy", mmap_mode="r"),
        dates=stack.dates,
        offsets=stack.offsets,
    )
    cells = window_cells(10.5, 40, 40)
    spec = SatelliteSpec()
    assert np.array_equal(spec.prepare(mapped, *cells).series, spec.prepare(stack, *cells).series)
    assert before == ((tmp_path / "dn.npy").read_bytes(), (tmp_path / "cover.npy").read_bytes())


def test_bands_come_in_the_order_that_was_asked_for() -> None:
    dn = np.broadcast_to(np.arange(1000, 11_000, 1000)[None, :, None, None], (1, 10, 50, 50))
    stack = stack_of(dn.astype(np.uint16))
    cells = window_cells(25, 25, 40)
    every = SatelliteSpec().prepare(stack, *cells).series[0, :, 0, 0]
    assert BANDS == ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    np.testing.assert_allclose(every, np.arange(1, 11) / 10, rtol=1e-6)
    chosen = SatelliteSpec(bands=("B04", "B03", "B02", "B8A")).prepare(stack, *cells).series
    assert chosen.shape == (12, 4, 40, 40)
    np.testing.assert_allclose(chosen[0, :, 0, 0], [0.3, 0.2, 0.1, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": ("B01",)}, r"satellite bands \['B01'\]; expected some of"),
        ({"bands": ()}, "expected some of"),
        ({"bands": ("B02", "B02")}, "each once"),
        ({"window": 0}, "window of 0 cells"),
        ({"cell_m": -10.0}, "cells of -10.0 m"),
        ({"cell_m": float("nan")}, "cells of nan m"),
    ],
)
def test_a_window_that_cannot_be_cut_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SatelliteSpec(**options)


@pytest.mark.parametrize(
    ("dn", "cover", "dates", "message"),
    [
        ((3, 10, 5, 4), (2, 2, 5, 4), 2, r"series has shape \(3, 10, 5, 4\) for 2 dates"),
        ((10, 5, 4), (10, 2, 5, 4), 10, r"series has shape \(10, 5, 4\)"),
        ((2, 10, 5, 4), (2, 2, 4, 5), 2, r"masks have shape \(2, 2, 4, 5\); expected \(2, 2, 5, 4"),
        ((2, 10, 5, 4), (2, 5, 4), 2, "masks have shape"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    dn: tuple[int, ...], cover: tuple[int, ...], dates: int, message: str
) -> None:
    with pytest.raises(SatelliteError, match=message):
        SatelliteStack(
            dn=np.ones(dn, dtype=np.uint16),
            cover=np.zeros(cover, dtype=np.uint8),
            dates=(FIRST,) * dates,
            offsets=(0,) * dates,
        )


def test_arrays_of_text_are_refused() -> None:
    with pytest.raises(SatelliteError, match="the series are of type <U1; expected numbers"):
        stack_of(np.full((1, 10, 3, 3), "a"))
