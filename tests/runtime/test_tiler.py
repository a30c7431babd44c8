import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import GridError
from runtime.tiler import TilePlan

sides = st.integers(1, 200)


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    size = draw(st.integers(1, 70))
    halo = draw(st.integers(0, (size - 1) // 2))
    return TilePlan(shape=(draw(sides), draw(sides)), size=size, halo=halo)


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
        assert (tile.row + plan.margin) % plan.stride == 0
        assert (tile.col + plan.margin) % plan.stride == 0
        rows, cols = tile.interior
        assert (rows.start, cols.start) == (tile.row + plan.margin, tile.col + plan.margin)


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


@given(height=st.integers(1, 64), width=st.integers(1, 64), halo=st.integers(0, 31))
def test_a_raster_that_fits_is_one_tile_without_halo(height: int, width: int, halo: int) -> None:
    plan = TilePlan(shape=(height, width), size=64, halo=halo)
    (tile,) = plan
    assert (tile.row, tile.col) == (0, 0)
    assert tile.interior == tile.source == (slice(0, height), slice(0, width))


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
