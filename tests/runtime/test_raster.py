import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import DataError, GridError
from runtime.grid import Grid
from runtime.raster import RasterReader, describe, reflected

TRANSFORM = Affine(0.2, 0.0, 700_000.0, 0.0, -0.2, 6_600_000.0)
LOCAL = 'LOCAL_CS["unnamed",UNIT["metre",1]]'
SHAPE = (3, 23, 17)


def pixels(shape: tuple[int, int, int] = SHAPE, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(1).integers(1, 250, shape).astype(dtype)


def write(path: Path, data: NDArray[Any] | None = None, **options: Any) -> Path:
    data = pixels() if data is None else data
    mask, names = options.pop("mask", None), options.pop("names", None)
    profile = {"crs": "EPSG:2154", "transform": TRANSFORM, "driver": "GTiff"} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            count=data.shape[0],
            height=data.shape[1],
            width=data.shape[2],
            dtype=data.dtype,
            **profile,
        ) as dataset:
            dataset.write(data)
            if mask is not None:
                dataset.write_mask(mask)
            if names is not None:
                dataset.descriptions = names
    return path


def mirrored(position: int, size: int) -> int:
    """Walk to a position between two mirrors, one step at a time."""
    at, step = 0, 1 if position > 0 else -1
    for _ in range(abs(position)):
        if size > 1:
            if not 0 <= at + step < size:
                step = -step
            at += step
    return at


@given(start=st.integers(-90, 90), length=st.integers(0, 90), size=st.integers(1, 20))
def test_indices_walk_to_and_fro_between_the_borders(start: int, length: int, size: int) -> None:
    found = reflected(start, length, size)
    assert found.tolist() == [mirrored(i, size) for i in range(start, start + length)]


@given(size=st.integers(2, 40), before=st.integers(0, 90), after=st.integers(0, 90))
def test_indices_are_those_of_numpys_reflection(size: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(size), (before, after), mode="reflect")
    assert np.array_equal(reflected(-before, before + size + after, size), expected)


@given(start=st.integers(-(10**15), 10**15), size=st.integers(1, 10**9))
def test_indices_far_outside_lie_inside(start: int, size: int) -> None:
    found = reflected(start, 100, size)
    assert found.min() >= 0
    assert found.max() < size


def test_one_pixel_is_repeated_for_ever() -> None:
    assert reflected(-5, 11, 1).tolist() == [0] * 11


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster with nodata in an asymmetric place."""
    data = pixels()
    data[:, 2:5, 1:9] = 0
    return write(tmp_path_factory.mktemp("raster") / "holed.tif", data, nodata=0)


def test_reading_gives_rows_columns_and_bands_as_stored(tmp_path: Path) -> None:
    data = pixels()
    with RasterReader(write(tmp_path / "a.tif", data)) as reader:
        assert np.array_equal(reader.read(4, 2, 7, 5), data[:, 4:11, 2:7])
        assert np.array_equal(reader.read_all(), data)


def test_the_header_is_described(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", pixels(dtype=np.uint16), nodata=9, names=("red", None, "nir"))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(KIND="sample")
    info = describe(path)
    assert info.grid == Grid((23, 17), TRANSFORM, rasterio.crs.CRS.from_epsg(2154))
    assert (info.path, info.count, info.dtype, info.nodata) == (path, 3, "uint16", 9)
    assert info.bands == ("red", "", "nir")
    assert info.tags["KIND"] == "sample"


@pytest.mark.parametrize("crs", [None, LOCAL])
def test_a_file_without_a_named_crs_gets_the_assumed_one(tmp_path: Path, crs: str | None) -> None:
    path = write(tmp_path / "a.tif", crs=crs)
    assert describe(path, assume_crs="EPSG:2154").grid.crs.to_epsg() == 2154


@pytest.mark.parametrize("epsg", [4326, 32631])
def test_a_named_crs_is_never_replaced_by_the_assumed_one(tmp_path: Path, epsg: int) -> None:
    path = write(tmp_path / "a.tif", crs=f"EPSG:{epsg}")
    assert describe(path, assume_crs="EPSG:2154").grid.crs.to_epsg() == epsg


def test_a_file_without_crs_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", crs=None)
    with pytest.raises(
        GridError, match=r"a.tif has no CRS; .* gdal_edit.py -a_srs EPSG:NNNN a.tif"
    ):
        describe(path)


@pytest.mark.parametrize("placed", [True, False])
def test_a_geotransform_is_assumed_only_where_the_file_has_none(
    placed: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tif", transform=TRANSFORM if placed else None)
    assumed = Affine(0.5, 0.0, 3.0, 0.0, -0.5, 4.0)
    info = describe(path, assume_transform=assumed)
    assert info.placed is placed
    assert info.grid.transform == (TRANSFORM if placed else assumed)


@pytest.mark.parametrize(("crs", "named"), [("EPSG:32631", True), (LOCAL, False), (None, False)])
def test_whether_the_file_names_its_crs_is_told(
    crs: str | None, named: bool, tmp_path: Path
) -> None:
    info = describe(write(tmp_path / "a.tif", crs=crs), assume_crs="EPSG:2154")
    assert info.names_crs is named


def test_a_file_without_geotransform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GridError, match=r"a.tif has no geotransform; expected a georeferenced"):
        describe(write(tmp_path / "a.tif", transform=None))


@pytest.mark.parametrize(
    "transform", [Affine(1, 1, 7e5, 1, 1, 6e6), Affine(1e300, 0, 0, 0, -1e300, 0)]
)
def test_a_file_off_the_earth_is_refused(tmp_path: Path, transform: Affine) -> None:
    with pytest.raises(GridError, match="expected pixels with an area, on the Earth"):
        describe(write(tmp_path / "a.tif", transform=transform))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.tif is not there; expected a raster; check"):
        RasterReader(tmp_path / "gone.tif")
    with pytest.raises(DataError, match="is not there"):
        RasterReader(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"II*\0\x08\0\0\0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_raster_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.tif cannot be opened as a raster") as caught:
        RasterReader(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{}, {"compress": "deflate"}, {"tiled": True, "blockxsize": 16}]
)
def test_a_truncated_file_is_refused_in_one_line_that_says_where(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    if options.get("tiled"):
        options = options | {"blockysize": 16}
    path = write(tmp_path / "a.tif", pixels((3, 300, 200)), **options)
    path.write_bytes(path.read_bytes()[:70_000])
    expected = pytest.raises(DataError, match="rows 0 to 300 and columns 0 to 200")
    with RasterReader(path) as reader, expected as caught:
        reader.read_all()
    message = str(caught.value)
    assert "\n" not in message
    assert "See previous exception" not in message


def test_pixels_are_valid_unless_all_their_bands_are_nodata(tmp_path: Path) -> None:
    data = pixels()
    data[:, 3, 5] = 0
    data[1, 7, 2] = 0
    expected = np.ones((23, 17), dtype=np.bool_)
    expected[3, 5] = False
    with RasterReader(write(tmp_path / "a.tif", data, nodata=0)) as reader:
        assert np.array_equal(reader.valid(0, 0, 23, 17), expected)
        assert np.array_equal(reader.valid(2, 4, 6, 5), expected[2:8, 4:9])
    with RasterReader(write(tmp_path / "b.tif", data)) as reader:
        assert reader.valid(0, 0, 23, 17).all()


def test_not_a_number_can_be_nodata(tmp_path: Path) -> None:
    data = pixels(dtype=np.float32)
    data[:, 3, 5] = np.nan
    with RasterReader(write(tmp_path / "a.tif", data, nodata=math.nan)) as reader:
        assert np.argwhere(~reader.valid(0, 0, 23, 17)).tolist() == [[3, 5]]


def test_a_mask_band_says_what_is_valid(tmp_path: Path) -> None:
    mask = np.ones((23, 17), dtype=np.bool_)
    mask[4:6, 9:] = False
    with RasterReader(write(tmp_path / "a.tif", mask=mask)) as reader:
        assert np.array_equal(reader.valid(0, 0, 23, 17), mask)
        assert np.array_equal(reader.valid(1, 3, 9, 9), mask[1:10, 3:12])


def test_alpha_says_what_is_valid(tmp_path: Path) -> None:
    data = pixels((4, 23, 17))
    data[3] = 255
    data[3, 4:6, 9:] = 0
    with RasterReader(write(tmp_path / "a.tif", data, photometric="RGB", alpha="YES")) as reader:
        assert np.array_equal(reader.valid(0, 0, 23, 17), data[3] == 255)


def test_a_fourth_band_that_gdal_takes_for_alpha_is_data_when_it_has_a_name(tmp_path: Path) -> None:
    data = pixels((4, 23, 17))
    data[3, 4:6, 9:] = 0
    path = write(tmp_path / "a.tif", data, names=("red", "green", "blue", "nir"))
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == rasterio.enums.ColorInterp.alpha
    with RasterReader(path) as reader:
        assert reader.valid(0, 0, 23, 17).all()


def hide_by_alpha(data: NDArray[Any]) -> None:
    data[3] = 255
    data[3, 4:6, 9:] = 0


def hide_by_value(data: NDArray[Any]) -> None:
    data[:, 4:6, 9:] = 7
    data[1, 5:12, 3] = 7


HIDDEN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "value": {"nodata": 7},
    "value of floats": {"nodata": 7, "dtype": np.float32},
    "a value that no pixel has": {"nodata": 255},
    "mask": {"mask": np.arange(23 * 17).reshape(23, 17) % 3 > 0},
    "alpha": {"photometric": "RGB", "alpha": "YES"},
    "alpha that is data": {"names": ("red", "green", "blue", "nir")},
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_pixels_and_what_hides_them_are_read_together(kind: str, tmp_path: Path) -> None:
    options = dict(HIDDEN[kind])
    dtype, bands = options.pop("dtype", np.uint8), 4 if "alpha" in kind else 3
    data = pixels((bands, 23, 17)).astype(dtype)
    (hide_by_alpha if "alpha" in kind else hide_by_value)(data)
    with RasterReader(write(tmp_path / "a.tif", data, **options)) as reader:
        found, valid = reader.read_valid(2, 3, 20, 13)
        expected = reader.valid(2, 3, 20, 13)
    assert np.array_equal(found, data[:, 2:22, 3:16])
    assert expected.all() == (
        kind in ("nothing", "a value that no pixel has", "alpha that is data")
    )
    assert (valid is None) == (kind in ("nothing", "alpha that is data"))
    assert valid is None or np.array_equal(valid, expected)


def test_what_hides_nothing_is_never_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(RasterReader, "valid")
    for name, nodata in [("a", None), ("b", 7)]:
        with RasterReader(write(tmp_path / f"{name}.tif", nodata=nodata)) as reader:
            reader.read_valid(0, 0, 23, 17)


@given(bands=st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_a_pixel_is_nodata_when_all_bands_that_are_read_are(holed: Path, bands: list[int]) -> None:
    with RasterReader(holed) as reader:
        whole = reader.read_all()
        found, valid = reader.read_valid(1, 2, 9, 8, bands=bands)
    assert np.array_equal(found, whole[bands, 1:10, 2:10])
    assert valid is not None
    assert np.array_equal(valid, found.any(axis=0))


def test_nodata_values_that_differ_among_bands_are_each_bands_own(tmp_path: Path) -> None:
    data = pixels()
    data[:, 3:9, 4:8] = np.array([3, 4, 5])[:, None, None]
    source = write(tmp_path / "a.tif", data)
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><NoDataValue>{value}</NoDataValue>'
        f"<SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>{band}</SourceBand>"
        "</SimpleSource></VRTRasterBand>"
        for band, value in ((1, 3), (2, 4), (3, 5))
    )
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="17" rasterYSize="23"><SRS>EPSG:2154</SRS>'
        f"<GeoTransform>7e5,0.2,0,6.6e6,0,-0.2</GeoTransform>{bands}</VRTDataset>"
    )
    with RasterReader(tmp_path / "a.vrt") as reader:
        _, valid = reader.read_valid(0, 0, 23, 17)
        assert valid is not None
        assert np.array_equal(valid, reader.valid(0, 0, 23, 17))
    assert np.array_equal(~valid, (data == np.array([3, 4, 5])[:, None, None]).all(axis=0))


def test_bands_are_read_into_a_part_of_an_array(tmp_path: Path) -> None:
    data = pixels()
    canvas = np.zeros((2, 30, 30), dtype=np.uint8)
    with RasterReader(write(tmp_path / "a.tif", data)) as reader:
        reader.read(4, 2, 7, 5, bands=(2, 0), out=canvas[:, 3:10, 20:25])
    assert np.array_equal(canvas[:, 3:10, 20:25], data[[2, 0], 4:11, 2:7])
    canvas[:, 3:10, 20:25] = 0
    assert not canvas.any()


def test_the_header_tells_of_blocks_and_alpha(tmp_path: Path) -> None:
    tiled = describe(write(tmp_path / "a.tif", tiled=True, blockxsize=32, blockysize=16))
    assert (tiled.block_height, tiled.block_width, tiled.alpha) == (16, 32, None)
    rows = describe(write(tmp_path / "b.tif", blockysize=1))
    assert (rows.block_height, rows.block_width) == (1, 17)
    data = pixels((4, 23, 17))
    assert describe(write(tmp_path / "c.tif", data)).alpha == 3
    named = write(tmp_path / "d.tif", data, names=("red", "green", "blue", "nir"))
    assert describe(named).alpha is None


def test_a_reader_closes_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    with RasterReader(path) as reader:
        pass
    with pytest.raises(DataError, match="cannot be read"):
        reader.read_all()
