import datetime
from pathlib import Path

import pytest

from runtime.errors import SatelliteError
from runtime.products import parse_day, parse_product, parse_products, scene_file_day

PRODUCT = "S2A_MSIL2A_20210415T105021_N0300_R051_T31UDP_20210415T135921"


def test_the_day_is_the_first_one_of_a_product_name_not_the_day_of_processing() -> None:
    line = "S2B_MSIL2A_20191231T105021_N0213_R051_T31UDP_20200102T135921.SAFE"
    assert parse_product(line, where="p")[0] == datetime.date(2019, 12, 31)


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("0213", 0), ("0300", 0), ("0301", 0), ("0400", 1000), ("0509", 1000)],
)
def test_digital_numbers_carry_an_offset_from_baseline_0400_on(baseline: str, offset: int) -> None:
    assert parse_product(PRODUCT.replace("0300", baseline), where="p")[1] == offset


def test_the_baseline_of_a_file_is_read_line_by_line() -> None:
    text = f"{PRODUCT}\n{PRODUCT.replace('2021', '2022').replace('0300', '0400')}\n"
    assert parse_products(text, where="p") == (
        (datetime.date(2021, 4, 15), datetime.date(2022, 4, 15)),
        (0, 1000),
    )


def test_windows_line_ends_blank_lines_and_spaces_change_nothing() -> None:
    assert parse_products(f"\ufeff{PRODUCT} \r\n\r\n{PRODUCT}", where="p") == (
        (datetime.date(2021, 4, 15),) * 2,
        (0, 0),
    )


def test_a_name_of_another_kind_gives_its_day_and_says_nothing_of_an_offset() -> None:
    assert parse_product("SENTINEL2A_20210415-105021", where="p") == (
        datetime.date(2021, 4, 15),
        None,
    )


def test_the_baseline_of_products_of_a_users_own_processing_says_nothing() -> None:
    assert parse_product(PRODUCT.replace("0300", "9999"), where="p")[1] is None


@pytest.mark.parametrize(
    "line",
    ["garbage", "S2A_MSIL2A_2021", "12021041512", "202104151", "19990101", "\x1b[31mred"],
)
def test_a_line_without_a_day_is_named(line: str) -> None:
    with pytest.raises(SatelliteError, match=r"products.txt has the line '.*'; expected") as caught:
        parse_products(f"{PRODUCT}\n{line}\n", where="products.txt")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("day", ["20210231", "20211301", "20210100"])
def test_a_day_that_does_not_exist_is_named(day: str) -> None:
    with pytest.raises(SatelliteError, match=f"names the day '{day}', which does not exist"):
        parse_product(PRODUCT.replace("20210415", day), where="p")
    with pytest.raises(SatelliteError, match=day):
        parse_day(day, where="p")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_refused(text: str) -> None:
    with pytest.raises(SatelliteError, match=r"products.txt is empty"):
        parse_products(text, where="products.txt")


@pytest.mark.parametrize("name", ["S2_20210415.tif", "s2_20210415.TIF", "S2_20210415.tiff"])
def test_a_scene_file_is_known_by_its_name(name: str) -> None:
    assert scene_file_day(Path("sentinel2", name)) == datetime.date(2021, 4, 15)


@pytest.mark.parametrize(
    "name", ["S2_20210415_masks.tif", "S2_2021.tif", "aerial.tif", "S2_20210415.tif.aux.xml"]
)
def test_a_file_of_another_name_is_no_scene_file(name: str) -> None:
    assert scene_file_day(Path(name)) is None


def test_a_scene_file_of_an_impossible_day_is_named() -> None:
    with pytest.raises(SatelliteError, match=r"S2_20210230.tif"):
        scene_file_day(Path("S2_20210230.tif"))
