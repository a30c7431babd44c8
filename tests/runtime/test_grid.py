import math

import numpy as np
import pytest
import rasterio.warp
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from runtime.errors import GridError
from runtime.grid import Grid

LAMBERT = CRS.from_epsg(2154)
UTM31 = CRS.from_epsg(32631)
GEOGRAPHIC = CRS.from_epsg(4326)
LOCAL = CRS.from_wkt('LOCAL_CS["unnamed",UNIT["metre",1]]')
FEET = CRS.from_epsg(2263)

positions = st.floats(-500, 1500, allow_nan=False)
angles = st.floats(-math.pi, math.pi)
sizes = st.integers(1, 9)


def turned(
    angle: float,
    pixel: tuple[float, float] = (0.2, 0.2),
    corner: tuple[float, float] = (7e5, 6.6e6),
) -> Affine:
    """Transform of a raster turned by an angle; pixel is its width and height in metres."""
    cos, sin = math.cos(angle), math.sin(angle)
    width, height = pixel
    return Affine(cos * width, sin * height, corner[0], sin * width, -cos * height, corner[1])


AERIAL = Grid((700, 900), turned(0), LAMBERT)
# Covers AERIAL: its corner lies at about (499 800, 5 149 600) in UTM 31N.
SATELLITE = Grid((60, 70), Affine(10, 0, 499_600, 0, -10, 5_149_850), UTM31)


def on_ground(grid: Grid, row: float, col: float) -> tuple[float, float]:
    """x and y of a position in pixel edges, written out."""
    t = grid.transform
    return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f


@given(angle=angles, row=positions, col=positions, size=sizes)
def test_the_centre_of_the_window_maps_to_the_centre(
    angle: float, row: float, col: float, size: int
) -> None:
    aerial = Grid((700, 900), turned(angle), LAMBERT)
    target = Grid((80, 80), Affine(10, 0, 699_000, 0, -10, 6_601_000), LAMBERT)
    rows, cols = aerial.cells_around(row, col, size=size, cell_m=10, target=target)
    x, y = on_ground(aerial, row, col)
    assert rows.mean() == pytest.approx((6_601_000 - y) / 10 - 0.5, abs=1e-6)
    assert cols.mean() == pytest.approx((x - 699_000) / 10 - 0.5, abs=1e-6)


@given(angle=angles, row=positions, col=positions)
def test_cells_are_10_m_apart_on_the_ground_along_the_aerial_axes(
    angle: float, row: float, col: float
) -> None:
    aerial = Grid((700, 900), turned(angle), LAMBERT)
    target = Grid((80, 80), Affine(10, 0, 699_000, 0, -10, 6_601_000), LAMBERT)
    rows, cols = aerial.cells_around(row, col, size=6, cell_m=10, target=target)
    down = np.diff(rows, axis=0), np.diff(cols, axis=0)
    across = np.diff(rows, axis=1), np.diff(cols, axis=1)
    np.testing.assert_allclose(down[0], math.cos(angle), atol=1e-6)
    np.testing.assert_allclose(down[1], math.sin(angle), atol=1e-6)
    np.testing.assert_allclose(across[0], -math.sin(angle), atol=1e-6)
    np.testing.assert_allclose(across[1], math.cos(angle), atol=1e-6)


@given(row=positions, col=positions)
def test_between_two_crs_cells_stay_10_m_apart_within_the_projections_scale(
    row: float, col: float
) -> None:
    rows, cols = AERIAL.cells_around(row, col, size=8, cell_m=10, target=SATELLITE)
    for axis in (0, 1):
        apart = np.hypot(np.diff(rows, axis=axis), np.diff(cols, axis=axis))
        np.testing.assert_allclose(apart, 1, atol=2e-3)
    assert (np.diff(rows, axis=0) > 0.99).all()
    assert (np.diff(cols, axis=1) > 0.99).all()


@given(angle=angles, row=positions, col=positions)
def test_there_and_back_between_two_crs_is_the_same_place(
    angle: float, row: float, col: float
) -> None:
    aerial = Grid((700, 900), turned(angle), LAMBERT)
    there = aerial.cells_around(row, col, size=1, cell_m=10, target=SATELLITE)
    at = float(there[0][0, 0]) + 0.5, float(there[1][0, 0]) + 0.5
    back = SATELLITE.cells_around(*at, size=1, cell_m=10, target=aerial)
    assert back[0][0, 0] + 0.5 == pytest.approx(row, abs=1e-3)
    assert back[1][0, 0] + 0.5 == pytest.approx(col, abs=1e-3)


def test_cells_lie_where_the_projection_library_says() -> None:
    rows, cols = AERIAL.cells_around(300, 500, size=2, cell_m=10, target=SATELLITE)
    x, y = on_ground(AERIAL, 300, 500)
    (east,), (north,) = rasterio.warp.transform(LAMBERT, UTM31, [x + 5], [y - 5])
    assert rows[1, 1] == pytest.approx((5_149_850 - north) / 10 - 0.5, abs=1e-6)
    assert cols[1, 1] == pytest.approx((east - 499_600) / 10 - 0.5, abs=1e-6)
    assert 0 < rows[1, 1] < 60
    assert 0 < cols[1, 1] < 70


@given(angle=angles, row=positions, col=positions, size=st.integers(1, 64))
@settings(max_examples=25)
def test_every_cell_lies_where_the_projection_library_says_to_a_thousandth_of_a_millimetre(
    angle: float, row: float, col: float, size: int
) -> None:
    aerial = Grid((700, 900), turned(angle), LAMBERT)
    found = aerial.cells_around(row, col, size=size, cell_m=10, target=SATELLITE)
    metres = (np.arange(size) + 0.5 - size / 2) * 10
    rows, cols = np.meshgrid(row + metres / 0.2, col + metres / 0.2, indexing="ij")
    t = aerial.transform
    xs, ys = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
    east, north = rasterio.warp.transform(LAMBERT, UTM31, xs.ravel(), ys.ravel())
    expected = (5_149_850 - np.array(north)) / 10 - 0.5, (np.array(east) - 499_600) / 10 - 0.5
    for axis in (0, 1):
        np.testing.assert_allclose(found[axis].ravel(), expected[axis], rtol=0, atol=1e-7)


def test_a_window_of_pixels_that_are_not_square_is_square_on_the_ground() -> None:
    aerial = Grid((700, 900), turned(0.3, (0.1, 0.4)), LAMBERT)
    target = Grid((80, 80), turned(0.3, (10, 10)), LAMBERT)
    rows, cols = aerial.cells_around(0, 0, size=2, cell_m=10, target=target)
    np.testing.assert_allclose(rows + 0.5, [[-0.5, -0.5], [0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(cols + 0.5, [[-0.5, 0.5], [-0.5, 0.5]], atol=1e-6)


def test_a_grid_in_feet_counts_in_metres() -> None:
    grid = Grid((10, 10), Affine(1, 0, 1e6, 0, -1, 2e5), FEET)
    assert grid.resolution_m == pytest.approx(0.3048, rel=1e-5)
    rows, _ = grid.cells_around(5, 5, size=2, cell_m=3.048, target=grid)
    assert np.diff(rows, axis=0)[0, 0] == pytest.approx(10, rel=1e-5)


def test_a_grid_in_degrees_has_no_resolution_in_metres_and_no_window() -> None:
    grid = Grid((10, 10), Affine(1e-5, 0, 3, 0, -1e-5, 49), GEOGRAPHIC)
    assert math.isnan(grid.resolution_m)
    with pytest.raises(GridError, match="is in EPSG:4326, which does not count in metres"):
        grid.cells_around(5, 5, size=2, cell_m=10, target=SATELLITE)


def test_a_series_in_degrees_can_be_the_target() -> None:
    target = Grid((60, 50), Affine(1e-4, 0, 2.99, 0, -1e-4, 49.1), GEOGRAPHIC)
    rows, _ = AERIAL.cells_around(5, 5, size=4, cell_m=10, target=target)
    assert (np.diff(rows, axis=0) > 0).all()


def test_two_crs_that_cannot_be_related_are_named_in_one_line() -> None:
    local = Grid((10, 10), turned(0), LOCAL)
    for ask in (
        lambda: AERIAL.cells_around(5, 5, size=2, cell_m=10, target=local),
        lambda: AERIAL.overlaps(local),
    ):
        with pytest.raises(GridError, match=r"cannot be transformed .* reproject one") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_place_off_the_earth_cannot_be_transformed() -> None:
    # Nothing lies 4e8 m from the origin of a transverse Mercator projection.
    far = Grid((10, 10), turned(0, corner=(4e8, 4e8)), UTM31)
    with pytest.raises(GridError, match="cannot be transformed to EPSG:3857"):
        far.cells_around(
            5, 5, size=2, cell_m=10, target=Grid((9, 9), turned(0), CRS.from_epsg(3857))
        )


@given(angle=angles, row=st.integers(-9000, 9000), col=st.integers(-9000, 9000))
def test_a_crop_lies_at_its_offset(angle: float, row: int, col: int) -> None:
    grid = Grid((700, 900), turned(angle), LAMBERT)
    crop = grid.crop(row, col, 30, 40)
    assert crop.shape == (30, 40)
    assert grid.offset_of(crop) == (row, col)
    assert crop.offset_of(grid) == (-row, -col)
    assert on_ground(crop, 2, 3) == pytest.approx(on_ground(grid, row + 2, col + 3), abs=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        Grid((700, 900), turned(0, corner=(7e5 + 0.1, 6.6e6)), LAMBERT),
        Grid((700, 900), turned(0, corner=(7e5, 6.6e6 + 0.01)), LAMBERT),
        Grid((700, 900), turned(0, (0.25, 0.25)), LAMBERT),
        Grid((700, 900), turned(0, (0.2, 0.20001)), LAMBERT),
        Grid((700, 900), turned(1e-4), LAMBERT),
        Grid((700, 900), Affine(0.2, 0, 7e5, 0, 0.2, 6.6e6), LAMBERT),
        Grid((700, 900), turned(0), UTM31),
    ],
    ids=["half a pixel", "a twentieth", "coarser", "stretched", "turned", "upside down", "CRS"],
)
def test_a_grid_on_another_lattice_has_no_offset(other: Grid) -> None:
    assert AERIAL.offset_of(other) is None


def test_rounding_in_a_files_corner_keeps_the_lattice() -> None:
    other = Grid((700, 900), turned(0, corner=(7e5 + 200.2 + 1e-4, 6.6e6 - 40.4 - 1e-4)), LAMBERT)
    assert AERIAL.offset_of(other) == (202, 1001)


def test_grids_in_two_crs_overlap_where_their_ground_does() -> None:
    assert AERIAL.overlaps(SATELLITE)
    assert SATELLITE.overlaps(AERIAL)
    elsewhere = Grid((60, 50), Affine(10, 0, 510_000, 0, -10, 5_149_850), UTM31)
    assert not AERIAL.overlaps(elsewhere)
    assert not elsewhere.overlaps(AERIAL)


@given(row=st.integers(-1500, 1500), col=st.integers(-1500, 1500))
def test_grids_of_one_crs_overlap_exactly_when_their_rectangles_do(row: int, col: int) -> None:
    expected = -50 < row < 700 and -60 < col < 900
    other = AERIAL.crop(row, col, 50, 60)
    # Touching edges are decided by rounding.
    if row not in (-50, 700) and col not in (-60, 900):
        assert AERIAL.overlaps(other) == other.overlaps(AERIAL) == expected


@given(angle=angles)
def test_bounds_hold_every_corner_and_touch_them(angle: float) -> None:
    grid = Grid((700, 900), turned(angle), LAMBERT)
    corners = [on_ground(grid, row, col) for row in (0, 700) for col in (0, 900)]
    left, bottom, right, top = grid.bounds
    assert (left, right) == (min(x for x, _ in corners), max(x for x, _ in corners))
    assert (bottom, top) == (min(y for _, y in corners), max(y for _, y in corners))


@given(angle=angles)
def test_the_centre_is_halfway_between_opposite_corners(angle: float) -> None:
    grid = Grid((700, 900), turned(angle), LAMBERT)
    assert grid.centre == pytest.approx(on_ground(grid, 350, 450), abs=1e-6)


def test_resolution_and_area_are_those_on_the_ground() -> None:
    assert AERIAL.resolution_m == pytest.approx(0.2)
    assert AERIAL.area_km2 == pytest.approx(700 * 900 * 0.04 / 1e6)
    assert Grid((700, 900), turned(1.1), LAMBERT).resolution_m == pytest.approx(0.2)
