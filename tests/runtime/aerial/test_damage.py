"""Blocks that cannot be read become nodata, are listed once, and stop nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aerial_files import noise, scenes_of, spoil_block, write_file
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.aerial.mosaic import join
from runtime.aerial.reader import Damage, MosaicReader
from runtime.errors import DataError

SHAPE = (3, 70, 90)
BAD = np.zeros(SHAPE[1:], dtype=np.bool_)
BAD[32:48, 16:32] = BAD[64:, 80:] = True


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks of 16 px, of which one in the middle and the last one cannot be decoded."""
    path = tmp_path_factory.mktemp("damage") / "a.tif"
    write_file(path, noise(*SHAPE), compress="deflate", block=16)
    spoil_block(path, 2, 1)
    spoil_block(path, 4, 5)
    return path


def open_files(*paths: Path, **options: Any) -> MosaicReader:
    (mosaic,) = join(scenes_of(*paths), reach=0)
    return MosaicReader(mosaic, **options)


def test_everything_but_the_damaged_blocks_is_read(spoiled: Path) -> None:
    with open_files(spoiled) as reader:
        assert list(reader.damage) == []
        for _ in range(2):
            found = reader.read(slice(0, 70), slice(0, 90))
            assert np.array_equal(found.pixels, np.where(BAD, 0, noise(*SHAPE)))
            assert np.array_equal(found.valid, ~BAD)
            assert found.damaged is not None
            assert np.array_equal(found.damaged, BAD)
        assert list(reader.damage) == [
            Damage(path=str(spoiled), row=32, col=16, height=16, width=16),
            Damage(path=str(spoiled), row=64, col=80, height=6, width=10),
        ]


@settings(max_examples=40)
@given(
    row=st.integers(0, 69),
    col=st.integers(0, 89),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_a_window_is_a_part_of_the_whole(
    spoiled: Path, row: int, col: int, height: int, width: int
) -> None:
    rows, cols = slice(row, min(row + height, 70)), slice(col, min(col + width, 90))
    bad = BAD[rows, cols]
    with open_files(spoiled) as reader:
        found = reader.read(rows, cols)
        assert np.array_equal(found.pixels, np.where(bad, 0, noise(*SHAPE)[:, rows, cols]))
        assert np.array_equal(found.valid, ~bad)
        assert (found.damaged is None) == (not bad.any())
        assert found.damaged is None or np.array_equal(found.damaged, bad)
        lower = (np.mgrid[rows, cols][0] >= 64) & bad
        assert len(reader.damage) == lower.any() + (bad & ~lower).any()


def test_nodata_beside_damage_stays_nodata(tmp_path: Path) -> None:
    data = noise(*SHAPE)
    data[:, 5:40, 10:20] = 0
    path = write_file(tmp_path / "a.tif", data, compress="deflate", block=16, nodata=0)
    spoil_block(path, 2, 1)
    spoil_block(path, 4, 5)
    with open_files(path) as reader:
        found = reader.read(slice(0, 70), slice(0, 90))
    assert np.array_equal(found.valid, data.any(axis=0) & ~BAD)
    assert found.damaged is not None
    assert np.array_equal(found.damaged, BAD)


def test_a_block_of_one_band_hides_all_of_them_only_where_that_band_is_read(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.tif", noise(*SHAPE), compress="deflate", block=16, interleave="band"
    )
    spoil_block(path, 2, 1, band=1)
    spoil_block(path, 4, 5, band=1)
    with open_files(path) as reader:
        found = reader.read(slice(0, 70), slice(0, 90))
        assert np.array_equal(found.valid, ~BAD)
        assert np.array_equal(found.pixels, np.where(BAD, 0, noise(*SHAPE)))
    with open_files(path, bands=(2, 0)) as reader:
        assert reader.read(slice(0, 70), slice(0, 90)).valid.all()
        assert list(reader.damage) == []


@pytest.mark.parametrize("compress", ["none", "deflate", "lzw"])
def test_a_truncated_file_is_read_up_to_its_end(tmp_path: Path, compress: str) -> None:
    data = noise(3, 300, 40)
    path = write_file(tmp_path / "a.tif", data, compress=compress, blockysize=1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with open_files(path) as reader:
        found = reader.read(slice(0, 300), slice(0, 40))
        rows = found.valid.all(axis=1)
        assert np.array_equal(found.valid.any(axis=1), rows), "rows are blocks here"
        assert 50 < rows.sum() < 250
        assert np.array_equal(found.pixels[:, rows], data[:, rows])
        assert sum(block.height for block in reader.damage) == 300 - rows.sum()
        assert {(block.col, block.width) for block in reader.damage} == {(0, 40)}


def test_another_file_shows_through_a_damaged_block(spoiled: Path, tmp_path: Path) -> None:
    below = noise(3, 60, 60, seed=1)
    path = write_file(tmp_path / "b.tif", below)
    with open_files(spoiled, path) as reader:
        found = reader.read(slice(0, 70), slice(0, 90))
        assert [block.row for block in reader.damage] == [32, 64]
    expected = np.where(BAD, 0, noise(*SHAPE))
    expected[:, 32:48, 16:32] = below[:, 32:48, 16:32]
    assert np.array_equal(found.pixels, expected)
    assert found.damaged is not None
    assert np.array_equal(found.damaged, ~found.valid)
    assert np.argwhere(found.damaged).min(axis=0).tolist() == [64, 80]


def test_damage_is_counted_in_pixels_of_the_file(spoiled: Path, tmp_path: Path) -> None:
    left = write_file(tmp_path / "left.tif", noise(3, 100, 25), row=-20, col=-25)
    with open_files(spoiled, left) as reader:
        found = reader.read(slice(0, 100), slice(0, 115))
        assert [(block.row, block.col) for block in reader.damage] == [(32, 16), (64, 80)]
    assert found.damaged is not None
    assert np.array_equal(found.damaged[20:90, 25:], BAD)


GONE = r"a\.tif .*; put it back and run the same command"


def rename(path: Path) -> None:
    path.rename(path.with_suffix(".gone"))


def empty(path: Path) -> None:
    # A new file, so that the open one stays as it is.
    path.unlink()
    path.write_bytes(b"")


@pytest.mark.parametrize("lose", [rename, empty])
def test_a_file_that_fails_because_it_is_gone_is_not_called_damaged(
    lose: Callable[[Path], None], tmp_path: Path
) -> None:
    path = write_file(tmp_path / "a.tif", noise(*SHAPE), compress="deflate", block=16)
    spoil_block(path, 4, 5)
    with open_files(path) as reader:
        reader.read(slice(0, 16), slice(0, 16))
        lose(path)
        with pytest.raises(DataError, match=GONE):
            reader.read(slice(0, 70), slice(0, 90))
        assert list(reader.damage) == []


def test_a_file_that_is_gone_after_a_block_was_damaged_is_not_called_damaged(
    tmp_path: Path,
) -> None:
    path = write_file(tmp_path / "a.tif", noise(*SHAPE), compress="deflate", block=16)
    spoil_block(path, 0, 1)
    with open_files(path) as reader:
        reader.read(slice(0, 16), slice(0, 32))
        path.write_bytes(b"")
        with pytest.raises(DataError, match=GONE):
            reader.read(slice(0, 70), slice(0, 90))
        assert len(reader.damage) == 1
