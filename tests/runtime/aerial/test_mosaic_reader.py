from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from aerial_files import noise, scenes_of, write_file
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.aerial import reader as reader_module
from runtime.aerial.mosaic import Mosaic, join
from runtime.aerial.reader import AerialWindow, MosaicReader
from runtime.errors import DataError
from runtime.raster import RasterReader

EVERYTHING = (slice(None), slice(None))


def mosaic_of(*paths: Path) -> Mosaic:
    (mosaic,) = join(scenes_of(*paths), reach=1000)
    return mosaic


def whole(mosaic: Mosaic, **options: Any) -> AerialWindow:
    with MosaicReader(mosaic, **options) as reader:
        height, width = reader.grid.shape
        return reader.read(slice(0, height), slice(0, width))


windows = st.tuples(
    st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 60), st.integers(1, 60)
)


def window_of(drawn: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    row, col, height, width = drawn
    row, col = row % shape[0], col % shape[1]
    return slice(row, min(row + height, shape[0])), slice(col, min(col + width, shape[1]))


# Files side by side.

cuts = st.sets(st.integers(1, 39), max_size=2)


@settings(max_examples=8)
@given(rows=cuts, cols=cuts, drawn=st.lists(windows, min_size=3, max_size=3))
def test_a_raster_cut_at_any_lines_reads_as_the_whole(
    rows: set[int], cols: set[int], drawn: list[tuple[int, int, int, int]]
) -> None:
    pixels = noise(3, 40, 40)
    with TemporaryDirectory() as folder:
        files = [
            write_file(
                Path(folder, f"{top:02}-{left:02}.tif"),
                pixels[:, top:bottom, left:right],
                row=top,
                col=left,
            )
            for top, bottom in zip([0, *sorted(rows)], [*sorted(rows), 40], strict=True)
            for left, right in zip([0, *sorted(cols)], [*sorted(cols), 40], strict=True)
        ]
        with MosaicReader(mosaic_of(*files)) as reader:
            for each in drawn:
                place = window_of(each, (40, 40))
                found = reader.read(*place)
                assert np.array_equal(found.pixels, pixels[:, place[0], place[1]])
                assert found.valid.all()
                assert found.damaged is None


# Files above each other, with holes.


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mosaic, AerialWindow]:
    """Four files with holes that overlap, and what they give, pixel by pixel."""
    folder = tmp_path_factory.mktemp("overlapping")
    rng = np.random.default_rng(7)
    layout = {"a": (5, 0), "b": (0, 12), "c": (12, 4), "d": (40, 30)}
    files = []
    pixels = np.zeros((3, 65, 55), dtype=np.uint8)
    valid = np.zeros((65, 55), dtype=np.bool_)
    stored = np.zeros((65, 55), dtype=np.bool_)
    for index, (name, (row, col)) in enumerate(layout.items()):
        data = noise(3, 25, 25, seed=index)
        hole = rng.random((25, 25)) < 0.5
        # Nodata of another value in each file, so that it can be told whose is kept.
        data[:, hole] = index + 1
        data[0, ~hole] = 100
        files.append(write_file(folder / f"{name}.tif", data, row=row, col=col, nodata=index + 1))
        for i, j in np.ndindex(25, 25):
            at = row + i, col + j
            if not valid[at] and (not hole[i, j] or not stored[at]):
                pixels[:, at[0], at[1]] = data[:, i, j]
                stored[at], valid[at] = True, not hole[i, j]
    return mosaic_of(*files), AerialWindow(pixels=pixels, valid=valid, damaged=None)


@settings(max_examples=30)
@given(drawn=windows)
def test_the_first_file_that_holds_data_gives_a_pixel(
    overlapping: tuple[Mosaic, AerialWindow], drawn: tuple[int, int, int, int]
) -> None:
    mosaic, expected = overlapping
    rows, cols = window_of(drawn, mosaic.grid.shape)
    with MosaicReader(mosaic) as reader:
        found = reader.read(rows, cols)
    assert np.array_equal(found.valid, expected.valid[rows, cols])
    assert np.array_equal(found.pixels, expected.pixels[:, rows, cols])
    assert found.damaged is None


def test_the_overlapping_files_have_every_kind_of_pixel(
    overlapping: tuple[Mosaic, AerialWindow],
) -> None:
    _, expected = overlapping
    gap = (expected.pixels == 0).all(axis=0)
    assert gap.any()
    assert (~expected.valid & ~gap).any()
    assert set(np.unique(expected.pixels[0])) == {0, 1, 2, 3, 4, 100}


# Bands, and what hides pixels.


def test_bands_come_in_the_order_asked_for_and_layers_after_them(tmp_path: Path) -> None:
    data = noise(5, 20, 30)
    height = noise(1, 20, 30, seed=1)[0]

    class Layer:
        def read(self, rows: slice, cols: slice) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
            return height[rows, cols], height[rows, cols] > 50

    mosaic = mosaic_of(write_file(tmp_path / "a.tif", data))
    with MosaicReader(mosaic, bands=(3, 0, 1), layers=(Layer(), Layer())) as reader:
        assert reader.channels == 5
        found = reader.read(slice(2, 9), slice(4, 30))
    expected = np.concatenate([data[[3, 0, 1]], [height, height]])[:, 2:9, 4:30]
    assert np.array_equal(found.pixels, expected)
    assert np.array_equal(found.valid, height[2:9, 4:30] > 50)


def test_an_alpha_band_that_is_not_asked_for_is_a_mask(tmp_path: Path) -> None:
    data = noise(4, 20, 30)
    data[3, 4:9, 11:] = 0
    path = write_file(tmp_path / "a.tif", data, photometric="RGB", alpha="YES")
    found = whole(mosaic_of(path), bands=(0, 1, 2))
    assert np.array_equal(found.valid, data[3] != 0)
    assert np.array_equal(found.pixels, data[:3])
    asked_for = whole(mosaic_of(path), bands=(0, 1, 2, 3))
    assert asked_for.valid.all()
    assert np.array_equal(asked_for.pixels, data)


def test_alpha_hides_pixels_beside_a_nodata_value(tmp_path: Path) -> None:
    data = noise(4, 20, 30)
    data[3, 4:9, 11:] = 0
    data[:3, 2:5, :20] = 0
    path = write_file(tmp_path / "a.tif", data, photometric="RGB", alpha="YES", nodata=0)
    found = whole(mosaic_of(path), bands=(0, 1, 2))
    assert np.array_equal(found.valid, (data[3] != 0) & data[:3].any(axis=0))


def test_a_mask_band_hides_pixels(tmp_path: Path) -> None:
    mask = np.ones((20, 30), dtype=np.bool_)
    mask[3:8, 5:] = False
    data = noise(3, 20, 30)
    found = whole(mosaic_of(write_file(tmp_path / "a.tif", data, mask=mask)), bands=(2, 1))
    assert np.array_equal(found.valid, mask)
    assert np.array_equal(found.pixels, data[[2, 1]])


def test_nodata_is_that_of_the_bands_asked_for(tmp_path: Path) -> None:
    data = noise(3, 20, 30)
    data[0, 3:8] = data[1, 5:12] = 9
    data[2, :, 10:20] = 9
    mosaic = mosaic_of(write_file(tmp_path / "a.tif", data, nodata=9))
    for bands in [(0, 1), (2, 1), (2,), (0, 1, 2)]:
        found = whole(mosaic, bands=bands)
        assert np.array_equal(found.valid, (data[list(bands)] != 9).any(axis=0))
    assert np.array_equal(whole(mosaic).valid, (data != 9).any(axis=0))


# Files open and close.


@pytest.fixture
def row_of_files(tmp_path: Path) -> Mosaic:
    files = [write_file(tmp_path / f"{i}.tif", noise(1, 8, 8, seed=i), col=8 * i) for i in range(6)]
    return mosaic_of(*files)


@pytest.fixture
def open_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Paths of the files that are open just now."""
    found: list[Path] = []

    class Watched(RasterReader):
        def __init__(self, path: Path, **options: Any) -> None:
            super().__init__(path, **options)
            found.append(path)

        def close(self) -> None:
            found.remove(self.info.path)
            super().close()

    monkeypatch.setattr("runtime.aerial.mosaic.RasterReader", Watched)
    yield found
    assert found == [], "a reader leaves no file open"


def test_few_files_are_open_at_a_time(
    row_of_files: Mosaic, open_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "MOST_OPEN", 2)
    expected = np.concatenate([noise(1, 8, 8, seed=i) for i in range(6)], axis=2)
    with MosaicReader(row_of_files) as reader:
        assert open_files == []
        for _ in range(2):
            found = reader.read(slice(0, 8), slice(0, 48))
            assert np.array_equal(found.pixels, expected)
            assert [path.stem for path in open_files] == ["4", "5"]
        reader.read(slice(0, 8), slice(32, 33))
        reader.read(slice(0, 8), slice(0, 1))
        assert [path.stem for path in open_files] == ["4", "0"], "the last used stay"


def test_only_files_that_are_needed_are_opened(
    row_of_files: Mosaic, open_files: list[Path], tmp_path: Path
) -> None:
    below = write_file(tmp_path / "9.tif", noise(1, 8, 48, seed=9))
    mosaic = mosaic_of(*[file.path for file in row_of_files.files], below)
    with MosaicReader(mosaic) as reader:
        reader.read(slice(2, 8), slice(10, 20))
        assert [path.stem for path in open_files] == ["1", "2"], "the file below shows nowhere"


def test_a_file_that_vanished_is_named(row_of_files: Mosaic) -> None:
    row_of_files.files[2].path.unlink()
    with MosaicReader(row_of_files) as reader:
        reader.read(slice(0, 8), slice(0, 16))
        with pytest.raises(DataError, match=r"2\.tif is not there; expected 2.tif as .*; put it b"):
            reader.read(slice(0, 8), slice(15, 17))


@pytest.mark.parametrize("content", [b"", b"no raster"])
def test_a_file_that_cannot_be_opened_any_more_is_named(
    content: bytes, row_of_files: Mosaic
) -> None:
    row_of_files.files[0].path.write_bytes(content)
    remedy = r"0\.tif cannot be opened .*; put it back and run the same command again"
    with MosaicReader(row_of_files) as reader, pytest.raises(DataError, match=remedy):
        reader.read(slice(0, 8), slice(0, 8))


def test_a_file_that_was_replaced_is_named(row_of_files: Mosaic) -> None:
    write_file(row_of_files.files[0].path, noise(1, 8, 9))
    with (
        MosaicReader(row_of_files) as reader,
        pytest.raises(DataError, match=r"0\.tif is not the file that it was; .*; put it back"),
    ):
        reader.read(slice(0, 8), slice(0, 8))
