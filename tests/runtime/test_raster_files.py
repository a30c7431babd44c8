"""An image from elsewhere must not choose GDAL's reader; where it may lead is in tests/attacks."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from runtime.errors import DataError
from runtime.raster import RasterReader
from runtime.raster_files import open_raster

PLACE = Affine(0.2, 0, 7e5, 0, -0.2, 6.6e6)


def write_raster(path: Path, *, driver: str = "GTiff", **options: object) -> Path:
    settings = {"dtype": "uint8", "count": 3, "width": 16, "height": 16, **options}
    with rasterio.open(
        path, "w", driver=driver, crs="EPSG:2154", transform=PLACE, **settings
    ) as target:
        target.write(np.arange(3 * 256).astype(np.uint8).reshape(3, 16, 16))
    return path


def write_vrt(path: Path, source: str, *, relative: int = 1, more: str = "") -> Path:
    path.write_text(
        '<VRTDataset rasterXSize="16" rasterYSize="16"><SRS>EPSG:2154</SRS>'
        f"<GeoTransform>7e5,0.2,0,6.6e6,0,-0.2</GeoTransform>{more}"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


@pytest.mark.parametrize("driver", ["GTiff", "PNG", "JPEG", "JP2OpenJPEG"])
def test_files_of_the_named_formats_open(driver: str, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "image", driver=driver)
    with open_raster(path) as dataset:
        assert dataset.driver == driver
        assert dataset.shape == (16, 16)


def test_an_ascii_grid_of_heights_opens(tmp_path: Path) -> None:
    (tmp_path / "dtm.asc").write_text(
        "NCOLS 2\nNROWS 2\nXLLCORNER 7e5\nYLLCORNER 6.6e6\nCELLSIZE 1\n1 2\n3 4\n"
    )
    with open_raster(tmp_path / "dtm.asc") as dataset:
        assert dataset.read(1).tolist() == [[1, 2], [3, 4]]


def test_a_vrt_of_local_files_opens(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    inner = write_vrt(tmp_path / "inner.vrt", "a.tif")
    outer = write_vrt(tmp_path / "outer.vrt", str(inner), relative=0)
    with RasterReader(outer) as reader, RasterReader(tmp_path / "a.tif") as whole:
        assert (reader.read_all() == whole.read_all()[:1]).all()


def test_a_link_to_a_vrt_opens_what_lies_beside_the_vrt(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write_raster(tmp_path / "below" / "a.tif")
    (tmp_path / "link.vrt").symlink_to(write_vrt(tmp_path / "below" / "a.vrt", "a.tif"))
    with open_raster(tmp_path / "link.vrt") as dataset:
        assert dataset.read(1)[0, :3].tolist() == [0, 1, 2]


def test_what_belongs_to_an_image_is_read_from_beside_it(tmp_path: Path) -> None:
    path, mask = tmp_path / "a.png", tmp_path / "a.png.msk"
    write_raster(path, driver="PNG").with_name("a.png.aux.xml").unlink(missing_ok=True)
    (tmp_path / "a.pgw").write_text("0.2\n0\n0\n-0.2\n700000.1\n6599999.9\n")
    with rasterio.open(mask, "w", "GTiff", 16, 16, 1, None, PLACE, "uint8") as target:
        target.update_tags(INTERNAL_MASK_FLAGS_1=2)
        target.write(np.eye(16, dtype=np.uint8)[None] * 255)
    with open_raster(path) as dataset:
        assert dataset.transform.almost_equals(PLACE)
        assert (dataset.dataset_mask() == np.eye(16) * 255).all()


def test_overviews_beside_an_image_are_taken(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as target:
        target.build_overviews([2])
    assert (tmp_path / "a.tif.ovr").is_file()
    with open_raster(path) as dataset:
        assert dataset.overviews(1) == [2]


def test_metadata_of_a_vrt_may_hold_addresses(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    about = '<Metadata><MDI key="licence">https://example.org/licence</MDI></Metadata>'
    with open_raster(write_vrt(tmp_path / "a.vrt", "a.tif", more=about)) as dataset:
        assert dataset.tags()["licence"] == "https://example.org/licence"


@pytest.mark.parametrize(
    "content",
    [
        b"<GDAL_WMS><Service name='WMS'><ServerUrl>http://127.0.0.1/</ServerUrl></Service></GDAL_WMS>",
        b'{"type": "FeatureCollection", "features": []}',
        b"P6\n8 8\n255\n" + bytes(192),
        b"",
        b"#!/bin/sh\n",
        b"\x89HDF\r\n\x1a\n",
    ],
    ids=["wms", "json", "ppm", "empty", "script", "hdf5"],
)
def test_other_formats_are_refused_by_their_first_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"it begins with .* expected a GeoTIFF"):
        open_raster(path)
    with pytest.raises(DataError, match="it begins with"):
        open_raster(write_vrt(tmp_path / "a.vrt", "image.tif"))


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there; expected"):
        open_raster(tmp_path)
