"""Patches, dates and splits of FLAIR-HUB."""

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hub_tree import (
    DAYS,
    PLACES,
    A,
    B,
    C,
    aerial_of,
    heights_of,
    listed,
    series_of,
    write_dates,
    write_table,
)

from runtime.dataset import open_dataset
from runtime.datasets.flair import CLASSES
from runtime.datasets.flair_hub import FlairHub
from runtime.satellite import SatelliteSpec

Write = Callable[..., Path]

SPEC = SatelliteSpec(window=16)
COSIA = (
    "building",
    "other",
    "other",
    "impervious surface",
    "pervious surface",
    "bare soil",
    "water",
    "other",
    "herbaceous vegetation",
    "agricultural land",
    "plowed land",
    "vineyard",
    "deciduous",
    "coniferous",
    "brushwood",
    "other",
    "other",
    "other",
    "other",
)
"""Class of FLAIR #2 by COSIA value."""


# What is there


def test_patches_areas_and_splits_come_from_names_and_metadata(published: Path) -> None:
    dataset = open_dataset(published)
    assert isinstance(dataset, FlairHub)
    assert dataset.splits == {"train": (A,), "val": (B,), "test": (C,)}
    assert dataset.groups() == {
        A: "D012-2019/AF-S1-27",
        B: "D012-2019/UU-S2-3",
        C: "D068-2021/AA-S1-1",
    }
    x, y = PLACES[A]
    assert dataset.position(A) == pytest.approx((x + 51.2, y - 51.2))
    assert dataset.resolution_m(A) == pytest.approx(0.2)
    assert dataset.classes == CLASSES


@pytest.mark.parametrize("above", ["data", "data/nested"])
def test_folders_may_lie_in_another_one(published: Path, tmp_path: Path, above: str) -> None:
    shutil.copytree(published, tmp_path / above)
    root = (tmp_path / above).parent
    dataset = open_dataset(root)
    assert dataset.splits["train"] == (A,)
    assert dataset.read(A, SPEC).satellite is not None


def test_the_historical_year_is_a_year_like_others(tree: Path, add: Write) -> None:
    old = C.replace("2021", "195X")
    PLACES[old] = PLACES[C]
    add(tree, old, "AERIAL_RGBI", aerial_of(C))
    dataset = FlairHub(tree)
    assert dataset.groups()[old] == "D068-195X/AA-S1-1"
    assert dataset.read(old, None).labels is None


def test_elevation_is_surface_less_terrain_in_steps_of_a_fifth_of_a_metre(whole: Path) -> None:
    sample = FlairHub(whole).read(A, None)
    assert sample.bands == ("red", "green", "blue", "nir", "elevation")
    np.testing.assert_array_equal(sample.aerial[:4], aerial_of(A))
    np.testing.assert_array_equal(
        sample.aerial[4], np.clip(np.arange(512) - 3, 0, 255)[:, None].repeat(512, axis=1)
    )


def test_unknown_heights_are_zero(whole: Path, add: Write) -> None:
    heights = heights_of()
    heights[0, :, :100] = -9999.0
    heights[1, :, 100:200] = np.nan
    heights[:, :, 200:300] = -9999.0
    add(whole, A, "DEM_ELEV", heights, nodata=-9999.0)
    elevation = FlairHub(whole).read(A, None).aerial[4]
    assert (elevation[:, :300] == 0).all()
    assert elevation[400, 300] == 255


def test_without_heights_of_every_patch_there_is_no_elevation_band(published: Path) -> None:
    dataset = FlairHub(published)
    assert dataset.bands == ("red", "green", "blue", "nir")
    sample = dataset.read(A, None)
    np.testing.assert_array_equal(sample.aerial, aerial_of(A))


def test_classes_are_flair_2s(published: Path) -> None:
    labels = FlairHub(published).read(C, None).labels
    assert labels is not None
    names = [CLASSES[index].name for index in labels[7]]
    assert names == [COSIA[value % 19] for value in range(512)]


# Sentinel-2


def test_dates_and_bands_of_a_series_are_told_apart(published: Path) -> None:
    """With cells of the series' own size, every number comes through as it is."""
    spec = SatelliteSpec(window=10, cell_m=10.24)
    found = FlairHub(published).read(A, spec).satellite
    assert found is not None
    days = [datetime.datetime.strptime(day, "%Y%m%d").date() for day in DAYS]
    assert found.dates_used == (days[0], days[2], days[3]), "the second date is cloudy"
    assert np.flatnonzero(found.date_mask).tolist() == [0, 3, 10]
    for month, date in ((0, 0), (3, 2), (10, 3)):
        np.testing.assert_allclose(found.series[month], series_of()[date] / 1e4, rtol=1e-6)


def test_a_window_beyond_the_patch_repeats_its_outermost_cells(published: Path) -> None:
    spec = SatelliteSpec(window=40, cell_m=10.24)
    found = FlairHub(published).read(A, spec).satellite
    assert found is not None
    expected = np.pad(series_of()[0], [(0, 0), (15, 15), (15, 15)], "edge") / 1e4
    np.testing.assert_allclose(found.series[0], expected, rtol=1e-6)


def test_dates_go_by_their_index_and_not_by_their_place(tree: Path) -> None:
    shuffled = {str(index): DAYS[index] for index in (2, 0, 3, 1)}
    write_dates(tree, {A: json.dumps(shuffled), B: listed()})
    dataset = FlairHub(tree)
    ours, theirs = (dataset.read(patch, SPEC).satellite for patch in (A, B))
    assert ours is not None
    assert theirs is not None
    np.testing.assert_array_equal(ours.series, theirs.series)


def test_more_than_ten_dates_are_in_the_order_of_numbers(tree: Path, add: Write) -> None:
    days = tuple(f"2019{month:02d}05" for month in range(1, 13))
    dn = np.arange(1, 13, dtype=np.uint16).repeat(10)[:, None, None] * np.ones((1, 10, 10), "u2")
    add(tree, A, "SENTINEL2_TS", dn)
    add(tree, A, "SENTINEL2_MSK-SC", np.zeros((24, 10, 10), dtype=np.uint8))
    write_dates(tree, {A: listed(days)})
    found = FlairHub(tree).read(A, SPEC).satellite
    assert found is not None
    np.testing.assert_allclose(found.series[:, 0, 8, 8], np.arange(1, 13) / 1e4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_masks_may_be_of_any_numbers(tree: Path, add: Write, dtype: str) -> None:
    cover = np.zeros((2 * len(DAYS), 10, 10), dtype=dtype)
    cover[[3, 4]] = 100  # clouds of the second date, snow of the third
    add(tree, A, "SENTINEL2_MSK-SC", cover)
    found = FlairHub(tree).read(A, SPEC).satellite
    assert found is not None
    assert [f"{day:%Y%m%d}" for day in found.dates_used] == [DAYS[0], DAYS[3]]


# Splits


def test_splits_json_goes_before_the_published_splits(tree: Path) -> None:
    (tree / "splits.json").write_text(json.dumps({"train": [C], "val": [A]}))
    assert FlairHub(tree).splits == {"train": (C,), "val": (A,)}


def test_another_column_may_be_asked_for(tree: Path) -> None:
    path = tree / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg"
    write_table(path, "split_3", {A: "test", B: None, C: "train"})
    dataset = FlairHub(tree, split_column="split_3")
    assert dataset.splits == {"train": (C,), "val": (), "test": (A,)}
    assert dataset.fingerprint() != FlairHub(tree).fingerprint()


def test_without_published_splits_domains_decide(tree: Path, add: Write) -> None:
    (tree / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg").unlink()
    val = A.replace("D012", "D004")
    PLACES[val] = PLACES[A]
    add(tree, val, "AERIAL_RGBI", aerial_of(A))
    assert FlairHub(tree).splits == {"train": (A, B), "val": (val,), "test": (C,)}
