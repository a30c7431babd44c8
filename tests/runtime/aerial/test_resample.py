"""Laws: a window is the crop of the whole, bit for bit; constants, planes and means are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS

from runtime.aerial import resample
from runtime.aerial.mosaic import AerialFile
from runtime.aerial.reader import AerialWindow, Damage
from runtime.aerial.resample import Nearest, ResampledView, TileGrid, Weights, tile_grid
from runtime.errors import GridError
from runtime.grid import Grid
from runtime.manifest import AerialSpec, Normalization
from runtime.raster import RasterInfo

SPEC = AerialSpec(
    bands=("red", "nir"),
    resolution_m=0.2,
    tile_size=64,
    halo=16,
    stride=4,
    halo_exact=True,
    normalization=Normalization(mean=(0.0,) * 2, std=(1.0,) * 2),
)
SIDES = (0.05, 0.08, 0.1, 0.15, 0.17, 0.3, 0.37, 0.5, 1.0)
SIDE = st.one_of(st.sampled_from(SIDES), st.floats(0.05, 0.17), st.floats(0.23, 1.5))
SHAPE = st.tuples(st.integers(1, 40), st.integers(1, 40))


def mosaic(
    shape: tuple[int, int], height: float = 0.2, width: float | None = None, epsg: int = 2154
) -> Grid:
    transform = Affine(width or height, 0, 7e5, 0, -height, 6.6e6)
    return Grid(shape, transform, CRS.from_epsg(epsg))


@dataclass
class ArrayView:
    """A view of arrays in memory."""

    grid: Grid
    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    damaged: NDArray[np.bool_] | None = None
    damage: Sequence[Damage] = ()
    closed: bool = False
    reads: list[tuple[slice, slice]] = field(default_factory=list)

    def read(self, rows: slice, cols: slice) -> AerialWindow:
        assert 0 <= rows.start < rows.stop <= self.grid.shape[0]
        assert 0 <= cols.start < cols.stop <= self.grid.shape[1]
        self.reads.append((rows, cols))
        return AerialWindow(
            pixels=self.pixels[:, rows, cols],
            valid=self.valid[rows, cols],
            damaged=None if self.damaged is None else self.damaged[rows, cols],
        )

    def close(self) -> None:
        self.closed = True


def view_of(pixels: NDArray[np.uint8], grid: Grid, valid: NDArray[np.bool_]) -> ArrayView:
    return ArrayView(grid=grid, pixels=pixels, valid=valid)


def random_view(grid: Grid, seed: int, holes: int = 3) -> ArrayView:
    rng = np.random.default_rng(seed)
    valid = np.ones(grid.shape, dtype=np.bool_)
    for _ in range(holes):
        valid[rng.integers(grid.shape[0]), rng.integers(grid.shape[1])] = False
    return view_of(rng.integers(0, 256, (2, *grid.shape), dtype=np.uint8), grid, valid)


def all_of(view: ResampledView) -> AerialWindow:
    height, width = view.grid.shape
    return view.read(slice(0, height), slice(0, width))


def one_axis(scale: float, size: int, count: int) -> NDArray[np.float64]:
    """Weights as the text defines them: shares of a box; shape (pixels wanted, source pixels)."""
    matrix = np.zeros((count, size))
    box = max(scale, 1.0)
    for pixel in range(count):
        low = (pixel + 0.5) * scale - box / 2
        for source in range(int(np.floor(low)), int(np.ceil(low + box))):
            share = min(source + 1, low + box) - max(source, low)
            matrix[pixel, min(max(source, 0), size - 1)] += share / box
    return matrix


# Which grid the tiles are cut from.


@pytest.mark.parametrize("side", [0.181, 0.2, 0.219])
@pytest.mark.parametrize("asked", [True, False])
def test_a_resolution_within_a_tenth_is_not_touched(side: float, asked: bool) -> None:
    grid = mosaic((30, 40), side)
    tiles = tile_grid(grid, SPEC, asked)
    assert tiles.grid is grid
    assert not tiles.resampled
    assert tiles.text is None


@pytest.mark.parametrize(("height", "width"), [(0.17, 0.17), (1.0, 1.0), (0.2, 0.3), (0.3, 0.2)])
def test_a_resolution_further_off_is_refused_unless_asked_for(height: float, width: float) -> None:
    grid = mosaic((30, 40), height, width)
    with pytest.raises(GridError, match=r"^a.tif has \d\.\d{3} m per pixel") as refused:
        tile_grid(grid, SPEC, False, name="a.tif")
    assert "; expected 0.200 m within 10%; pass --resample, or" in str(refused.value)
    assert tile_grid(grid, SPEC, True).resampled


def test_degrees_are_refused() -> None:
    with pytest.raises(GridError, match="is in EPSG:4326, which is not in metres; expected a proj"):
        tile_grid(mosaic((30, 40), 2e-6, epsg=4326), SPEC, True)


def test_feet_are_counted_in_metres() -> None:
    tiles = tile_grid(mosaic((30, 40), 1.0, epsg=2263), SPEC, True)
    assert tiles.row_scale == pytest.approx(0.2 / 0.3048, rel=1e-5)
    assert tiles.grid.resolution_m == pytest.approx(0.2)


@given(shape=SHAPE, height=SIDE, width=SIDE)
def test_the_grid_has_the_models_pixels_over_the_same_ground(
    shape: tuple[int, int], height: float, width: float
) -> None:
    grid = mosaic(shape, height, width)
    found = tile_grid(grid, SPEC, True).grid
    t = found.transform
    assert t[:6] == pytest.approx((0.2, 0, 7e5, 0, -0.2, 6.6e6))
    for size, side, covering in zip(shape, (height, width), found.shape, strict=True):
        assert covering * 0.2 >= size * side - 1e-6
        assert (covering - 1) * 0.2 < size * side


def test_a_turned_grid_stays_turned() -> None:
    grid = Grid((30, 40), Affine(0.32, 0.24, 7e5, 0.24, -0.32, 6.6e6), CRS.from_epsg(2154))
    tiles = tile_grid(grid, SPEC, True)
    assert tiles.grid.shape == (60, 80)
    assert np.allclose(tiles.grid.transform[:6], (0.16, 0.12, 7e5, 0.12, -0.16, 6.6e6))


def test_the_text_says_what_was_done() -> None:
    text = tile_grid(mosaic((30, 40), 0.5), SPEC, True).text
    assert text == "from 0.500 m to 0.200 m (bilinear), maps back by nearest pixel"
    text = tile_grid(mosaic((30, 40), 0.1), SPEC, True).text
    assert text == "from 0.100 m to 0.200 m (area average), maps back by nearest pixel"


# The way back.


def placed(grid: Grid, row: int, col: int, shape: tuple[int, int]) -> AerialFile:
    info = RasterInfo(
        path=Path("a.tif"),
        grid=grid.crop(row, col, *shape),
        count=2,
        dtype="uint8",
        nodata=None,
        bands=("red", "nir"),
        tags={},
    )
    return AerialFile(path=info.path, info=info, row=row, col=col)


def test_without_resampling_the_way_back_is_an_offset() -> None:
    grid = mosaic((30, 40))
    tiles, file = tile_grid(grid, SPEC, False), placed(grid, 5, 7, (20, 30))
    np.testing.assert_array_equal(tiles.rows_of(file), np.arange(5, 25))
    np.testing.assert_array_equal(tiles.cols_of(file), np.arange(7, 37))


@given(shape=SHAPE, height=SIDE, width=SIDE, data=st.data())
def test_a_pixel_of_a_file_lies_in_the_pixel_that_it_is_given(
    shape: tuple[int, int], height: float, width: float, data: st.DataObject
) -> None:
    grid = mosaic(shape, height, width)
    tiles = tile_grid(grid, SPEC, True)
    row, col = (data.draw(st.integers(0, size - 1)) for size in shape)
    file = placed(grid, row, col, (shape[0] - row, shape[1] - col))
    for places, start, size, side, axis in (
        (tiles.rows_of(file), row, shape[0], height, 0),
        (tiles.cols_of(file), col, shape[1], width, 1),
    ):
        centres = (np.arange(start, size) + 0.5) * side / 0.2
        assert isinstance(places, (range, Nearest))
        found = np.asarray(places, dtype=np.intp)
        if isinstance(places, Nearest):
            np.testing.assert_array_equal(places.array(), found)
            np.testing.assert_array_equal(places[1:-1].array(), found[1:-1])
        assert found.shape == (size - start,)
        assert found.min() >= 0
        assert found.max() < tiles.grid.shape[axis]
        assert (found <= centres + 1e-5).all()
        assert (centres < found + 1 + 1e-5).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_centres_on_an_edge_go_to_the_pixel_after_it(factor: int) -> None:
    for side in (0.2 * factor, 0.2 * factor * (1 + 1e-12)):
        grid = mosaic((30, 40), side)
        found = tile_grid(grid, SPEC, True).rows_of(placed(grid, 0, 0, (30, 40)))
        np.testing.assert_array_equal(found, np.arange(30) * factor + factor // 2)


# Weights.


@given(scale=st.floats(0.05, 8), size=st.integers(1, 60), data=st.data())
def test_weights_are_shares_of_a_box(scale: float, size: int, data: st.DataObject) -> None:
    count = max(1, int(np.ceil(size / scale - 1e-6)))
    start = data.draw(st.integers(0, count - 1))
    run = slice(start, data.draw(st.integers(start + 1, count)))
    weights = Weights(run, scale, size)
    found = np.zeros((run.stop - run.start, size))
    for place, weight in weights.taps:
        assert weights.source.start + place.max() < weights.source.stop
        np.add.at(found, (np.arange(len(found)), weights.source.start + place), weight / 4096)
    np.testing.assert_array_equal(found.sum(axis=1), 1)
    assert np.abs(found - one_axis(scale, size, count)[run]).max() <= 1.01 / 4096
    used = np.flatnonzero(found.any(axis=0))
    assert weights.source == slice(used.min(), used.max() + 1), "nothing is read in vain"


# Pixels.


@given(shape=SHAPE, height=SIDE, width=SIDE, seed=st.integers(0, 99), data=st.data())
def test_any_window_is_the_crop_of_the_whole(
    shape: tuple[int, int], height: float, width: float, seed: int, data: st.DataObject
) -> None:
    grid = mosaic(shape, height, width)
    tiles = tile_grid(grid, SPEC, True)
    view = random_view(grid, seed)
    view.damaged = ~view.valid
    resampled = ResampledView(view, tiles)
    whole = all_of(resampled)
    runs = []
    for size in tiles.grid.shape:
        start = data.draw(st.integers(0, size - 1))
        runs.append(slice(start, data.draw(st.integers(start + 1, size))))
    found = resampled.read(*runs)
    np.testing.assert_array_equal(found.pixels, whole.pixels[:, runs[0], runs[1]])
    np.testing.assert_array_equal(found.valid, whole.valid[tuple(runs)])
    assert found.damaged is not None
    np.testing.assert_array_equal(found.damaged, ~found.valid)


@given(shape=SHAPE, height=SIDE, width=SIDE, seed=st.integers(0, 99))
def test_pixels_are_weighted_along_both_axes(
    shape: tuple[int, int], height: float, width: float, seed: int
) -> None:
    tiles = tile_grid(mosaic(shape, height, width), SPEC, True)
    view = random_view(mosaic(shape, height, width), seed)
    found = all_of(ResampledView(view, tiles))
    down = one_axis(tiles.row_scale, shape[0], tiles.grid.shape[0])
    across = one_axis(tiles.col_scale, shape[1], tiles.grid.shape[1])
    exact = np.einsum("ir,brc,jc->bij", down, view.pixels.astype(float), across)
    assert found.pixels.dtype == np.uint8
    # Half a unit of rounding, and what 12 bits leave of each weight.
    assert np.abs(found.pixels - exact).max() <= 0.5 + 2 * 255 * 40 / 2 / 4096
    hidden = np.einsum("ir,rc,jc->ij", down, ~view.valid, across)
    assert found.valid[hidden == 0].all()
    assert not found.valid[hidden > 2e-3].any()


@given(value=st.integers(0, 255), height=SIDE, width=SIDE, shape=SHAPE)
def test_a_constant_stays_constant(
    value: int, height: float, width: float, shape: tuple[int, int]
) -> None:
    grid = mosaic(shape, height, width)
    view = view_of(np.full((1, *shape), value, np.uint8), grid, np.ones(shape, dtype=np.bool_))
    found = all_of(ResampledView(view, tile_grid(grid, SPEC, True)))
    assert (found.pixels == value).all()
    assert found.valid.all()
    assert found.damaged is None


def test_whole_pixels_are_averaged_exactly() -> None:
    grid = mosaic((12, 20), 0.1)
    view = random_view(grid, 7, holes=0)
    found = all_of(ResampledView(view, tile_grid(grid, SPEC, True))).pixels
    blocks = view.pixels.reshape(2, 6, 2, 10, 2).astype(int).sum(axis=(2, 4))
    np.testing.assert_array_equal(found, (blocks + 2) // 4)


@given(
    side=st.sampled_from([0.05, 0.0625, 0.08, 0.1, 0.125, 0.15, 0.17, 0.25]),
    period=st.floats(2.0, 40.0),
    phase=st.floats(0.0, 6.28),
)
def test_a_pattern_is_weakened_as_by_its_mean_over_a_pixel(
    side: float, period: float, phase: float
) -> None:
    """What is finer than the model's pixels is averaged out; bare sampling would show moire."""
    grid = mosaic((1, 400), 0.2, side)
    wave = np.cos(2 * np.pi * np.arange(400) / period + phase)
    stripes = np.rint(128 + 100 * wave).astype(np.uint8)[None, None]
    view = view_of(stripes, grid, np.ones((1, 400), dtype=np.bool_))
    found = all_of(ResampledView(view, tile_grid(grid, SPEC, True))).pixels[0, 0, 3:-3]
    box = max(0.2 / side, 1.0)
    # A row of pixels is a staircase: it holds the wave, and weaker ones of higher frequencies.
    waves = 1 / period + np.arange(-50, 51)
    left = np.abs(np.sinc(waves) * np.sinc(waves * box)).sum()
    assert np.abs(found.astype(float) - 128).max() <= 100 * left + 1.1


def test_one_hidden_pixel_hides_its_neighbours_only() -> None:
    grid = mosaic((6, 6), 0.4)
    view = random_view(grid, 1, holes=0)
    view.valid[2, 3] = False
    found = all_of(ResampledView(view, tile_grid(grid, SPEC, True)))
    hidden = np.zeros((12, 12), dtype=np.bool_)
    hidden[3:7, 5:9] = True
    np.testing.assert_array_equal(~found.valid, hidden)


def test_large_windows_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = mosaic((60, 40), 0.08)
    view, tiles = random_view(grid, 3), tile_grid(grid, SPEC, True)
    whole = all_of(ResampledView(view, tiles))
    view.reads.clear()
    monkeypatch.setattr(resample, "_PIECE_PX", 400)
    found = all_of(ResampledView(view, tiles))
    np.testing.assert_array_equal(found.pixels, whole.pixels)
    np.testing.assert_array_equal(found.valid, whole.valid)
    assert found.damaged is None
    rows = [read[0].stop - read[0].start for read in view.reads]
    assert len(rows) > 1
    assert max(rows) * 40 <= 400 + 3 * 40
    assert sum(rows) <= 60 + len(rows)


def test_the_pixels_held_are_bounded_by_the_finer_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_PIECE_PX", 3000)
    assert resample.resample_bytes(5) == 3000 * (12 + 16)
    view = random_view(mosaic((20, 30), 2.0), 3)
    resampled = ResampledView(view, tile_grid(view.grid, SPEC, True))
    assert all_of(resampled).pixels.shape == (2, 200, 300)
    assert len(view.reads) == 20


def test_the_view_behind_is_passed_on() -> None:
    grid = mosaic((6, 6), 0.4)
    view = random_view(grid, 1)
    view.damage = (Damage(path="a.tif", row=0, col=0, height=1, width=1),)
    tiles: TileGrid = tile_grid(grid, SPEC, True)
    resampled = ResampledView(view, tiles)
    assert resampled.grid is tiles.grid
    assert resampled.damage is view.damage
    resampled.close()
    assert view.closed
