"""Dates of a series: which are used, and how they become twelve months."""

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import SatelliteError
from runtime.satellite import (
    DatePolicy,
    SatelliteInput,
    SatelliteStack,
    Window,
    covered_share,
    cut,
    monthly_means,
    window_cells,
)

MARCH, ALSO_MARCH, JUNE = (
    datetime.date(2021, 3, 2),
    datetime.date(2020, 3, 28),
    datetime.date(2021, 6, 30),
)
MONTH_DAYS = [-120, -89, -61, -30, 0, 31, 61, 92, 123, 153, 184, 214]
SNOW, CLOUD = 0, 1


def series(
    dates: Sequence[datetime.date], shape: tuple[int, int] = (4, 5), level: int = 1000
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Digital numbers `level` x (place of the date + 1) everywhere, without a cloud."""
    places = np.arange(1, len(dates) + 1, dtype=np.uint16)[:, None, None, None]
    dn = np.broadcast_to(places * level, (len(dates), 10, *shape)).astype(np.uint16)
    return dn, np.zeros((len(dates), 2, *shape), dtype=np.uint8)


def window_of(dn: Any, cover: Any, dates: Sequence[datetime.date]) -> Window:
    """The whole stack as a window."""
    stack = SatelliteStack(dn=dn, cover=cover, dates=tuple(dates), offsets=(0,) * len(dates))
    rows, cols = np.meshgrid(*(np.arange(n, dtype=float) for n in dn.shape[2:]), indexing="ij")
    return cut(stack, rows, cols)


def means(
    dn: Any, cover: Any, dates: Sequence[datetime.date], policy: DatePolicy | None = None
) -> SatelliteInput:
    return monthly_means(window_of(dn, cover, dates), policy or DatePolicy())


def days_from(first: datetime.date, count: int) -> list[datetime.date]:
    return [first + datetime.timedelta(days=9 * i) for i in range(count)]


def test_a_month_is_the_mean_of_its_dates_pixel_by_pixel() -> None:
    dates = [MARCH, JUNE, ALSO_MARCH]
    dn, cover = series(dates)
    dn[0, 3, 1, 2] = 4000
    dn[2, :, 0, 4] = 0
    found = means(dn, cover, dates)
    march = np.full((10, 4, 5), 0.2)
    march[3, 1, 2] = 0.35
    march[:, 0, 4] = 0.1
    np.testing.assert_allclose(found.series[2], march, rtol=1e-6)
    np.testing.assert_allclose(found.series[5], 0.2, rtol=1e-6)
    assert found.dates_used == (ALSO_MARCH, MARCH, JUNE)


def test_a_month_without_a_date_is_masked_and_zero() -> None:
    found = means(*series([MARCH, JUNE]), [MARCH, JUNE])
    expected = np.zeros(12, dtype=np.float32)
    expected[[2, 5]] = 1
    assert np.array_equal(found.date_mask, expected)
    assert not found.series[expected == 0].any()
    assert found.series.shape == (12, 10, 4, 5)
    assert {a.dtype for a in (found.series, found.date_mask, found.days)} == {np.dtype(np.float32)}


def test_a_cell_seen_on_no_date_of_a_month_is_zero() -> None:
    dn, cover = series([MARCH, ALSO_MARCH])
    dn[:, :, 3, 1] = 0
    found = means(dn, cover, [MARCH, ALSO_MARCH])
    assert not found.series[2, :, 3, 1].any()
    assert found.date_mask[2] == 1


def test_days_are_those_from_15_may_to_the_15th_of_each_month() -> None:
    assert DatePolicy().month_days().tolist() == MONTH_DAYS
    assert means(*series([MARCH]), [MARCH]).days.tolist() == MONTH_DAYS


def test_29_february_falls_into_february() -> None:
    leap = datetime.date(2020, 2, 29)
    assert means(*series([leap]), [leap]).date_mask.argmax() == 1


def test_a_pixel_both_cloudy_and_snowy_counts_once() -> None:
    dates = [MARCH, JUNE]
    dn, cover = series(dates, (10, 10))
    cover[0, :, :4] = 100
    window = window_of(dn, cover, dates)
    assert covered_share(window, DatePolicy()).tolist() == [0.4, 0.0]
    assert monthly_means(window, DatePolicy()).dates_used == (MARCH, JUNE)


def test_snow_and_cloud_in_different_pixels_add_up() -> None:
    dates = [MARCH, JUNE]
    dn, cover = series(dates, (10, 10))
    cover[0, SNOW, :3] = 100
    cover[0, CLOUD, 7:] = 100
    window = window_of(dn, cover, dates)
    assert covered_share(window, DatePolicy()).tolist() == [0.6, 0.0]
    assert monthly_means(window, DatePolicy()).dates_used == (JUNE,)


@pytest.mark.parametrize("channel", [SNOW, CLOUD])
def test_the_first_mask_channel_is_snow_the_second_cloud_and_each_hides(channel: int) -> None:
    dn, cover = series([MARCH, JUNE])
    cover[0, channel] = 80
    assert means(dn, cover, [MARCH, JUNE]).dates_used == (JUNE,)


@pytest.mark.parametrize(("probability", "used"), [(49, True), (50, False), (100, False)])
def test_a_pixel_is_covered_from_the_probability_on(probability: int, used: bool) -> None:
    dn, cover = series([MARCH, JUNE])
    cover[0, CLOUD] = probability
    assert (MARCH in means(dn, cover, [MARCH, JUNE]).dates_used) == used


@pytest.mark.parametrize(("rows", "used"), [(4, True), (5, False)])
def test_a_date_covered_by_half_is_not_used(rows: int, used: bool) -> None:
    dn, cover = series([MARCH, JUNE], (10, 3))
    cover[0, CLOUD, :rows] = 100
    assert (MARCH in means(dn, cover, [MARCH, JUNE]).dates_used) == used


def test_pixels_without_data_count_as_covered() -> None:
    dn, cover = series([MARCH, JUNE], (10, 3))
    dn[0, :, :6] = 0
    assert means(dn, cover, [MARCH, JUNE]).dates_used == (JUNE,)


def test_an_unknown_probability_counts_as_covered() -> None:
    dn, cover = series([MARCH, JUNE])
    unknown = cover.astype(np.float32)
    unknown[0] = np.nan
    assert means(dn, unknown, [MARCH, JUNE]).dates_used == (JUNE,)


def test_only_cells_inside_the_series_count_for_cloudiness() -> None:
    dn, cover = series([MARCH, JUNE], (4, 4))
    cover[0, CLOUD, 0, 0] = 100
    stack = SatelliteStack(dn=dn, cover=cover, dates=(MARCH, JUNE), offsets=(0, 0))
    window = cut(stack, *window_cells(0, 0, 4))
    assert (window.cover[0] >= 50).mean() > 0.5
    assert covered_share(window, DatePolicy())[0] == 0.25


def test_when_no_date_passes_the_least_covered_are_used() -> None:
    dates = days_from(MARCH, 5)
    dn, cover = series(dates, (10, 3))
    for place, rows in enumerate([9, 6, 10, 7, 8]):
        cover[place, CLOUD, :rows] = 100
    used = means(dn, cover, dates).dates_used
    assert used == (dates[1], dates[3], dates[4])
    assert len(means(dn, cover, dates, DatePolicy(fallback_dates=1)).dates_used) == 1
    assert len(means(dn, cover, dates, DatePolicy(fallback_dates=99)).dates_used) == 5


def test_dates_covered_alike_are_taken_from_the_first_day_on() -> None:
    dates = days_from(MARCH, 5)[::-1]
    dn, cover = series(dates)
    cover[:] = 100
    assert means(dn, cover, dates).dates_used == tuple(sorted(dates)[:3])


def test_the_fallback_passes_over_dates_without_data() -> None:
    dates = days_from(MARCH, 4)
    dn, cover = series(dates)
    cover[1:] = 100
    dn[0] = 0
    assert means(dn, cover, dates).dates_used == tuple(dates[1:])


@pytest.mark.parametrize("probability", [0, 100])
def test_a_single_date_is_used_clear_or_not(probability: int) -> None:
    dn, cover = series([JUNE])
    cover[:] = probability
    found = means(dn, cover, [JUNE])
    assert found.dates_used == (JUNE,)
    assert found.date_mask.sum() == 1
    np.testing.assert_allclose(found.series[5], 0.1, rtol=1e-6)


def test_a_series_without_any_data_is_refused() -> None:
    dn, cover = series([MARCH, JUNE])
    with pytest.raises(SatelliteError, match="none of the 2 Sentinel-2 dates has data here"):
        means(np.zeros_like(dn), cover, [MARCH, JUNE])


@given(
    order=st.permutations(range(9)),
    cloudy=st.booleans(),
    fallback=st.integers(1, 4),
    shift=st.floats(0, 0.9),
)
def test_the_order_of_dates_in_the_file_changes_nothing(
    order: list[int], cloudy: bool, fallback: int, shift: float
) -> None:
    generator = np.random.default_rng(3)
    dates = [MARCH] * 4 + [JUNE] * 3 + [ALSO_MARCH] * 2
    dn = generator.integers(0, 65_536, (9, 10, 5, 6), dtype=np.uint16)
    cover = generator.integers(60 if cloudy else 0, 101, (9, 2, 5, 6), dtype=np.uint8)
    policy = DatePolicy(fallback_dates=fallback)

    def made(places: Sequence[int]) -> SatelliteInput:
        stack = SatelliteStack(
            dn=dn[list(places)],
            cover=cover[list(places)],
            dates=tuple(dates[i] for i in places),
            offsets=tuple(1000 * (i % 2) for i in places),
        )
        return monthly_means(cut(stack, *window_cells(2 + shift, 3 - shift, 4)), policy)

    expected, found = made(range(9)), made(order)
    assert found.series.tobytes() == expected.series.tobytes()
    assert found.date_mask.tobytes() == expected.date_mask.tobytes()
    assert found.dates_used == expected.dates_used


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cloud_probability": 0.0}, "cloud_probability is 0.0; expected above 0 and up to 100"),
        ({"cloud_probability": 101.0}, "cloud_probability is 101.0"),
        ({"cloud_probability": float("nan")}, "cloud_probability is nan"),
        ({"max_covered": 0.0}, "max_covered is 0.0"),
        ({"max_covered": 1.5}, "max_covered is 1.5"),
        ({"fallback_dates": 0}, "fallback_dates is 0; expected at least 1"),
        ({"reference_month": 13}, "reference_month 13 and reference_day 15 name no day"),
        ({"reference_month": 2, "reference_day": 29}, "expected one of a year of 365 days"),
    ],
)
def test_a_policy_under_which_nothing_works_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DatePolicy(**options)
