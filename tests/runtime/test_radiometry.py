import datetime
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import SatelliteError
from runtime.geoseries import PRODUCTS, open_series
from runtime.products import OffsetOption
from runtime.radiometry import (
    Offset,
    OffsetOrigin,
    dark_levels,
    dated,
    settle_offsets,
    tagged_offset,
)
from runtime.satellite import BANDS, SatelliteStack, cut, window_cells

REAL = Path(__file__).parents[2].parent / "shared" / "data"
REAL_OFFSETS = (0, *(1000,) * 7)
"""Of s2-strzegom, by its description: the date of 2021 has no offset, the later ones have."""

SIDE = 40
NAME = "S2A_MSIL2A_{day}T105021_N{baseline}_R051_T31UDP_{day}T135921"


def days_of(count: int) -> tuple[datetime.date, ...]:
    return tuple(datetime.date(2021, 1, 3) + datetime.timedelta(days=17 * n) for n in range(count))


def clear_dates(count: int, seed: int) -> NDArray[np.uint16]:
    """Ground of fields, woods and a lake through seasons, shape (dates, B, rows, cols)."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(0.03, 0.35, (len(BANDS), SIDE, SIDE))
    ground[:3] *= 0.4
    lake = rng.uniform(0.002, 0.03, (len(BANDS), 8, 8))
    dn = np.empty((count, len(BANDS), SIDE, SIDE), dtype=np.uint16)
    for date in range(count):
        seen = ground * rng.uniform(0.7, 1.3, (len(BANDS), 1, 1))
        seen[:, 5:13, 20:28] = lake
        dn[date] = np.maximum(seen * 10_000, 1)
    return dn


def stack_of(dn: NDArray[np.uint16], cover: NDArray[np.uint8] | None = None) -> SatelliteStack:
    count = len(dn)
    masks = np.zeros((count, 2, *dn.shape[2:]), dtype=np.uint8) if cover is None else cover
    return SatelliteStack(dn=dn, cover=masks, dates=days_of(count), offsets=(0,) * count)


def estimated(stack: SatelliteStack, named: list[Offset | None] | None = None) -> list[Offset]:
    said = [None] * len(stack.dates) if named is None else named
    return list(settle_offsets(said, "auto", lambda: dark_levels(stack)))


@given(
    offsets=st.lists(st.sampled_from([0, 1000]), min_size=1, max_size=12),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=30, deadline=None)
def test_any_mixture_of_offsets_is_found_in_clear_dates(offsets: list[int], seed: int) -> None:
    dn = clear_dates(len(offsets), seed) + np.array(offsets, dtype=np.uint16)[:, None, None, None]
    found = estimated(stack_of(dn))
    assert [item.dn for item in found] == offsets
    assert {item.origin for item in found} == {"estimated"}


@given(seed=st.integers(0, 10_000), offset=st.sampled_from([0, 1000]), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_clouds_do_not_change_what_is_found(seed: int, offset: int, share: float) -> None:
    """Dates under cloud that the masks miss, in part or all over, are as the others are."""
    dn = clear_dates(6, seed)
    rng = np.random.default_rng(seed)
    for date in (1, 4):
        rows = round(share * SIDE)
        dn[date, :, :rows] = rng.uniform(3000, 7000, (len(BANDS), rows, SIDE))
    found = estimated(stack_of(dn + np.uint16(offset)))
    assert [item.dn for item in found] == [offset] * 6


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_haze_and_snow_without_an_offset_are_not_taken_for_one(seed: int) -> None:
    dn = clear_dates(5, seed)
    haze = np.array([1500, 1300, 1100, 900, 700, 600, 500, 450, 200, 100], dtype=np.uint16)
    snow = np.array([8000] * 8 + [700, 500], dtype=np.uint16)
    dn[1] += haze[:, None, None]
    dn[3] = snow[:, None, None]
    assert [item.dn for item in estimated(stack_of(dn))] == [0] * 5


def test_a_date_that_shows_no_dark_ground_is_assumed_to_be_as_most_others() -> None:
    dn = clear_dates(5, 1) + np.array([0, 1000, 1000, 1000, 0], dtype=np.uint16).reshape(5, 1, 1, 1)
    dn[2] = 6000
    found = estimated(stack_of(dn))
    assert [(item.dn, item.origin) for item in found] == [
        (0, "estimated"),
        (1000, "estimated"),
        (0, "assumed"),
        (1000, "estimated"),
        (0, "estimated"),
    ]
    alone = estimated(stack_of(dn[2:3]))
    assert alone == [Offset(dn=0, origin="assumed")]


def test_pixels_at_the_edges_of_clouds_do_not_speak_for_a_date() -> None:
    dn, cover = clear_dates(4, 2), np.zeros((4, 2, SIDE, SIDE), dtype=np.uint8)
    dn[2], cover[2] = 6000, 100
    dn[2, :, :2], cover[2, :, :2] = 1500, 20
    assert estimated(stack_of(dn, cover))[2] == Offset(dn=0, origin="assumed")


@pytest.mark.parametrize(("side", "origin"), [(15, "assumed"), (16, "estimated")])
def test_a_few_bright_pixels_are_no_proof_of_an_offset(side: int, origin: str) -> None:
    bright = (clear_dates(3, 1) + np.uint16(1000))[:, :, :side, :side]
    assert {item.origin for item in estimated(stack_of(bright))} == {origin}


def test_bright_ground_is_compared_with_dates_that_are_known() -> None:
    """A desert without dark ground looks like an offset, unless another date says otherwise."""
    desert = np.full((3, len(BANDS), SIDE, SIDE), 1400, dtype=np.uint16)
    desert[2] += 1000
    known = [Offset(dn=0, origin="product"), None, None]
    assert [item.dn for item in estimated(stack_of(desert), known)] == [0, 0, 1000]


def test_what_is_named_is_not_estimated_and_what_is_given_wins() -> None:
    def never() -> NDArray[np.float64]:
        raise AssertionError("the pixels were looked at")

    named = [Offset(dn=0, origin="product"), Offset(dn=1000, origin="metadata")]
    assert settle_offsets(named, "auto", never) == tuple(named)
    option: OffsetOption
    for option in ("0", "1000"):
        given_one = Offset(dn=int(option), origin="given")
        assert settle_offsets([*named, None], option, never) == (given_one,) * 3


def test_the_order_of_dates_changes_nothing() -> None:
    """The day of a date does not count: only its pixels and those of the others do."""
    offsets = np.array([0, 1000, 0, 1000, 1000, 0], dtype=np.uint16)
    dn = clear_dates(6, 3) + offsets[:, None, None, None]
    order = np.array([5, 2, 4, 0, 1, 3])
    forward, moved = estimated(stack_of(dn)), estimated(stack_of(dn[order]))
    assert [forward[index] for index in order] == moved


def test_nodata_is_not_dark_ground_and_a_large_series_is_sampled() -> None:
    dn = np.full((1, len(BANDS), 500, 700), 1300, dtype=np.uint16)
    dn[:, :, :, :600] = 0
    stack = SatelliteStack(
        dn=dn, cover=np.zeros((1, 2, 500, 700), np.uint8), dates=days_of(1), offsets=(0,)
    )
    assert dark_levels(stack).tolist() == [1300.0]
    dn[:] = 0
    assert np.isnan(dark_levels(stack)).all()


@pytest.mark.parametrize(
    ("tags", "dn"),
    [
        ({"RADIOMETRIC_OFFSET": "1000"}, 1000),
        ({"RADIOMETRIC_OFFSET": "0", "PROCESSING_BASELINE": "05.09"}, 0),
        ({"PROCESSING_BASELINE": "05.09"}, 1000),
        ({"PROCESSING_BASELINE": "N0301"}, 0),
        ({"PROCESSING_BASELINE": "04.00"}, 1000),
        ({"PRODUCT_URI": NAME.format(day="20210101", baseline="0400") + ".SAFE"}, 1000),
        ({"PRODUCT_URI": NAME.format(day="20230101", baseline="0214")}, 0),
    ],
)
def test_tags_of_a_file_say_the_offset(tags: dict[str, str], dn: int) -> None:
    assert tagged_offset(tags, where="f") == Offset(dn=dn, origin="metadata")


@pytest.mark.parametrize(
    "tags", [{}, {"PRODUCT_URI": "else"}, {"PRODUCT_URI": NAME.format(day="2", baseline="9999")}]
)
def test_other_tags_say_nothing(tags: dict[str, str]) -> None:
    assert tagged_offset(tags, where="f") is None


@pytest.mark.parametrize(
    "tags",
    [{"RADIOMETRIC_OFFSET": "500"}, {"PROCESSING_BASELINE": "new"}, {"RADIOMETRIC_OFFSET": ""}],
)
def test_a_tag_that_cannot_be_understood_is_named(tags: dict[str, str]) -> None:
    with pytest.raises(SatelliteError, match=rf"^f has the tag {next(iter(tags))}='.*'; expected"):
        tagged_offset(tags, where="f")


def write_dates(
    folder: Path, dn: NDArray[np.uint16], tags: dict[int, dict[str, str]] | None = None
) -> Path:
    folder.mkdir()
    for number, (day, image) in enumerate(zip(days_of(len(dn)), dn, strict=True)):
        path = folder / f"S2_{day:%Y%m%d}.tif"
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(BANDS),
            height=SIDE,
            width=SIDE,
            dtype="uint16",
            crs="EPSG:32631",
            transform=Affine(10, 0, 5e5, 0, -10, 5e6),
        ) as target:
            target.write(image)
            target.update_tags(**(tags or {}).get(number, {}))
            for index, band in enumerate(BANDS, start=1):
                target.set_band_description(index, band)
    return folder


def test_metadata_comes_before_product_names_and_these_before_the_pixels(tmp_path: Path) -> None:
    tags = {0: {"RADIOMETRIC_OFFSET": "1000"}}
    folder = write_dates(tmp_path / "s2", clear_dates(3, 4), tags)
    names = [NAME.format(day=f"{day:%Y%m%d}", baseline="0509") for day in days_of(2)]
    (folder / PRODUCTS).write_text("\n".join(reversed(names)))
    series = open_series(folder)
    origins: tuple[OffsetOrigin, ...] = ("metadata", "product", "estimated")
    assert series.radiometry == dated(days_of(3), (1000, 1000, 0), origins)
    assert folder / PRODUCTS in series.source_files()


def test_two_products_of_a_day_must_agree(tmp_path: Path) -> None:
    folder = write_dates(tmp_path / "s2", clear_dates(1, 4))
    names = [NAME.format(day="20210103", baseline=number) for number in ("0301", "0509")]
    (folder / PRODUCTS).write_text("\n".join(names))
    with pytest.raises(SatelliteError, match="names products of 2021-01-03 with and without"):
        open_series(folder)


def test_a_series_with_offsets_gives_the_reflectance_of_one_without(tmp_path: Path) -> None:
    plain = clear_dates(4, 5)
    shifted = plain + np.array([0, 1000, 1000, 0], dtype=np.uint16)[:, None, None, None]
    cells = window_cells(20, 20, 16)
    windows = [
        cut(open_series(write_dates(tmp_path / name, dn)), *cells)
        for name, dn in (("plain", plain), ("shifted", shifted))
    ]
    np.testing.assert_allclose(windows[0].reflectance, windows[1].reflectance, atol=1e-6)
    forced = cut(open_series(tmp_path / "plain", offset="1000"), *cells)
    np.testing.assert_allclose(forced.reflectance, windows[0].reflectance - 0.1, atol=1e-6)


@pytest.mark.skipif(not (REAL / "s2-strzegom").is_dir(), reason="real Sentinel-2 is not there")
@pytest.mark.parametrize("named", [False, True])
def test_real_dates_with_and_without_the_offset_come_together(named: bool, tmp_path: Path) -> None:
    folder = tmp_path / "s2"
    shutil.copytree(REAL / "s2-strzegom", folder, ignore=shutil.ignore_patterns("*.md"))
    if named:
        days = sorted(path.stem[3:] for path in folder.glob("S2_*.tif"))
        baselines = ["0301" if dn == 0 else "0400" for dn in REAL_OFFSETS]
        names = [NAME.format(day=d, baseline=b) for d, b in zip(days, baselines, strict=True)]
        (folder / PRODUCTS).write_text("\n".join(names))
    series = open_series(folder)
    assert series.offsets == REAL_OFFSETS
    assert {item.origin for item in series.radiometry} == {"product" if named else "estimated"}
    rows, cols = series.shape
    blue = series.read(slice(0, rows), slice(0, cols)).dn[..., BANDS.index("B02")]
    means = blue.mean(axis=(0, 1)) - np.array(series.offsets)
    assert abs(means[0] / means[1:].mean() - 1) < 0.15


@pytest.mark.skipif(not (REAL / "scene-z4uu").is_dir(), reason="the scene is not there")
def test_a_real_year_with_clouds_has_no_offset() -> None:
    series = open_series(REAL / "scene-z4uu" / "sentinel2")
    assert set(series.offsets) == {0}
