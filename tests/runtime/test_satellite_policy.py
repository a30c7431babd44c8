"""What becomes of tiles whose Sentinel-2 is missing, late or cloudy."""

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from runtime.bundle import open_bundle
from runtime.errors import BundleError, DataError, SatelliteError
from runtime.geoseries import GeoSeries, open_series
from runtime.grid import Grid
from runtime.radiometry import DateOffset
from runtime.satellite import NotSeenError, SatelliteInput, SatelliteSpec, SatelliteStack
from runtime.satellite import window_cells as cells_of
from runtime.satellite_policy import (
    MissingSatellite,
    SatelliteFeeder,
    check_policy,
    state_of,
)

POLICIES: tuple[MissingSatellite, ...] = ("nearest-dates", "refuse", "aerial-only")
SPEC = SatelliteSpec(window=8)
GRID = Grid((2000, 4000), Affine(0.2, 0, 861_904.6, 0, -0.2, 6_523_377.2), CRS.from_epsg(2154))
DATES = (datetime.date(2021, 4, 3), datetime.date(2021, 7, 9))


class Series:
    """Cells of 50 px on the tile grid: clear in the west, under cloud in the middle, then empty."""

    name, dates = "a series", 2

    radiometry: tuple[DateOffset, ...] = ()

    def source_files(self) -> tuple[Path, ...]:
        return ()

    def __init__(self) -> None:
        dn = np.full((2, 10, 40, 60), 3000, dtype=np.uint16)
        dn[:, :, :, 45:] = 0
        cover = np.zeros((2, 2, 40, 60), dtype=np.uint8)
        cover[:, :, :, 20:] = 100
        self.stack = SatelliteStack(dn=dn, cover=cover, dates=DATES, offsets=(0, 0))
        self.asked: list[tuple[float, float]] = []

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        assert grid is GRID
        self.asked.append((row, col))
        return spec.prepare(self.stack, *cells_of(row / 50, col / 50, spec.window))


CLEAR, COVERED, EMPTY, BEYOND = (1000, 500), (1000, 1500), (1000, 2700), (1000, 3900)


def feeder(policy: MissingSatellite) -> SatelliteFeeder:
    return SatelliteFeeder(Series(), SPEC, policy=policy, grid=GRID)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_tile_with_a_clear_date_takes_the_clear_dates(policy: MissingSatellite) -> None:
    fed = feeder(policy)
    found = fed.prepare(*CLEAR)
    assert found is not None
    assert found.clear
    assert found.dates_used == DATES
    assert state_of(found) == "clear"
    assert fed.tiles == {"clear": 1}
    assert fed.dates_used == set(DATES)


def test_without_a_clear_date_the_least_covered_ones_are_taken() -> None:
    fed = feeder("nearest-dates")
    found = fed.prepare(*COVERED)
    assert found is not None
    assert not found.clear
    assert state_of(found) == "covered"
    np.testing.assert_allclose(found.series[3], 0.3)
    fed.prepare(*CLEAR)
    fed.prepare(*COVERED)
    assert fed.tiles == {"covered": 2, "clear": 1}


def test_without_a_clear_date_a_tile_may_be_refused() -> None:
    fed = feeder("refuse")
    with pytest.raises(SatelliteError, match="a series has no clear date around row 1000") as found:
        fed.prepare(*COVERED)
    assert not isinstance(found.value, NotSeenError)
    assert "; expected one under --missing-satellite refuse; add clear dates" in str(found.value)
    assert fed.tiles == {}


@pytest.mark.parametrize("place", [EMPTY, BEYOND])
@pytest.mark.parametrize("policy", ["nearest-dates", "refuse"])
def test_a_tile_that_nothing_shows_is_refused_with_the_way_out(
    policy: MissingSatellite, place: tuple[float, float]
) -> None:
    with pytest.raises(NotSeenError, match=r"--missing-satellite aerial-only$") as found:
        feeder(policy).prepare(*place)
    assert str(found.value).count("\n") == 0
    assert "; give a series that covers the aerial image, or map such tiles" in str(found.value)


def test_tiles_may_be_left_to_the_aerial_image() -> None:
    fed = feeder("aerial-only")
    assert [fed.prepare(*place) for place in (COVERED, EMPTY, BEYOND)] == [None] * 3
    assert fed.prepare(*CLEAR) is not None
    assert fed.tiles == {"aerial_only": 3, "clear": 1}
    assert fed.dates_used == set(DATES)


def test_without_a_series_only_aerial_only_goes_on() -> None:
    fed = SatelliteFeeder(None, SPEC, policy="aerial-only", grid=GRID)
    assert fed.prepare(*CLEAR) is None
    assert fed.tiles == {"aerial_only": 1}
    for policy in POLICIES[:2]:
        with pytest.raises(NotSeenError, match=r"there is no Sentinel-2 series .*; name it with"):
            SatelliteFeeder(None, SPEC, policy=policy, grid=GRID)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_damaged_series_is_never_passed_over(policy: MissingSatellite) -> None:
    class Damaged(Series):
        def prepare(self, *_: Any) -> SatelliteInput:
            raise SatelliteError("the file cannot be read; expected whole data; restore it")

    with pytest.raises(SatelliteError, match=r"^the file cannot be read; .*; restore it$"):
        SatelliteFeeder(Damaged(), SPEC, policy=policy, grid=GRID).prepare(*CLEAR)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_file_that_vanishes_is_never_passed_over(
    policy: MissingSatellite, write_series: Callable[..., Path], tmp_path: Path
) -> None:
    series: GeoSeries = open_series(write_series(tmp_path))
    fed = SatelliteFeeder(series, SPEC, policy=policy, grid=GRID)
    (tmp_path / "S2_20210425.tif").unlink()
    with pytest.raises(DataError, match=r"S2_20210425\.tif is not there"):
        fed.prepare(100, 100)


def test_a_patch_without_a_series_counts_as_not_seen(
    add_area: Callable[..., Path],
) -> None:
    from runtime.scene import find_scenes

    root = add_area({"IMG_000001": (30, 25)}, satellite=False)
    (scene,) = find_scenes(root, None, needs_satellite=True)
    grid = scene.open().info.grid
    fed = SatelliteFeeder(scene.satellite, SPEC, policy="aerial-only", grid=grid)
    assert fed.prepare(256, 256) is None
    with pytest.raises(NotSeenError, match="has no Sentinel-2 series"):
        SatelliteFeeder(scene.satellite, SPEC, grid=grid).prepare(256, 256)


def test_only_a_model_that_says_so_maps_from_the_aerial_image_alone(tiny_bundle: Path) -> None:
    card = open_bundle(tiny_bundle).card
    with pytest.raises(BundleError, match=r"tiny does not say .*; expected .*; export it again"):
        check_policy("aerial-only", dataclasses.replace(card, single_branch=False))
    check_policy("aerial-only", dataclasses.replace(card, single_branch=True))
    check_policy("aerial-only", dataclasses.replace(card, single_branch=False, satellite=None))
    for policy in POLICIES[:2]:
        check_policy(policy, dataclasses.replace(card, single_branch=False))
