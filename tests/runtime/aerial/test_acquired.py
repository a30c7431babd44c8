from datetime import date, timedelta
from pathlib import Path

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from runtime.aerial.acquired import FIRST_YEAR, acquired, date_gap_days
from runtime.grid import Grid
from runtime.raster import RasterInfo

GRID = Grid((6, 7), Affine(0.2, 0, 7e5, 0, -0.2, 6.6e6), CRS.from_epsg(2154))
DAYS = st.dates(date(FIRST_YEAR, 1, 1), date.today())


def taken(name: str, **tags: str) -> date | None:
    path = Path(name)
    return acquired(
        path,
        RasterInfo(
            path=path, grid=GRID, count=1, dtype="uint8", nodata=None, bands=("",), tags=tags
        ),
    )


@given(day=DAYS, form=st.sampled_from(["%Y%m%d", "%Y-%m-%d", "%Y_%m_%d"]))
def test_a_date_in_the_name_is_found(day: date, form: str) -> None:
    text = day.strftime(form)
    for name in (f"{text}.tif", f"m_4709963_se_14_1_{text}.tif", f"S2_{text}T105041-ortho.tif"):
        assert taken(name) == day


@given(day=DAYS, time=st.sampled_from(["", " 10:30:00", "T10:30:00Z"]))
def test_a_date_in_a_tag_is_found(day: date, time: str) -> None:
    for form in ("%Y:%m:%d", "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d"):
        text = day.strftime(form) + time
        assert taken("a.tif", TIFFTAG_DATETIME=text) == day
        assert taken("a.tif", acquisition_date=text) == day


def test_what_says_most_about_the_flight_comes_first() -> None:
    tags = {"TIFFTAG_DATETIME": "2023:03:03 00:00:00", "ACQUISITION_DATE": "2021-01-01"}
    assert taken("ortho_20220202.tif", **tags) == date(2021, 1, 1)
    del tags["ACQUISITION_DATE"]
    assert taken("ortho_20220202.tif", **tags) == date(2022, 2, 2)
    assert taken("ortho.tif", **tags) == date(2023, 3, 3)


@pytest.mark.parametrize(
    "name",
    [
        "aerial.tif",
        "34-2021-0756-6312-LA93-0M20-E080.tif",
        "ortho_20211301.tif",
        "ortho_20210230.tif",
        "ortho_18000101.tif",
        "ortho_99990101.tif",
        "ortho_120210815.tif",
        "ortho_202108150.tif",
        "ortho_2021-0815.tif",
        "ortho_20200831_20201105.tif",
    ],
)
def test_other_digits_and_several_dates_say_nothing(name: str) -> None:
    assert taken(name) is None


def test_one_date_twice_is_one_date() -> None:
    assert taken("2021-08-15_ortho_20210815.tif") == date(2021, 8, 15)


@pytest.mark.parametrize("text", ["", "unknown", "0000:00:00 00:00:00", "2999:01:01 00:00:00"])
def test_a_tag_without_a_date_is_passed_over(text: str) -> None:
    assert taken("a.tif", TIFFTAG_DATETIME=text, ACQUISITION_DATE=text) is None
    assert taken("a_20210815.tif", ACQUISITION_DATE=text) == date(2021, 8, 15)


@given(day=DAYS, gaps=st.lists(st.integers(-400, 400), min_size=1))
def test_the_gap_is_that_to_the_nearest_date(day: date, gaps: list[int]) -> None:
    used = [day + timedelta(days=gap) for gap in gaps]
    assert date_gap_days(day, iter(used)) == min(map(abs, gaps))


def test_without_dates_there_is_no_gap() -> None:
    assert date_gap_days(None, [date(2021, 1, 1)]) is None
    assert date_gap_days(date(2021, 1, 1), []) is None
