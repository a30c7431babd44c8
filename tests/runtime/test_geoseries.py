import datetime
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BandError, DataError, GridError, SatelliteError
from runtime.geoseries import GeoSeries, open_series
from runtime.raster import RasterReader
from runtime.satellite import SatelliteSpec, SatelliteStack, window_cells
from runtime.satellite_cells import Pixels

Write = Callable[..., Path]
DAYS = ("20210115", "20210420", "20210425", "20210810")


def refusal(folder: Path, kind: type[DataError]) -> str:
    with pytest.raises(kind) as refused:
        open_series(folder)
    message = str(refused.value)
    assert message.count(";") >= 2, "found; expected; remedy"
    return message


def whole(folder: Path) -> Pixels:
    """All pixels of a series."""
    series = open_series(folder)
    return series.read(*(slice(0, size) for size in series.shape))


def numbers(dates: int = 4, size: int = 40) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    return np.random.default_rng(1).integers(1, 9000, (dates, 10, size, size), dtype=np.uint16)


def test_dates_come_in_order_of_the_calendar(write_series: Write, tmp_path: Path) -> None:
    dn = numbers()
    write_series(tmp_path, days=tuple(reversed(DAYS)), dn=dn[::-1])
    series = open_series(tmp_path)
    assert series.name == str(tmp_path)
    assert series.dates == 4
    assert series.days[1] == datetime.date(2021, 4, 20)
    assert series.offsets == (0, 0, 0, 0)
    pixels = whole(tmp_path)
    np.testing.assert_array_equal(pixels.dn, dn.transpose(2, 3, 0, 1))
    assert pixels.filled.all()
    assert not pixels.cover.any(), "a date without masks counts as clear"
    assert series.grid.crs.to_epsg() == 32631


def test_masks_belong_to_their_date(
    write_series: Write, write_aerial: Write, tmp_path: Path
) -> None:
    write_series(tmp_path)
    with rasterio.open(tmp_path / "S2_20210420.tif") as dataset:
        transform = dataset.transform
    cover = np.random.default_rng(2).integers(0, 200, (2, 40, 40), dtype=np.uint8)
    write_aerial(
        tmp_path / "S2_20210420_masks.tif", cover, bands=(), crs="EPSG:32631", transform=transform
    )
    found = whole(tmp_path).cover
    np.testing.assert_array_equal(found[:, :, 1], cover.clip(0, 100).max(axis=0))
    assert not found[:, :, [0, 2, 3]].any()


@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 65535), ("int16", -9999)])
def test_nodata_of_any_value_is_nodata(
    dtype: str, nodata: int, write_series: Write, tmp_path: Path
) -> None:
    dn = numbers().astype(dtype)
    dn[:, :, 5:9, 7] = nodata
    write_series(tmp_path, dn=dn, nodata=nodata)
    found = whole(tmp_path)
    assert found.dn.dtype == np.uint16
    hidden = np.zeros((40, 40), dtype=np.bool_)
    hidden[5:9, 7] = True
    assert (found.dn[hidden] == 0).all()
    np.testing.assert_array_equal(found.filled, np.repeat(~hidden[:, :, None], 4, axis=2))
    np.testing.assert_array_equal(found.dn[~hidden], dn.transpose(2, 3, 0, 1)[~hidden])


def test_negative_reflectance_is_black(write_series: Write, tmp_path: Path) -> None:
    dn = numbers().astype(np.int16)
    dn[0, 3, 1, 1] = -12
    write_series(tmp_path, dn=dn, nodata=None)
    assert whole(tmp_path).dn[1, 1, 0, 3] == 0


def test_unnamed_bands_are_taken_in_order(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path, bands=())
    assert open_series(tmp_path).dates == 4


def test_another_number_of_bands_is_refused(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path, dn=numbers()[:, :4], bands=())
    assert "holds 4 unnamed bands" in refusal(tmp_path, BandError)


def test_reflectance_as_floats_is_refused(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path, dn=numbers().astype(np.float32))
    assert "is float32; expected uint16 digital numbers" in refusal(tmp_path, BandError)


def test_dates_on_two_grids_are_refused(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path)
    write_series(tmp_path, days=("20211001",), dn=numbers(1), offset_m=20)
    assert "S2_20211001.tif is on another grid" in refusal(tmp_path, GridError)


def test_masks_of_another_size_are_refused(
    write_series: Write, write_aerial: Write, tmp_path: Path
) -> None:
    write_series(tmp_path)
    cover = np.zeros((2, 40, 39), dtype=np.uint8)
    write_aerial(tmp_path / "S2_20210115_masks.tif", cover, bands=(), crs="EPSG:32631")
    assert "is on another grid (40 x 39 px)" in refusal(tmp_path, GridError)


def test_masks_of_one_band_are_refused(
    write_series: Write, write_aerial: Write, tmp_path: Path
) -> None:
    write_series(tmp_path)
    with rasterio.open(tmp_path / "S2_20210115.tif") as dataset:
        transform: Affine = dataset.transform
    cover = np.zeros((1, 40, 40), dtype=np.uint8)
    file = tmp_path / "S2_20210115_masks.tif"
    write_aerial(file, cover, bands=(), crs="EPSG:32631", transform=transform)
    assert "has 1 bands; expected 2" in refusal(tmp_path, BandError)


def test_two_files_of_one_day_are_refused(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "s2_20210115.TIFF").write_bytes((tmp_path / "S2_20210115.tif").read_bytes())
    assert "expected one file per date" in refusal(tmp_path, SatelliteError)


def test_a_folder_without_dates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "S2_20210115_masks.tif").write_bytes(b"")
    assert "holds no S2_YYYYMMDD.tif" in refusal(tmp_path, SatelliteError)
    assert "is not there" in refusal(tmp_path / "nowhere", SatelliteError)


def test_a_file_cut_in_half_is_named(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path)
    file = tmp_path / "S2_20210425.tif"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert str(file) in refusal(tmp_path, DataError)


DATES = 3


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, write_series: Write, write_aerial: Write
) -> Path:
    """Three dates of 150 x 150 cells with holes, one with masks."""
    folder = tmp_path_factory.mktemp("large")
    dn = np.random.default_rng(7).integers(0, 6000, (DATES, 10, 150, 150), dtype=np.uint16)
    dn[0, :, 50:70, 60:90] = 0
    dn[1, :, 100:, :] = 0
    write_series(folder, days=DAYS[:DATES], dn=dn, size=150)
    with rasterio.open(folder / f"S2_{DAYS[1]}.tif") as dataset:
        transform = dataset.transform
    cover = np.random.default_rng(8).integers(0, 101, (2, 150, 150), dtype=np.uint8)
    file = folder / f"S2_{DAYS[1]}_masks.tif"
    write_aerial(file, cover, bands=(), crs="EPSG:32631", transform=transform)
    return folder


def stack_of(folder: Path) -> SatelliteStack:
    """The same series, read at once by other means."""
    dn, cover = [], []
    for day in DAYS[:DATES]:
        with rasterio.open(folder / f"S2_{day}.tif") as dataset:
            dn.append(dataset.read())
        masks = folder / f"S2_{day}_masks.tif"
        if masks.is_file():
            with rasterio.open(masks) as dataset:
                cover.append(dataset.read())
        else:
            cover.append(np.zeros((2, 150, 150), dtype=np.uint8))
    dates = tuple(datetime.datetime.strptime(day, "%Y%m%d").date() for day in DAYS[:DATES])
    return SatelliteStack(dn=np.stack(dn), cover=np.stack(cover), dates=dates, offsets=(0,) * DATES)


@pytest.fixture(scope="module")
def held(large: Path) -> tuple[GeoSeries, SatelliteStack]:
    """The series with room for three chunks, and all of it in memory."""
    return open_series(large, cache_bytes=3 * 64 * 64 * DATES * 22), stack_of(large)


class Decoded(list[tuple[str, int, int]]):
    """Windows that were read, by file, in the order in which they were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.threads = set[tuple[RasterReader, int]]()
        read = RasterReader.read

        def counted(reader: RasterReader, row: int, col: int, *more: int, **options: Any) -> Any:
            self.append((reader.info.path.name, row, col))
            self.threads.add((reader, threading.get_ident()))
            return read(reader, row, col, *more, **options)

        monkeypatch.setattr(RasterReader, "read", counted)


@given(
    top=st.integers(0, 149),
    left=st.integers(0, 149),
    rows=st.integers(1, 90),
    cols=st.integers(1, 90),
)
def test_a_box_is_the_crop_of_the_whole(
    held: tuple[GeoSeries, SatelliteStack], top: int, left: int, rows: int, cols: int
) -> None:
    series, everything = held
    box = slice(top, min(top + rows, 150)), slice(left, min(left + cols, 150))
    found, expected = series.read(*box), everything.read(*box)
    for name in ("dn", "cover", "filled"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def windows(series: GeoSeries, step: float = 16.5) -> list[Any]:
    """Inputs of the windows of 40 cells that begin every `step` cells, row by row."""
    starts = np.arange(0, 150, step)
    return [
        SatelliteSpec().prepare(series, *window_cells(row, col, 40))
        for row in starts
        for col in starts
    ]


@pytest.mark.parametrize("cache_bytes", [0, 300_000, 1 << 27])
def test_windows_are_those_of_the_series_in_memory_whatever_is_kept(
    large: Path, cache_bytes: int
) -> None:
    series = open_series(large, cache_bytes=cache_bytes)
    spec, everything = SatelliteSpec(), stack_of(large)
    for row, col in ((20, 20), (64, 64.5), (75.3, 130.2), (140, 3)):
        cells = window_cells(row, col, 40)
        found, expected = spec.prepare(series, *cells), spec.prepare(everything, *cells)
        assert found.series.tobytes() == expected.series.tobytes()
        assert found.dates_used == expected.dates_used
        assert series.store.kept_bytes <= max(cache_bytes, 64 * 64 * DATES * 22)


def test_a_chunk_is_decoded_once_while_it_is_needed(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = open_series(large)
    decoded = Decoded(monkeypatch)
    windows(series)
    files = {path.name for path in series.source_files()}
    corners = {(row, col) for row in (0, 64, 128) for col in (0, 64, 128)}
    assert sorted(decoded) == sorted((name, *corner) for name in files for corner in corners)


def test_rows_of_windows_need_no_more_than_two_rows_of_chunks(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = 64 * 64 * DATES * 22
    series = open_series(large, cache_bytes=6 * chunk)
    decoded = Decoded(monkeypatch)
    windows(series)
    assert len(decoded) == len(set(decoded))
    assert series.store.kept_bytes <= 6 * chunk


def test_opening_reads_one_pixel_of_each_file(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = Decoded(monkeypatch)
    series = open_series(large, offset="0")
    assert sorted(decoded) == sorted((path.name, 149, 149) for path in series.source_files())
    assert series.store.kept_bytes == 0


def test_threads_share_chunks_but_no_open_file(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = open_series(large, cache_bytes=0)
    expected = windows(series, 50)
    decoded = Decoded(monkeypatch)
    found: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: found.append(windows(series, 50))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for inputs in found:
        for one, other in zip(inputs, expected, strict=True):
            np.testing.assert_array_equal(one.series, other.series)
    assert len(found) == 3
    assert len(decoded.threads) == len({reader for reader, _ in decoded.threads})


def test_no_more_files_than_allowed_are_kept_open(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.satellite_chunks.OPEN_FILES", 1)
    closed: list[str] = []
    close = RasterReader.close

    def counted(reader: RasterReader) -> None:
        closed.append(reader.info.path.name)
        close(reader)

    series = open_series(large)
    monkeypatch.setattr(RasterReader, "close", counted)
    series.read(slice(0, 3), slice(0, 3))
    assert len(closed) == len(series.source_files()) - 1


def test_another_process_opens_files_of_its_own(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = open_series(large)
    decoded = Decoded(monkeypatch)
    expected = series.read(slice(0, 9), slice(0, 9))
    sent = pickle.loads(pickle.dumps(series))
    assert sent.store.kept_bytes == 0
    np.testing.assert_array_equal(sent.read(slice(0, 9), slice(0, 9)).dn, expected.dn)
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    before = {reader for reader, _ in decoded.threads}
    series.read(slice(70, 72), slice(0, 9))
    assert len({reader for reader, _ in decoded.threads} - before) == len(series.source_files())


def test_a_file_that_vanished_is_named(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path)
    series = open_series(tmp_path)
    file = tmp_path / "S2_20210425.tif"
    file.unlink()
    with pytest.raises(DataError, match=f"{file} is not there; expected"):
        series.read(slice(0, 2), slice(0, 2))


def test_every_file_is_listed_in_order_of_time(large: Path) -> None:
    names = [path.name for path in open_series(large).source_files()]
    assert names == [
        "S2_20210115.tif",
        "S2_20210420.tif",
        "S2_20210420_masks.tif",
        "S2_20210425.tif",
    ]
