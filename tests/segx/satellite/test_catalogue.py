"""The half that downloads, against a catalogue on this machine."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from runtime.errors import BandError, SatelliteError
from runtime.geoseries import open_series
from runtime.grid import Grid
from segx.satellite import Source, convert
from segx.satellite.catalogue import Query, reading, search

pytest.importorskip("pystac_client")

SIDE = 1024
CRS = "EPSG:32633"
CORNER = (586_020.0, 5_651_280.0)
KEYS = (
    *("blue", "green", "red", "rededge1", "rededge2", "rededge3"),
    *("nir", "nir08", "swir16", "swir22"),
)
AERIAL = Grid(
    (300, 400),
    Affine(0.2, 0, CORNER[0] + 4003.0, 0, -0.2, CORNER[1] - 6007.0),
    rasterio.crs.CRS.from_string(CRS),
)


@dataclass
class Catalogue:
    """What the server on loopback has and was asked."""

    folder: Path
    url: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    catalogue: Catalogue
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_GET(self) -> None:
        if self.path in ("", "/"):
            self._json(landing(self.catalogue.url))
        else:
            self._file(body=True)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.catalogue.searches.append(json.loads(self.rfile.read(length)))
        self._json({"type": "FeatureCollection", "features": self.catalogue.items, "links": []})

    def _json(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _file(self, *, body: bool) -> None:
        path = self.catalogue.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = 0, len(data) - 1
        if asked:
            first = int(asked.group(1))
            last = min(int(asked.group(2) or last), last)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if body:
            self.catalogue.sent += last + 1 - first
            self.wfile.write(data[first : last + 1])


def landing(url: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "loopback",
        "description": "for a test",
        "conformsTo": [
            "https://api.stacspec.org/v1.0.0/core",
            "https://api.stacspec.org/v1.0.0/item-search",
        ],
        "links": [
            {"rel": "self", "href": url, "type": "application/json"},
            {"rel": "root", "href": url, "type": "application/json"},
            {
                "rel": "search",
                "href": f"{url}/search",
                "type": "application/geo+json",
                "method": "POST",
            },
        ],
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    catalogue = Catalogue(tmp_path_factory.mktemp("catalogue"))
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Bound", (Handler,), {"catalogue": catalogue})
    )
    catalogue.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    rng = np.random.default_rng(3)
    for key in (*KEYS, "scl"):
        high = 5000 if key != "scl" else 12
        image = rng.integers(1, high, (SIDE, SIDE)).astype(np.uint8 if key == "scl" else np.uint16)
        with rasterio.open(
            catalogue.folder / f"{key}.tif",
            "w",
            driver="GTiff",
            count=1,
            height=SIDE,
            width=SIDE,
            dtype=image.dtype,
            crs=CRS,
            transform=Affine(10, 0, CORNER[0], 0, -10, CORNER[1]),
            tiled=True,
            blockxsize=128,
            blockysize=128,
        ) as target:
            target.write(image, 1)
    yield catalogue
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def catalogue(served: Catalogue) -> Catalogue:
    served.items = [item(served.url, "20230301", 10.0), item(served.url, "20230620", 90.0)]
    served.searches, served.sent = [], 0
    return served


def item(url: str, day: str, cloud: float) -> dict[str, Any]:
    assets: dict[str, Any] = {key: {"href": f"{url}/{key}.tif"} for key in (*KEYS, "scl")}
    # The files as they were published, with the offset still in them, lie beside those without.
    assets |= {f"{key}-jp2": {"href": f"{url}/not/asked/{key}.jp2"} for key in (*KEYS, "scl")}
    assets |= {key: {"href": f"{url}/not/asked/{key}"} for key in ("coastal", "nir09", "visual")}
    assets["cloud"] = {"href": "s3://closed/CLD_20m.jp2"}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2A_33UWS_{day}_0_L2A",
        "geometry": None,
        "bbox": [15, 50, 16, 52],
        "properties": {
            "datetime": f"{day[:4]}-{day[4:6]}-{day[6:]}T10:00:31Z",
            "eo:cloud_cover": cloud,
            "grid:code": "MGRS-33UWS",
            "s2:processing_baseline": "05.09",
            "s2:product_uri": f"S2A_MSIL2A_{day}T100031_N0509_R122_T33UWS_{day}T140000.SAFE",
            "earthsearch:boa_offset_applied": True,
        },
        "links": [],
        "assets": assets,
    }


def test_only_the_windows_around_the_image_are_read(catalogue: Catalogue, tmp_path: Path) -> None:
    query = Query(aerial=AERIAL, year=2023, margin_m=200.0, url=catalogue.url)
    products = search(query)
    with reading():
        written, _ = convert(
            Source(products=products, aerial=AERIAL, margin_m=200.0),
            tmp_path / "s2",
            lambda done, total: None,
        )
    assert [(str(one.day), one.screening) for one in written] == [
        ("2023-03-01", "scene classification")
    ]
    whole = sum(path.stat().st_size for path in catalogue.folder.iterdir())
    assert 0 < catalogue.sent < whole / 4
    made = open_series(tmp_path / "s2")
    assert [(one.dn, one.origin) for one in made.radiometry] == [(0, "metadata")]
    with rasterio.open(tmp_path / "s2" / "S2_20230301.tif") as new:
        window = new.window(*new.bounds)
        image = new.read(7)
        with rasterio.open(catalogue.folder / "nir.tif") as old:
            part = old.read(1, window=old.window(*new.bounds))
    assert image.shape == (round(window.height), round(window.width))
    np.testing.assert_array_equal(image, part)


def test_the_catalogue_is_asked_for_the_year_and_the_ground(catalogue: Catalogue) -> None:
    search(Query(aerial=AERIAL, year=2023, url=catalogue.url))
    (asked,) = catalogue.searches
    assert asked["collections"] == ["sentinel-2-l2a"]
    assert asked["datetime"].startswith("2023-01-01")
    assert "2023-12-31" in asked["datetime"]
    west, south, east, north = asked["bbox"]
    xs, ys = rasterio.warp.transform(CRS, "EPSG:4326", [AERIAL.centre[0]], [AERIAL.centre[1]])
    assert west < xs[0] < east
    assert south < ys[0] < north
    assert max(east - west, north - south) < 0.02


def test_cloudy_products_are_left_out_unless_asked_for(catalogue: Catalogue) -> None:
    kept = search(Query(aerial=AERIAL, year=2023, url=catalogue.url, most_cloud=100.0))
    assert len(kept) == 2
    with pytest.raises(SatelliteError, match=r"lists 2 products of 2023 .* none with 5 %"):
        search(Query(aerial=AERIAL, year=2023, url=catalogue.url, most_cloud=5.0))


def test_a_product_of_which_a_band_cannot_be_read_openly_is_named(catalogue: Catalogue) -> None:
    catalogue.items[0]["assets"]["red"]["href"] = "s3://closed/B04.tif"
    with pytest.raises(BandError, match="S2A_33UWS_20230301_0_L2A lacks B04"):
        search(Query(aerial=AERIAL, year=2023, url=catalogue.url))


@pytest.mark.parametrize("path", ["/nothing", "/scl.tif"])
def test_what_is_no_catalogue_is_one_line(catalogue: Catalogue, path: str) -> None:
    with pytest.raises(SatelliteError, match="does not answer as a STAC catalogue") as caught:
        search(Query(aerial=AERIAL, year=2023, url=catalogue.url + path))
    assert "\n" not in str(caught.value)


def test_a_catalogue_that_is_not_there_is_one_line() -> None:
    with pytest.raises(SatelliteError, match="does not answer as a STAC catalogue"):
        search(Query(aerial=AERIAL, year=2023, url="http://127.0.0.1:9"))
