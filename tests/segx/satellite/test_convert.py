"""Products of every form become a series that holds what they hold."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from satellite_products import (
    SIDE,
    converted,
    item_of,
    pixels,
    place,
    quiet,
    write_bands,
    write_one,
)

from runtime.geoseries import open_series
from runtime.grid import Grid
from runtime.raster import describe
from runtime.satellite import BANDS
from segx.sample.safe import FINE, write_safe
from segx.satellite import Source, convert, find_products, margin_grid
from segx.satellite.classes import cover_of_classes

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "s2-strzegom"
SCL_NAME = "T33UWS_20210619T100031_SCL_20m.tif"


def test_a_safe_tree_comes_back_bit_by_bit_at_10_m(
    safe: Path, series: Path, tmp_path: Path
) -> None:
    written, made = converted(safe, tmp_path / "s2")
    assert [item.screening for item in written] == ["probabilities", "none"]
    before = open_series(series)
    assert made.grid == before.grid
    assert [(item.dn, item.origin) for item in made.radiometry] == [
        (0, "metadata"),
        (1000, "metadata"),
    ]
    for day in made.days:
        name = f"S2_{day:%Y%m%d}.tif"
        new, old = pixels(tmp_path / "s2" / name), pixels(series / name)
        for band, one, other in zip(BANDS, new, old, strict=True):
            if band in FINE:
                np.testing.assert_array_equal(one, other)
            else:
                fours = other.reshape(SIDE // 2, 2, SIDE // 2, 2)
                np.testing.assert_array_equal(
                    one.reshape(fours.shape), np.rint(fours.mean((1, 3), keepdims=True)) + 0 * fours
                )
    covered = pixels(tmp_path / "s2" / "S2_20210619_masks.tif")
    old_cover = pixels(series / "S2_20210619_masks.tif").reshape(2, SIDE // 2, 2, SIDE // 2, 2)
    np.testing.assert_array_equal(
        covered.reshape(old_cover.shape), old_cover.max((2, 4), keepdims=True) + 0 * old_cover
    )
    assert not (tmp_path / "s2" / "S2_20220719_masks.tif").exists()


def test_a_zip_and_a_single_folder_give_what_the_tree_gives(safe: Path, tmp_path: Path) -> None:
    folder = sorted(safe.glob("*.SAFE"))[0]
    archive = shutil.make_archive(str(tmp_path / "one"), "zip", safe, folder.name)
    converted(folder, tmp_path / "from folder")
    converted(Path(archive), tmp_path / "from zip")
    names = sorted(path.name for path in (tmp_path / "from folder").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "from zip").iterdir())
    for name in names:
        one, other = tmp_path / "from folder" / name, tmp_path / "from zip" / name
        np.testing.assert_array_equal(pixels(one), pixels(other))


def test_files_of_one_band_each_are_brought_together(
    bands: NDArray[np.uint16], tmp_path: Path
) -> None:
    written, made = converted(write_bands(tmp_path / "in", bands), tmp_path / "s2")
    assert [str(item.day) for item in written] == ["2021-06-19"]
    assert written[0].screening == "none"
    image = pixels(tmp_path / "s2" / "S2_20210619.tif")
    np.testing.assert_array_equal(image[BANDS.index("B08")], bands[BANDS.index("B08")])
    coarse = bands[BANDS.index("B11")][::2, ::2]
    np.testing.assert_array_equal(image[BANDS.index("B11")], coarse.repeat(2, 0).repeat(2, 1))
    assert made.radiometry[0].origin == "estimated"


def test_of_a_band_the_finest_file_is_taken(bands: NDArray[np.uint16], tmp_path: Path) -> None:
    folder = write_bands(tmp_path / "in", bands)
    for coarser in (20, 60):
        name = f"T33UWS_20210619T100031_B02_{coarser}m.tif"
        write_one(folder / name, np.full((16, 16), 7, np.uint16), coarser)
    converted(folder, tmp_path / "s2")
    np.testing.assert_array_equal(pixels(tmp_path / "s2" / "S2_20210619.tif")[0], bands[0])


def test_clouds_come_from_the_scene_classes_where_there_are_no_probabilities(
    bands: NDArray[np.uint16], tmp_path: Path
) -> None:
    folder = write_bands(tmp_path / "in", bands)
    classes = np.arange(SIDE * SIDE // 4).reshape(SIDE // 2, SIDE // 2) % 12
    write_one(folder / SCL_NAME, classes.astype(np.uint8), 20)
    written, _ = converted(folder, tmp_path / "s2")
    assert written[0].screening == "scene classification"
    snow, cloud = pixels(tmp_path / "s2" / "S2_20210619_masks.tif")
    wide = classes.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(snow, np.where(wide == 11, 100, 0))
    assert {int(c): set(cloud[wide == c].tolist()) for c in range(12)} == {
        **{c: {0} for c in (0, 1, 2, 3, 4, 5, 6, 11)},
        7: {20},
        8: {60},
        9: {100},
        10: {60},
    }


@given(st.integers(0, 255))
def test_every_scene_class_is_a_probability(value: int) -> None:
    for image in cover_of_classes(np.array([value], dtype=np.uint8)):
        assert 0 <= int(image[0]) <= 100


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({"s2:processing_baseline": "05.09"}, 1000),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, 0),
        ({"s2:processing_baseline": "02.14"}, 0),
        ({"processing:version": "04.00"}, 1000),
    ],
)
def test_stac_items_on_disk(
    bands: NDArray[np.uint16], tmp_path: Path, properties: dict[str, object], offset: int
) -> None:
    item_of("20230301", bands, tmp_path / "in", **properties)
    _, made = converted(tmp_path / "in", tmp_path / "s2")
    np.testing.assert_array_equal(pixels(tmp_path / "s2" / "S2_20230301.tif"), bands)
    assert [(item.dn, item.origin) for item in made.radiometry] == [(offset, "metadata")]


@pytest.mark.parametrize("version", ["sen2cor 2.11", None, 5])
def test_an_item_of_another_processing_says_nothing_of_the_offset(
    bands: NDArray[np.uint16], tmp_path: Path, version: object
) -> None:
    item_of("20230301", bands, tmp_path / "in", **{"processing:version": version})
    _, made = converted(tmp_path / "in", tmp_path / "s2")
    assert made.radiometry[0].origin == "estimated"


def test_an_item_that_may_still_hold_the_offset_is_judged_by_its_pixels(
    bands: NDArray[np.uint16], tmp_path: Path
) -> None:
    """Earth Search says `false` of items that it took the offset off, too."""
    said = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": False}
    for name, more in (("off", 0), ("on", 1000)):
        item_of("20230301", bands + np.uint16(more), tmp_path / name, **said)
        _, made = converted(tmp_path / name, tmp_path / f"s2-{name}")
        assert [(item.dn, item.origin) for item in made.radiometry] == [(more, "estimated")]
    item_of("20230301", bands, tmp_path / "old", **{**said, "s2:processing_baseline": "03.01"})
    _, made = converted(tmp_path / "old", tmp_path / "s2-old")
    assert [(item.dn, item.origin) for item in made.radiometry] == [(0, "metadata")]


def test_around_an_aerial_image_only_its_ground_is_taken(
    bands: NDArray[np.uint16], tmp_path: Path
) -> None:
    write_bands(tmp_path / "in", bands)
    crs = rasterio.crs.CRS.from_epsg(32633)
    aerial = Grid((100, 60), Affine(0.2, 0, 586_201.3, 0, -0.2, 5_651_077.7), crs)
    products = find_products(tmp_path / "in")
    convert(Source(products=products, aerial=aerial, margin_m=25.0), tmp_path / "s2", quiet)
    made = describe(tmp_path / "s2" / "S2_20210619.tif").grid
    row, col = made.offset_of(Grid((SIDE, SIDE), place(), made.crs)) or (0, 0)
    image = pixels(tmp_path / "s2" / "S2_20210619.tif")
    part = bands[0][-row : -row + made.shape[0], -col : -col + made.shape[1]]
    np.testing.assert_array_equal(image[0], part)
    left, bottom, right, top = made.bounds
    for inner, outer in zip(aerial.bounds, (left, bottom), strict=False):
        assert 25 <= inner - outer < 35
    for inner, outer in zip(aerial.bounds[2:], (right, top), strict=True):
        assert 25 <= outer - inner < 35


@given(
    x=st.floats(500_000, 600_000),
    y=st.floats(5_000_000, 5_100_000),
    rows=st.integers(1, 3000),
    cols=st.integers(1, 3000),
    margin=st.floats(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_the_grid_around_an_image_covers_it_with_its_margin_and_no_more(
    x: float, y: float, rows: int, cols: int, margin: float
) -> None:
    crs = rasterio.crs.CRS.from_epsg(32633)
    aerial = Grid((rows, cols), Affine(0.2, 0, x, 0, -0.2, y), crs)
    like = Grid((10980, 10980), Affine(10, 0, 499_980, 0, -10, 5_100_000), crs)
    made = margin_grid(aerial, like, margin)
    assert like.offset_of(made) is not None
    for inner, outer, sign in zip(aerial.bounds, made.bounds, (1, 1, -1, -1), strict=True):
        assert margin - 1e-3 <= sign * (inner - outer) <= margin + 10 + 1e-3


def test_products_of_a_day_in_neighbouring_tiles_become_one_date(
    bands: NDArray[np.uint16], tmp_path: Path
) -> None:
    west, east = bands.copy(), bands[:, ::-1].copy()
    west[:, :, SIDE // 2 :] = 0
    write_bands(tmp_path / "in", west)
    write_bands(tmp_path / "in", east, "T33UXS_20210619T100031")
    written, _ = converted(tmp_path / "in", tmp_path / "s2")
    assert [len(item.products) for item in written] == [2]
    image = pixels(tmp_path / "s2" / "S2_20210619.tif")[0]
    np.testing.assert_array_equal(image[:, : SIDE // 2], bands[0][:, : SIDE // 2])
    np.testing.assert_array_equal(image[:, SIDE // 2 :], east[0][:, SIDE // 2 :])


def test_the_latest_processing_of_a_product_is_kept(safe: Path, tmp_path: Path) -> None:
    early = sorted(safe.glob("*_N0301_*.SAFE"))[0]
    later = early.name.replace("N0301", "N0509")
    for name in (early.name, later):
        shutil.copytree(early, tmp_path / "in" / name)
    metadata = tmp_path / "in" / later / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace("03.01", "05.09").replace("N0301", "N0509"))
    products = find_products(tmp_path / "in")
    written, left_out = convert(Source(products=products), tmp_path / "s2", quiet)
    assert [Path(item.name).name for item in left_out] == [early.name]
    assert open_series(tmp_path / "s2").offsets == (1000,)
    assert len(written) == 1


@pytest.mark.skipif(not REAL.is_dir(), reason="real Sentinel-2 is not there")
def test_a_real_series_comes_back_bit_by_bit_at_10_m(tmp_path: Path) -> None:
    write_safe(tmp_path / "safe", seed=1, series=REAL, on_date=quiet)
    _, made = converted(tmp_path / "safe", tmp_path / "s2")
    before = open_series(REAL)
    assert (made.days, made.grid, made.offsets) == (before.days, before.grid, before.offsets)
    fine = [BANDS.index(band) for band in FINE]
    for day in made.days:
        name = f"S2_{day:%Y%m%d}.tif"
        new, old = pixels(tmp_path / "s2" / name), pixels(REAL / name)
        np.testing.assert_array_equal(new[fine], old[fine])
