"""An image from elsewhere must not choose GDAL's reader, nor send this machine anywhere."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from runtime.errors import DataError
from runtime.raster import RasterReader
from runtime.raster_files import MOST_NESTED, open_raster

PLACE = Affine(0.2, 0, 7e5, 0, -0.2, 6.6e6)


def write_raster(path: Path, *, driver: str = "GTiff", **options: object) -> Path:
    settings = {"dtype": "uint8", "count": 3, "width": 16, "height": 16, **options}
    with rasterio.open(
        path, "w", driver=driver, crs="EPSG:2154", transform=PLACE, **settings
    ) as target:
        if options.get("SPARSE_OK") is None:
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


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """Serve nothing on loopback, and write down who asks."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


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


@pytest.mark.parametrize(
    "form",
    ["/vsicurl/{0}/a.tif", "{0}/a.tif", "/vsizip/a.zip/a.tif", "&lt;VRTDataset/&gt;"],
)
def test_a_vrt_that_leads_elsewhere_is_refused_before_anyone_is_asked(
    form: str, tmp_path: Path
) -> None:
    with listener() as (address, asked):
        path = write_vrt(tmp_path / "a.vrt", form.format(address), relative=0)
        with pytest.raises(DataError, match=r"leads to .* expected local files alone"):
            open_raster(path)
        assert not asked


def test_an_address_as_crs_is_refused(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    with listener() as (address, asked):
        path = write_vrt(tmp_path / "a.vrt", "a.tif", more=f"<SRS>{address}/crs</SRS>")
        with pytest.raises(DataError, match="leads to"):
            open_raster(path)
        assert not asked


def test_a_vrt_within_itself_is_refused(tmp_path: Path) -> None:
    path = write_vrt(tmp_path / "a.vrt", "a.vrt")
    with pytest.raises(DataError, match=rf"VRT of VRTs .* expected {MOST_NESTED} within"):
        open_raster(path)


def test_a_document_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.vrt").write_text(
        '<?xml version="1.0"?>\n<VRTDataset/><!DOCTYPE x [<!ENTITY a "b">]>'
    )
    with pytest.raises(DataError, match="declares a document type"):
        open_raster(tmp_path / "a.vrt")


@pytest.mark.parametrize("place", ["sidecar", "tag"])
def test_overviews_elsewhere_are_refused(place: str, tmp_path: Path) -> None:
    with listener() as (address, asked):
        path = write_raster(tmp_path / "a.tif")
        there = f"/vsicurl/{address}/a.ovr"
        if place == "sidecar":
            (tmp_path / "a.tif.aux.xml").write_text(
                '<PAMDataset><Metadata domain="OVERVIEWS">'
                f'<MDI key="OVERVIEW_FILE">{there}</MDI></Metadata></PAMDataset>'
            )
        else:
            with rasterio.open(path, "r+") as target:
                target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=there)
        with pytest.raises(DataError, match="as its overviews; expected them in the file"):
            open_raster(path)
        assert not asked


def test_blocks_too_large_to_decode_are_refused(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "bomb.tif",
        width=60_000,
        height=60_000,
        compress="deflate",
        tiled=True,
        blockxsize=60_000,
        blockysize=60_000,
        SPARSE_OK=True,
        interleave="pixel",
    )
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"stored in blocks of 60000 x 60000 px, 10\.1 GiB each"):
        open_raster(path)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there; expected"):
        open_raster(tmp_path)
