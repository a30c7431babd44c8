"""The fast arithmetic of windows gives what the plain one gives, to the last bit."""

import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import SatelliteError
from runtime.satellite import (
    MONTHS,
    REFLECTANCE_SCALE,
    DatePolicy,
    SatelliteSpec,
    SatelliteStack,
    Window,
    choose_dates,
    cut,
    monthly_means,
)

TYPES = (np.uint16, np.int16, np.uint8, np.int32, np.float16, np.float32, np.float64)


def neighbours(position: NDArray[np.float64], size: int) -> tuple[Any, Any, Any]:
    clipped = np.clip(position, 0.0, size - 1.0)
    before = np.floor(clipped).astype(np.intp)
    weight = (clipped - before).astype(np.float32)
    return before, np.minimum(before + (weight > 0), size - 1), weight


def plain_cut(stack: SatelliteStack, rows: NDArray[Any], cols: NDArray[Any]) -> Window:
    """Date by date on the whole stack, a corner at a time."""
    height, width = stack.dn.shape[2:]
    top, bottom, down = neighbours(rows, height)
    left, right, across = neighbours(cols, width)
    dn = stack.dn if stack.dn.dtype.kind != "f" else np.where(np.isfinite(stack.dn), stack.dn, 0)
    cover = stack.cover.max(axis=1).astype(np.float32)
    filled = np.not_equal(dn, 0).any(axis=1)
    values = np.zeros((*dn.shape[:2], *rows.shape), dtype=np.float32)
    covered = np.zeros((dn.shape[0], *rows.shape), dtype=np.float32)
    valid = np.ones((dn.shape[0], *rows.shape), dtype=np.bool_)
    for r, c, weight in (
        (top, left, (1 - down) * (1 - across)),
        (top, right, (1 - down) * across),
        (bottom, left, down * (1 - across)),
        (bottom, right, down * across),
    ):
        if weight.any():
            values += dn[:, :, r, c] * weight
            covered += cover[:, r, c] * weight
            valid &= filled[:, r, c] | (weight == 0)
    offsets = np.array(stack.offsets, dtype=np.float32)[:, None, None, None]
    reflectance = (values - offsets) / np.float32(REFLECTANCE_SCALE)
    reflectance *= valid[:, None]
    inside = (rows > -0.5) & (rows < height - 0.5) & (cols > -0.5) & (cols < width - 0.5)
    return Window(
        reflectance=reflectance, valid=valid, cover=covered, inside=inside, dates=stack.dates
    )


def plain_means(window: Window, order: list[int]) -> NDArray[np.float32]:
    """Sums in double precision over these dates, in their order."""
    shape = window.reflectance.shape[1:]
    total, count = np.zeros((MONTHS, *shape)), np.zeros((MONTHS, 1, *shape[1:]))
    for index in order:
        total[window.dates[index].month - 1] += window.reflectance[index]
        count[window.dates[index].month - 1, 0] += window.valid[index]
    return (total / np.maximum(count, 1.0)).astype(np.float32)


def random_stack(seed: int) -> SatelliteStack:
    """Dates with holes and clouds of a type that depends on the seed; no day comes twice."""
    rng = np.random.default_rng(seed)
    kind = TYPES[seed % len(TYPES)]
    dates, height, width = rng.integers(1, 9), rng.integers(2, 50), rng.integers(2, 50)
    most = 1 if kind is np.uint8 else 30
    dn = (rng.integers(0, 250, (dates, 10, height, width)) * most).astype(kind)
    dn[rng.integers(0, dates), :, : height // 3, width // 2 :] = 0
    cover = rng.integers(0, 101, (dates, 2, height, width)).astype((np.uint8, np.float32)[seed % 2])
    if seed % 2:
        dn[0, :, 0, 0] = np.nan if kind in TYPES[4:] else 0
        cover[0, 0, 1, 1] = np.nan
    days = rng.choice(300, dates, replace=False)
    return SatelliteStack(
        dn=dn,
        cover=cover,
        dates=tuple(datetime.date(2021, 1, 1) + datetime.timedelta(days=int(d)) for d in days),
        offsets=tuple(int(offset) for offset in rng.choice([0, 1000], dates)),
    )


def turned(seed: int, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cells of a window that lies askew, here and there beyond the series."""
    rng = np.random.default_rng(seed)
    size, angle = rng.integers(1, 45), rng.choice([0.0, 0.03, 1.0])
    i, j = np.meshgrid(np.arange(size) - size / 2, np.arange(size) - size / 2, indexing="ij")
    row, col = rng.uniform(-2, shape[0] + 2), rng.uniform(-2, shape[1] + 2)
    if seed % 3 == 0:
        row, col = round(row), round(col)
    rows = row + i * np.cos(angle) - j * np.sin(angle)
    return rows, col + i * np.sin(angle) + j * np.cos(angle)


def same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether type, shape and every bit are equal, the sign of zero included."""
    return (
        found.dtype == expected.dtype
        and found.shape == expected.shape
        and found.tobytes() == expected.tobytes()
    )


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@settings(max_examples=150)
@given(seed=st.integers(0, 10**6))
def test_windows_and_means_are_those_of_the_plain_arithmetic_bit_by_bit(seed: int) -> None:
    stack = random_stack(seed)
    rows, cols = turned(seed, stack.shape)
    expected = plain_cut(stack, rows, cols)
    if not expected.inside.any():
        with pytest.raises(SatelliteError, match="give a series that covers"):
            cut(stack, rows, cols)
        return
    window = cut(stack, rows, cols)
    for name in ("reflectance", "valid", "cover", "inside"):
        assert same(getattr(window, name), getattr(expected, name)), name
    assert window.dates == stack.dates
    if not expected.valid[:, expected.inside].any():
        return
    policy = DatePolicy()
    chosen, clear = choose_dates(window, policy)
    order = sorted(map(int, chosen), key=lambda index: stack.dates[index])
    for made in (monthly_means(window, policy), SatelliteSpec().prepare(stack, rows, cols)):
        assert same(made.series, plain_means(expected, order))
        assert made.dates_used == tuple(stack.dates[index] for index in order)
        assert made.clear == clear
        months = {stack.dates[index].month - 1 for index in order}
        assert set(np.flatnonzero(made.date_mask)) == months


def test_dates_that_are_of_no_use_are_left_out_of_a_window_only_where_others_are_clear() -> None:
    rng = np.random.default_rng(1)
    dn = rng.integers(1, 9000, (4, 10, 20, 20), dtype=np.uint16)
    cover = np.zeros((4, 2, 20, 20), dtype=np.uint8)
    cover[1], cover[3] = 80, 90
    dates = tuple(datetime.date(2021, month, 3) for month in (2, 3, 4, 5))
    rows, cols = np.meshgrid(np.arange(4.0, 12.0), np.arange(4.0, 12.0), indexing="ij")
    some = SatelliteStack(dn=dn, cover=cover, dates=dates, offsets=(0,) * 4)
    none = SatelliteStack(dn=dn, cover=cover | 64, dates=dates, offsets=(0,) * 4)
    assert cut(some, rows, cols, policy=DatePolicy()).dates == (dates[0], dates[2])
    assert cut(none, rows, cols, policy=DatePolicy()).dates == dates
    assert SatelliteSpec().prepare(some, rows, cols).clear
    covered = SatelliteSpec().prepare(none, rows, cols)
    assert not covered.clear
    assert covered.dates_used == dates[:3]
