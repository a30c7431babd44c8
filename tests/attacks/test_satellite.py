"""Sentinel-2 products that were made to harm are refused by `segx satellite --from`."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from run_command import Result
from satellite_products import item_of, write_bands

from runtime.satellite import BANDS

from .conftest import Refuse

Change = Callable[[Path, str, Path], object]


class Attack(NamedTuple):
    """How whole products are changed, and what is said of them."""

    change: Change
    """Takes the folder, the address of a listener, and a secret file."""
    said: str


def pixels() -> NDArray[np.uint16]:
    rng = np.random.default_rng(9)
    return rng.integers(1, 5000, (len(BANDS), 46, 46)).astype(np.uint16)


def vrt_band(folder: Path, address: str, secret: Path) -> None:
    band = next(folder.glob("*_B04_*"))
    band.write_text(
        '<VRTDataset rasterXSize="46" rasterYSize="46"><VRTRasterBand dataType="UInt16" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="0">/vsicurl/{address}/a.tif'
        "</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def overviews(folder: Path, address: str, secret: Path) -> None:
    """Overviews elsewhere, and pixels so small that the series needs them."""
    band = next(folder.glob("*_B04_*"))
    with rasterio.open(band, "r+") as target:
        target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{address}/a.ovr")


def zipped(folder: Path, address: str, secret: Path) -> None:
    """The same in a zip, whose files are opened by another name."""
    overviews(folder, address, secret)
    product = "S2A_MSIL2A_20210619T100031_N0300_R122_T33UWS_20210619T135921.SAFE"
    with zipfile.ZipFile(folder / "product.zip", "w") as archive:
        for path in sorted(folder.glob("*.tif")):
            archive.write(path, f"{product}/GRANULE/L2A/IMG_DATA/R10m/{path.name}")
            path.unlink()


def mask_beside(folder: Path, address: str, secret: Path) -> None:
    band = next(folder.glob("*_B04_*"))
    band.with_name(band.name + ".msk").write_text(
        f"<GDAL_WMS><Service name='TMS'><ServerUrl>{address}</ServerUrl></Service></GDAL_WMS>"
    )


def bomb(folder: Path, address: str, secret: Path) -> None:
    band = next(folder.glob("*_B04_*"))
    with rasterio.open(band) as source:
        place = {"crs": source.crs, "transform": source.transform}
    side = {"width": 39_936, "height": 39_936, "blockxsize": 39_936, "blockysize": 39_936}
    options = {"tiled": True, "compress": "deflate", "SPARSE_OK": True, "dtype": "uint16"}
    rasterio.open(band, "w", "GTiff", count=1, **place, **side, **options).close()


def href(text: str) -> Change:
    """An item whose red band lies elsewhere."""

    def change(folder: Path, address: str, secret: Path) -> None:
        for path in folder.glob("*.tif"):
            path.unlink()
        file = item_of("20230301", pixels(), folder)
        (folder / "link.tif").symlink_to(secret)
        item = json.loads(file.read_text())
        item["assets"]["red"]["href"] = text.format(address, secret)
        file.write_text(json.dumps(item))

    return change


def named_elsewhere(folder: Path, address: str, secret: Path) -> None:
    with zipfile.ZipFile(folder / "product.zip", "w") as archive:
        archive.writestr("a.SAFE/../../harm.jp2", b"")


def json_bomb(folder: Path, address: str, secret: Path) -> None:
    (folder / "item.json").write_text('{"type":' * 50_000 + "1" + "}" * 50_000)


ATTACKS = {
    "a VRT in place of a band": Attack(vrt_band, "expected GTiff or JP2OpenJPEG"),
    "a band with overviews elsewhere": Attack(overviews, "as its overviews"),
    "a zipped band with overviews elsewhere": Attack(zipped, "as its overviews"),
    "a band with a mask that is a web service": Attack(mask_beside, ".msk cannot be opened"),
    "a band that unpacks to 3 GiB at once": Attack(bomb, "in blocks of 39936 x 39936 px, 3.0 GiB"),
    "an item of another host": Attack(href("{0}/B04.tif"), "which is not on disk"),
    "an item that fetches": Attack(href("/vsicurl/{0}/B04.tif"), "which is not on disk"),
    "an item that leaves its folder": Attack(href("../../../{1}"), "which lies outside"),
    "an item with an absolute path": Attack(href("{1}"), "which lies outside"),
    "an item with a link that leaves": Attack(href("link.tif"), "which lies outside"),
    "a zip whose names leave it": Attack(named_elsewhere, "which leaves it"),
    "an item nested too deep": Attack(json_bomb, "item.json cannot be read as JSON"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_products_are_refused_when_they_are_converted(
    name: str,
    refuse: Refuse,
    tmp_path: Path,
    secret: Path,
    listener: tuple[str, list[str]],
) -> None:
    address, asked = listener
    folder = write_bands(tmp_path / "products", pixels())
    ATTACKS[name].change(folder, address, secret)
    message = refuse("satellite", "--from", folder, "--out", "sentinel2")
    assert ATTACKS[name].said in message
    assert not asked


def test_the_products_that_are_changed_are_whole(
    segx: Callable[..., Result], tmp_path: Path
) -> None:
    folder = write_bands(tmp_path / "products", pixels())
    assert segx("satellite", "--from", folder, "--out", "sentinel2").code == 0
