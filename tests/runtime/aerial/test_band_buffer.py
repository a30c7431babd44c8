import tracemalloc
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aerial_files import noise, scenes_of, spoil_block, transform_at, write_file
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS

from runtime.aerial.band import BandBuffer, band_bytes
from runtime.aerial.mosaic import join
from runtime.aerial.reader import AerialView, AerialWindow, Damage, MosaicReader
from runtime.grid import Grid
from runtime.raster import RasterReader, reflected
from runtime.tiler import Tile, TilePlan


class Imagery:
    """A view of arrays that notes what is read."""

    damage: Sequence[Damage] = ()

    def __init__(self, shape: tuple[int, int], *, channels: int = 2, damaged: bool = False) -> None:
        self.grid = Grid(shape, transform_at(0, 0), CRS.from_epsg(2154))
        self.pixels = noise(channels, *shape)
        self.valid = self.pixels[0] > 60
        self.damaged = self.pixels[0] < 20 if damaged else None
        self.reads: list[tuple[slice, slice]] = []

    def read(self, rows: slice, cols: slice) -> AerialWindow:
        assert 0 <= rows.start < rows.stop <= self.grid.shape[0]
        assert 0 <= cols.start < cols.stop <= self.grid.shape[1]
        self.reads.append((rows, cols))
        damaged = None if self.damaged is None else self.damaged[rows, cols]
        return AerialWindow(
            pixels=self.pixels[:, rows, cols],
            valid=self.valid[rows, cols],
            damaged=damaged if damaged is not None and damaged.any() else None,
        )

    def close(self) -> None:
        pass


class Blocks(Imagery):
    """The same, stored in rows of blocks."""

    block_rows = 7

    def block_end(self, row: int, cols: slice) -> int:
        return min((row // self.block_rows + 1) * self.block_rows, self.grid.shape[0])


def mirrored(array: NDArray[Any], tile: Tile, size: int) -> NDArray[Any]:
    """Cut a tile from an array that is mirrored far beyond its borders."""
    before = [max(0, -start) for start in (tile.row, tile.col)]
    after = [
        max(0, start + size - side)
        for start, side in zip((tile.row, tile.col), array.shape[-2:], strict=True)
    ]
    pads = list(zip(before, after, strict=True))
    padded = np.pad(array, [(0, 0)] * (array.ndim - 2) + pads, mode="reflect")
    row, col = tile.row + before[0], tile.col + before[1]
    return padded[..., row : row + size, col : col + size]


def check(found: AerialWindow, view: Imagery, tile: Tile, size: int) -> None:
    assert np.array_equal(found.pixels, mirrored(view.pixels, tile, size))
    assert found.pixels.flags.c_contiguous
    assert np.array_equal(found.valid, mirrored(view.valid, tile, size))
    if view.damaged is not None:
        damaged = mirrored(view.damaged, tile, size)
        assert (found.damaged is None) == (not damaged.any())
        assert found.damaged is None or np.array_equal(found.damaged, damaged)


def columns(tiles: Sequence[Tile], size: int, width: int) -> slice:
    """Columns of the raster that tiles reach, and those that mirror what lies beyond."""
    starts = {tile.col for tile in tiles}
    read = np.concatenate([reflected(start, size, width) for start in starts])
    return slice(int(read.min()), int(read.max()) + 1)


shapes = st.tuples(st.integers(1, 90), st.integers(1, 90))


@settings(max_examples=40)
@given(
    shape=shapes,
    size=st.integers(4, 40),
    halo=st.integers(0, 12),
    origin=st.tuples(st.integers(-20, 0), st.integers(-20, 0)),
    blocked=st.booleans(),
    damaged=st.booleans(),
)
def test_tiles_are_those_of_the_whole_raster_and_rows_are_read_once(
    shape: tuple[int, int],
    size: int,
    halo: int,
    origin: tuple[int, int],
    blocked: bool,
    damaged: bool,
) -> None:
    assume(size > 2 * halo and all(2 * halo - size < start for start in origin))
    plan = TilePlan(shape=shape, size=size, halo=halo, origin=origin)
    view = (Blocks if blocked else Imagery)(shape, damaged=damaged)
    band = BandBuffer(view, size)
    for tile in plan:
        check(band.tile(tile), view, tile, size)
    read = [rows for rows, _ in view.reads]
    assert read[0].start == 0
    assert all(one.stop == other.start for one, other in pairwise(read)), "each row once, in order"
    if blocked:
        assert all(rows.stop % 7 == 0 or rows.stop == shape[0] for rows in read)


@settings(max_examples=15)
@given(shape=shapes, halo=st.integers(0, 5), tile_cols=st.integers(1, 4))
def test_a_strip_reads_its_own_columns_only(
    shape: tuple[int, int], halo: int, tile_cols: int
) -> None:
    size = 16
    plan = TilePlan(shape=shape, size=size, halo=halo)
    view = Imagery(shape)
    band = BandBuffer(view, size)
    for strip in plan.strips(tile_cols):
        tiles = list(plan.within(strip))
        cols = columns(tiles, size, shape[1])
        view.reads.clear()
        band.start(cols)
        for tile in tiles:
            check(band.tile(tile), view, tile, size)
        assert {read for _, read in map(edges_of, view.reads)} == {(cols.start, cols.stop)}


def edges_of(read: tuple[slice, slice]) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, cols = read
    return (rows.start, rows.stop), (cols.start, cols.stop)


@settings(max_examples=30)
@given(shape=shapes, order=st.randoms(use_true_random=False))
def test_tiles_may_be_left_out_or_asked_for_in_any_order(
    shape: tuple[int, int], order: Any
) -> None:
    tiles = list(TilePlan(shape=shape, size=16, halo=3))
    order.shuffle(tiles)
    view = Blocks(shape, damaged=True)
    band = BandBuffer(view, 16)
    for tile in tiles[: len(tiles) // 2 + 1]:
        check(band.tile(tile), view, tile, 16)


def test_rows_between_tiles_that_are_left_out_are_not_read() -> None:
    view = Imagery((300, 40))
    band = BandBuffer(view, 16)
    for row in (10, 200):
        tile = Tile(row=row, col=0, interior=(slice(row, row + 16), slice(0, 16)))
        check(band.tile(tile), view, tile, 16)
    assert [read for read, _ in map(edges_of, view.reads)] == [(10, 26), (200, 216)]


def test_a_tile_is_a_copy() -> None:
    view = Imagery((40, 40))
    band = BandBuffer(view, 16)
    tile = Tile(row=3, col=3, interior=(slice(3, 19), slice(3, 19)))
    band.tile(tile).pixels[:] = 0
    check(band.tile(tile), view, tile, 16)


# Blocks of files.


def blocks_read(view: AerialView, size: int, monkeypatch: pytest.MonkeyPatch) -> "Counter[Any]":
    """How often each block of 16 px is touched while all tiles are cut; 2 strips."""
    touched: Counter[Any] = Counter()
    read_valid = RasterReader.read_valid

    def watched(self: RasterReader, *window: int, **options: Any) -> Any:
        row, col, height, width = window
        for i in range(row // 16, -(-(row + height) // 16)):
            for j in range(col // 16, -(-(col + width) // 16)):
                touched[self.info.path.stem, i, j] += 1
        return read_valid(self, *window, **options)

    monkeypatch.setattr(RasterReader, "read_valid", watched)
    band = BandBuffer(view, size)
    for tile in TilePlan(shape=view.grid.shape, size=size, halo=5):
        band.tile(tile)
    return touched


def open_files(*paths: Path) -> MosaicReader:
    (mosaic,) = join(scenes_of(*paths), reach=0)
    return MosaicReader(mosaic)


def test_every_block_of_a_file_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "a.tif", noise(2, 150, 90), compress="deflate", block=16)
    with open_files(path) as reader:
        touched = blocks_read(reader, 37, monkeypatch)
    assert touched == {("a", i, j): 1 for i in range(10) for j in range(6)}


def test_every_block_of_files_below_and_beside_each_other_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        write_file(
            tmp_path / f"{row}{col}.tif", noise(2, 50, 90), row=50 * row, col=90 * col, block=16
        )
        for row in range(3)
        for col in range(2)
    ]
    with open_files(*paths) as reader:
        touched = blocks_read(reader, 37, monkeypatch)
    names = [path.stem for path in paths]
    assert touched == {(name, i, j): 1 for name in names for i in range(4) for j in range(6)}


def test_memory_is_as_foretold_and_does_not_grow_with_the_raster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.aerial.band.RUN_ROWS", 20)
    width, size, block = 1_500, 64, 16
    allowed = band_bytes(channels=2, size=size, width=width, block_rows=block)
    peaks = []
    for height in (200, 600):
        paths = []
        for name in "ab":
            data = noise(2, height, width)
            data[:, :, 3] = ord(name)
            path = write_file(tmp_path / f"{name}.tif", data, block=block, nodata=ord(name))
            paths.append(path)
        with open_files(*paths) as reader:
            tracemalloc.start()
            band = BandBuffer(reader, size)
            for tile in TilePlan(shape=(height, width), size=size, halo=8).within(slice(0, 100)):
                band.tile(tile)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]
    assert 0.6 * allowed < peaks[1] < allowed


def test_damage_reaches_the_tiles_that_show_it(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tif", noise(2, 64, 64), compress="deflate", block=16)
    spoil_block(path, 1, 3)
    bad = np.zeros((64, 64), dtype=np.bool_)
    bad[16:32, 48:] = True
    with open_files(path) as reader:
        band = BandBuffer(reader, 24)
        for tile in TilePlan(shape=(64, 64), size=24, halo=4):
            found, expected = band.tile(tile), mirrored(bad, tile, 24)
            assert np.array_equal(found.valid, ~expected)
            assert (found.damaged is None) == (not expected.any())
            assert found.damaged is None or np.array_equal(found.damaged, expected)
        assert list(reader.damage) == [Damage(path=str(path), row=16, col=48, height=16, width=16)]
