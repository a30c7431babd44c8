"""Laws: a plane stays a plane, whatever the grid and CRS; a window is the crop of the whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from height_planes import EAST, MOSAIC, NORTH, TURNED, around, expected, plane_on, whole
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.aerial import elevation
from runtime.aerial.elevation import RasterElevation, open_elevation
from runtime.aerial.mosaic import join
from runtime.aerial.reader import ExtraBand, MosaicReader
from runtime.errors import BandError, DataError, GridError
from runtime.grid import Grid
from runtime.raster import RasterReader
from runtime.scene import Scene

Write = Callable[..., Path]


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Windows that are read from now on: first row, first column, rows, columns."""
    reads: list[tuple[int, ...]] = []
    read = RasterReader.read

    def counted(self: RasterReader, *box: int) -> NDArray[Any]:
        reads.append(box)
        return read(self, *box)

    monkeypatch.setattr(RasterReader, "read", counted)
    return reads


@pytest.fixture
def save(write_aerial: Write, tmp_path: Path) -> Callable[..., Path]:
    def write(values: NDArray[Any], grid: Grid, **options: Any) -> Path:
        return write_aerial(
            tmp_path / "dsm.tif",
            values[None],
            bands=(),
            crs=grid.crs.to_string(),
            transform=grid.transform,
            **options,
        )

    return write


# What the band holds.


def test_zero_is_zero_everywhere() -> None:
    band = open_elevation("zero", MOSAIC)
    codes, valid = band.read(slice(3, 5), slice(0, 7))
    assert codes.shape == valid.shape == (2, 7)
    assert codes.dtype == np.uint8
    assert not codes.any()
    assert valid.all()
    assert band.text == "zero everywhere"
    band.close()


def test_the_code_is_taken_as_stored(save: Write) -> None:
    stored = np.random.default_rng(1).integers(0, 256, MOSAIC.shape, dtype=np.uint8)
    band = open_elevation(str(save(stored, MOSAIC)), MOSAIC)
    codes, valid = whole(band, MOSAIC)
    np.testing.assert_array_equal(codes, stored)
    assert valid.all()
    assert band.text == "dsm.tif, as stored"
    band.close()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_metres_become_the_code(dtype: str, save: Write) -> None:
    metres = np.random.default_rng(2).integers(-5, 60, MOSAIC.shape).astype(dtype)
    band = RasterElevation([save(metres, MOSAIC)], MOSAIC)
    np.testing.assert_array_equal(whole(band, MOSAIC)[0], np.clip(metres * 5, 0, 255))
    assert band.text == "dsm.tif, metres x 5"
    band.close()


@pytest.mark.parametrize("target", [MOSAIC, TURNED])
@pytest.mark.parametrize(
    "source",
    [
        around(2154, 0.5, 260),
        around(2154, 0.13, 900),
        around(32631, 0.5, 260),
        around(4326, 4e-6, 500),
    ],
)
def test_a_plane_is_the_same_plane_on_the_mosaic(source: Grid, target: Grid, save: Write) -> None:
    band = RasterElevation([save(plane_on(source), source)], target)
    codes, valid = whole(band, target)
    assert valid.all()
    assert np.abs(codes - expected(target)).max() <= 0.65, "half a unit, and the warper's tolerance"
    assert band.text == "dsm.tif, metres x 5, resampled bilinearly"
    band.close()


def test_many_fine_pixels_go_into_one(
    save: Write, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(elevation, "_SOURCE_SIDE", 100)
    coarse = Grid((20, 20), Affine(2, 0, EAST, 0, -2, NORTH), MOSAIC.crs)
    source = around(2154, 0.1, 600)
    noise = np.random.default_rng(3).normal(0, 3, source.shape).astype(np.float32)
    band = RasterElevation([save(plane_on(source) + noise, source)], coarse)
    reads = counted_reads(monkeypatch)
    codes, valid = whole(band, coarse)
    assert valid.all()
    assert 100 <= max(read[2] for read in reads) < 240, "squares of 100, and what is around them"
    assert np.abs(codes - expected(coarse)).mean() < 1, "bare sampling would keep the noise: 12"
    assert not recwarn
    band.close()


def test_scale_and_offset_lead_to_metres(save: Write) -> None:
    stored = np.random.default_rng(4).integers(0, 3000, MOSAIC.shape, dtype=np.int16)
    path = save(stored, MOSAIC)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets, dataset.units = (0.01,), (2.0,), ("metre",)
    band = RasterElevation([path], MOSAIC)
    wanted = np.clip((stored * 0.01 + 2) * 5, 0, 255)
    assert np.abs(whole(band, MOSAIC)[0] - wanted).max() <= 0.5001
    band.close()


def test_the_band_is_a_further_channel_of_a_mosaic(
    write_aerial: Write, save: Write, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (4, 30, 40), dtype=np.uint8)
    path = write_aerial(
        tmp_path / "a.tif",
        pixels,
        bands=("red", "green", "blue", "nir"),
        transform=MOSAIC.transform,
    )
    metres = np.random.default_rng(7).integers(0, 50, (20, 40)).astype(np.float32)
    (mosaic,) = join([Scene(aerial=path, satellite=None)], reach=0)
    layers: list[ExtraBand] = [open_elevation(str(save(metres, MOSAIC)), mosaic.grid)]
    with MosaicReader(mosaic, layers=layers) as reader:
        window = reader.read(slice(10, 30), slice(5, 40))
    np.testing.assert_array_equal(window.pixels[:4], pixels[:, 10:, 5:])
    np.testing.assert_array_equal(window.pixels[4, :10], metres[10:, 5:] * 5)
    np.testing.assert_array_equal(window.valid, np.indices((20, 35))[0] < 10)


# Where it holds nothing.


@pytest.mark.parametrize("how", ["value", "mask", "nan", "outside"])
def test_what_is_not_known_is_invalid_and_zero(how: str, save: Write) -> None:
    metres = np.full(MOSAIC.shape, 8, dtype=np.float32)
    known = np.ones(MOSAIC.shape, dtype=np.bool_)
    known[250:, 100:270] = False
    options: dict[str, Any] = {}
    if how == "value":
        metres[~known], options["nodata"] = -9999, -9999
    if how == "mask":
        options["mask"] = known
    if how == "nan":
        metres[~known] = np.nan
    if how == "outside":
        known[:] = True
        known[250:] = False
        metres = metres[:250]
    band = RasterElevation([save(metres, MOSAIC, **options)], MOSAIC)
    codes, valid = whole(band, MOSAIC)
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(codes, np.where(known, 40, 0))
    band.close()


# Windows.


@given(data=st.data())
def test_a_window_is_the_crop_of_the_whole(data: st.DataObject, opened: RasterElevation) -> None:
    codes, valid = whole(opened, MOSAIC)
    runs = []
    for size in MOSAIC.shape:
        start = data.draw(st.integers(0, size - 1))
        runs.append(slice(start, data.draw(st.integers(start + 1, size))))
    found = opened.read(*runs)
    np.testing.assert_array_equal(found[0], codes[tuple(runs)])
    np.testing.assert_array_equal(found[1], valid[tuple(runs)])


@pytest.fixture(scope="module")
def opened(write_aerial: Write, tmp_path_factory: pytest.TempPathFactory) -> Any:
    source = around(32631, 0.3, 150)
    metres = np.random.default_rng(5).uniform(0, 50, source.shape).astype(np.float32)
    path = write_aerial(
        tmp_path_factory.mktemp("dsm") / "dsm.tif",
        metres[None],
        bands=(),
        crs="EPSG:32631",
        transform=source.transform,
    )
    band = RasterElevation([path], MOSAIC)
    yield band
    band.close()


def test_a_square_is_made_once_and_few_are_kept(
    save: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elevation, "CHUNK", 64)
    monkeypatch.setattr(elevation, "CACHE_BYTES", 6 * 2 * 64**2)
    band = RasterElevation([save(np.full(MOSAIC.shape, 8, dtype=np.float32), MOSAIC)], MOSAIC)
    reads = counted_reads(monkeypatch)
    for row in range(0, 300, 10):
        band.read(slice(row, row + 10), slice(0, 310))
        assert len(band._chunks) <= 6
    assert len(reads) <= 5 * 5 * 2, "a row of squares stays while it is passed; once per edge"
    band.close()


# What is refused.


def refusal(kind: type[DataError], path: Path, grid: Grid = MOSAIC) -> str:
    with pytest.raises(kind) as refused:
        open_elevation(str(path), grid)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert message.count(";") >= 2, "found; expected; remedy"
    assert "\n" not in message
    return message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "is not there" in refusal(DataError, tmp_path / "dsm.tif")


def test_several_bands_are_refused(write_aerial: Write, tmp_path: Path) -> None:
    path = write_aerial(tmp_path / "dsm.tif", np.zeros((2, 5, 5), dtype=np.float32), bands=())
    assert "has 2 float32 band(s); expected one of heights" in refusal(BandError, path)


def test_feet_are_refused(save: Write) -> None:
    path = save(np.zeros((5, 5), dtype=np.float32), MOSAIC)
    with rasterio.open(path, "r+") as dataset:
        dataset.units = ("US survey foot",)
    assert "counts heights in US survey foot; expected metres" in refusal(BandError, path)


def test_heights_of_another_place_are_refused(save: Write) -> None:
    path = save(np.zeros((5, 5), dtype=np.float32), MOSAIC.crop(5000, 0, 5, 5))
    assert "lies beside the aerial imagery" in refusal(GridError, path)


def test_heights_above_the_sea_are_refused(save: Write) -> None:
    path = save(np.full(MOSAIC.shape, 431, dtype=np.int16), MOSAIC)
    message = refusal(DataError, path)
    assert "says 431 m for most of the ground; expected heights above the ground" in message
