import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from runtime.errors import BandError, DataError, GridError, SatelliteError
from runtime.geoseries import open_series

Write = Callable[..., Path]
DAYS = ("20210115", "20210420", "20210425", "20210810")


def refusal(folder: Path, kind: type[DataError]) -> str:
    with pytest.raises(kind) as refused:
        open_series(folder)
    message = str(refused.value)
    assert message.count(";") >= 2, "found; expected; remedy"
    return message


def numbers(dates: int = 4, size: int = 40) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    return np.random.default_rng(1).integers(1, 9000, (dates, 10, size, size), dtype=np.uint16)


def test_dates_come_in_order_of_the_calendar(write_series: Write, tmp_path: Path) -> None:
    dn = numbers()
    write_series(tmp_path, days=tuple(reversed(DAYS)), dn=dn[::-1])
    series = open_series(tmp_path)
    assert series.name == str(tmp_path)
    assert series.dates == 4
    assert series.stack.dates[1] == datetime.date(2021, 4, 20)
    assert series.stack.offsets == (0, 0, 0, 0)
    np.testing.assert_array_equal(series.stack.dn, dn)
    assert not series.stack.cover.any(), "a date without masks counts as clear"
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
    found = open_series(tmp_path).stack.cover
    np.testing.assert_array_equal(found[1], cover.clip(0, 100))
    assert not found[[0, 2, 3]].any()


@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 65535), ("int16", -9999)])
def test_nodata_of_any_value_is_nodata(
    dtype: str, nodata: int, write_series: Write, tmp_path: Path
) -> None:
    dn = numbers().astype(dtype)
    dn[:, :, 5:9, 7] = nodata
    write_series(tmp_path, dn=dn, nodata=nodata)
    found = open_series(tmp_path).stack.dn
    assert found.dtype == np.uint16
    assert (found[:, :, 5:9, 7] == 0).all()
    other = np.ones((40, 40), dtype=np.bool_)
    other[5:9, 7] = False
    np.testing.assert_array_equal(found[..., other], dn[..., other])


def test_negative_reflectance_is_black(write_series: Write, tmp_path: Path) -> None:
    dn = numbers().astype(np.int16)
    dn[0, 3, 1, 1] = -12
    write_series(tmp_path, dn=dn, nodata=None)
    assert open_series(tmp_path).stack.dn[0, 3, 1, 1] == 0


def test_unnamed_bands_are_taken_in_order(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path, bands=())
    assert open_series(tmp_path).dates == 4


def test_bands_in_another_order_are_refused(write_series: Write, tmp_path: Path) -> None:
    names = ("B02", "B04", "B03", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    write_series(tmp_path, bands=names)
    message = refusal(tmp_path, BandError)
    assert "S2_20210115.tif holds B02, B04, B03" in message
    assert "expected the 10 bands B02, B03, B04" in message


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
