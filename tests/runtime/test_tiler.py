import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.aerial.extents import Extents
from runtime.errors import GridError
from runtime.tiler import TilePlan

sides = st.integers(1, 200)


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    size = draw(st.integers(1, 70))
    halo = draw(st.integers(0, (size - 1) // 2))
    shape = draw(st.one_of(st.just((size, size)), st.tuples(sides, sides)))
    starts = st.integers(2 * halo - size + 1, 0)
    return TilePlan(shape=shape, size=size, halo=halo, origin=(draw(starts), draw(starts)))


def origin_of(plan: TilePlan) -> tuple[int, int]:
    return (0, 0) if plan.is_single else plan.origin


@given(plans())
def test_interiors_partition_the_raster(plan: TilePlan) -> None:
    written = np.zeros(plan.shape, dtype=np.uint8)
    tiles = list(plan)
    for tile in tiles:
        written[tile.interior] += 1
    assert (written == 1).all()
    assert len(tiles) == len(plan)


@given(plans())
def test_every_tile_sits_on_one_lattice_and_none_is_pulled_back(plan: TilePlan) -> None:
    for tile in plan:
        for first, origin, interior in zip(
            (tile.row, tile.col), origin_of(plan), tile.interior, strict=True
        ):
            assert (first + plan.margin - origin) % plan.stride == 0
            assert interior.start == max(first + plan.margin, 0)


@given(plans(), st.integers(1, 9))
def test_strips_share_the_tiles_out(plan: TilePlan, wide: int) -> None:
    strips = plan.strips(wide)
    assert [strip.start for strip in strips] == [0, *(strip.stop for strip in strips[:-1])]
    assert strips[-1].stop == plan.shape[1]
    found = [tile for strip in strips for tile in plan.within(strip)]
    assert sorted(found, key=lambda tile: (tile.row, tile.col)) == list(plan)
    for strip in strips:
        tiles = list(plan.within(strip))
        assert len({tile.col for tile in tiles}) <= wide
        assert min(tile.interior[1].start for tile in tiles) == strip.start
        assert max(tile.interior[1].stop for tile in tiles) == strip.stop


@given(plans(), st.data())
def test_tiles_that_meet_windows_are_counted_as_if_one_looked_at_each(
    plan: TilePlan, data: st.DataObject
) -> None:
    windows = []
    for _ in range(data.draw(st.integers(0, 5))):
        starts = [data.draw(st.integers(0, side - 1)) for side in plan.shape]
        stops = [
            data.draw(st.integers(start + 1, side))
            for start, side in zip(starts, plan.shape, strict=True)
        ]
        windows.append((slice(starts[0], stops[0]), slice(starts[1], stops[1])))
    meeting = [
        tile
        for tile in plan
        if any(
            all(
                interior.start < part.stop and part.start < interior.stop
                for interior, part in zip(tile.interior, window, strict=True)
            )
            for window in windows
        )
    ]
    assert plan.meeting(Extents.of(windows)) == len(meeting)


def test_the_tiles_of_a_country_are_counted_in_seconds() -> None:
    side, sheets = 5000, 225
    plan = TilePlan(shape=(side * sheets, side * sheets), size=512, halo=32)
    edges = [slice(at, at + side) for at in range(0, side * sheets, side)]
    begin = time.process_time()
    assert plan.meeting(Extents.of([(rows, cols) for rows in edges for cols in edges])) == len(plan)
    assert time.process_time() - begin < 10.0


@given(plans())
def test_the_source_of_a_tile_is_its_interior_seen_from_the_tile(plan: TilePlan) -> None:
    for tile in plan:
        for interior, source, first in zip(
            tile.interior, tile.source, (tile.row, tile.col), strict=True
        ):
            assert (source.start + first, source.stop + first) == (interior.start, interior.stop)
            assert plan.margin <= source.start < source.stop <= plan.size - plan.margin


@given(plans())
def test_inner_pixels_have_the_whole_halo_around_them(plan: TilePlan) -> None:
    if plan.is_single:
        return
    for tile in plan:
        for source in tile.source:
            assert source.start >= plan.halo
            assert plan.size - source.stop >= plan.halo


@given(plans())
def test_tiles_come_row_by_row(plan: TilePlan) -> None:
    places = [(tile.row, tile.col) for tile in plan]
    assert places == sorted(places)


@given(halo=st.integers(0, 31), origin=st.integers(-1, 0))
def test_a_patch_is_one_tile_without_halo(halo: int, origin: int) -> None:
    plan = TilePlan(shape=(64, 64), size=64, halo=halo, origin=(origin, origin))
    (tile,) = plan
    assert (tile.row, tile.col) == (0, 0)
    assert tile.interior == tile.source == (slice(0, 64), slice(0, 64))


def test_a_smaller_raster_has_its_halo() -> None:
    (tile,) = TilePlan(shape=(20, 32), size=64, halo=16)
    assert (tile.row, tile.col) == (-16, -16)
    assert tile.interior == (slice(0, 20), slice(0, 32))


def test_a_strip_longer_than_a_tile_has_its_halo_on_both_axes() -> None:
    plan = TilePlan(shape=(1, 65), size=64, halo=16)
    first, *_ = tiles = list(plan)
    assert (first.row, first.col) == (-16, -16)
    assert [tile.interior[1] for tile in tiles] == [slice(0, 32), slice(32, 64), slice(64, 65)]


def test_a_halo_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(GridError, match="a halo of 32 px leaves no interior in a tile of 64 px"):
        TilePlan(shape=(10, 10), size=64, halo=32)


def test_a_raster_without_pixels_is_refused() -> None:
    with pytest.raises(GridError, match="a raster of 0 x 10 px has nothing to tile; expected"):
        TilePlan(shape=(0, 10), size=64, halo=0)


@pytest.mark.parametrize("origin", [(1, 0), (0, -32), (-40, 0)])
def test_a_lattice_that_skips_pixels_is_refused(origin: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="the lattice begins at"):
        TilePlan(shape=(100, 100), size=64, halo=16, origin=origin)
