import math

import pytest
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.crs import CRS

from runtime.grid import Grid
from runtime.manifest import AerialSpec, Normalization
from runtime.stream.lattice import MOST_EXTRA, choose_lattice
from runtime.tiler import TilePlan

UTM = CRS.from_epsg(32631)


def spec_of(size: int, halo: int, stride: int) -> AerialSpec:
    return AerialSpec(
        bands=("red",),
        resolution_m=0.2,
        tile_size=size,
        halo=halo,
        stride=stride,
        halo_exact=True,
        normalization=Normalization(mean=(0.0,), std=(1.0,)),
    )


def grid_of(resolution: float, x: float, y: float, shape: tuple[int, int]) -> Grid:
    return Grid(shape, Affine(resolution, 0, x, 0, -resolution, y), UTM)


@given(
    ratio=st.sampled_from([8, 16, 20, 25, 32, 40, 50, 64]),
    stride=st.sampled_from([1, 4, 8, 16, 32]),
    interior=st.integers(1, 40),
    halo=st.integers(0, 80),
    shift=st.tuples(st.integers(-3000, 3000), st.integers(-3000, 3000)),
)
def test_tiles_begin_where_they_may(
    ratio: int, stride: int, interior: int, halo: int, shift: tuple[int, int]
) -> None:
    size = interior * stride + 2 * halo
    shape = (700, 900)
    assume(shape != (size, size))
    spec = spec_of(size, halo, stride)
    grid = grid_of(0.25, 500_000 + 0.25 * shift[1], 4_800_000 - 0.25 * shift[0], shape)
    satellite = grid_of(0.25 * ratio, 499_000, 4_801_000, (200, 200))
    found = choose_lattice(spec, grid, satellite)
    plan = TilePlan(shape=shape, size=size, halo=found.halo, origin=found.origin)

    assert plan.stride % found.step == 0
    assert found.step % stride == 0
    assert found.halo >= halo
    if found.on_satellite:
        assert found.step % ratio == 0
        assert ((size - 2 * halo) / plan.stride) ** 2 <= 1 + MOST_EXTRA
        # Every lattice corner is the corner of a Sentinel-2 pixel.
        for axis, offset in enumerate((shift[0] + 4000, shift[1] + 4000)):
            assert (offset + found.origin[axis]) % ratio == 0
    else:
        assert (found.halo, found.origin) == (halo, (0, 0))


def test_it_is_locked_where_that_costs_nothing() -> None:
    spec = spec_of(1024, 112, 32)
    satellite = grid_of(10.0, 499_000, 4_801_000, (500, 500))
    grid = grid_of(0.2, 500_003.0, 4_800_000, (5000, 5000))
    found = choose_lattice(spec, grid, satellite)
    assert found.on_satellite
    assert (found.step, found.halo, found.origin) == (math.lcm(32, 50), 112, (0, -15))


@pytest.mark.parametrize("case", ["none", "other CRS", "no whole ratio", "between pixels", "patch"])
def test_it_is_not_locked_where_grids_do_not_allow_it(case: str) -> None:
    shape = (1024, 1024) if case == "patch" else (5000, 5000)
    x = 500_000.1 if case == "between pixels" else 500_000.0
    satellite = grid_of(10.3 if case == "no whole ratio" else 10.0, 499_000, 4_801_000, (9, 9))
    if case == "other CRS":
        satellite = Grid(satellite.shape, satellite.transform, CRS.from_epsg(32632))
    found = choose_lattice(
        spec_of(1024, 112, 32),
        grid_of(0.2, x, 4_800_000, shape),
        None if case == "none" else satellite,
    )
    assert not found.on_satellite
    assert (found.step, found.halo, found.origin) == (32, 112, (0, 0))
