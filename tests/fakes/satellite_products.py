"""Sentinel-2 products of a few pixels, in the forms that users have them in."""

import json
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.geoseries import GeoSeries, open_series
from runtime.grid import Grid
from runtime.satellite import BANDS
from segx.sample.safe import FINE
from segx.satellite import Converted, Source, convert, find_products

SIDE = 46


def quiet(done: int, total: int) -> None:
    pass


def converted(
    root: Path, out: Path, aerial: Grid | None = None
) -> tuple[list[Converted], GeoSeries]:
    written, _ = convert(Source(products=find_products(root), aerial=aerial), out, quiet)
    return written, open_series(out)


def pixels(path: Path) -> NDArray[np.uint16]:
    with rasterio.open(path) as source:
        image: NDArray[np.uint16] = source.read()
    return image


def place(size_m: int = 10) -> Affine:
    return Affine(size_m, 0, 586_020.0, 0, -size_m, 5_651_280.0)


def write_one(path: Path, image: NDArray[np.generic], size_m: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=image.shape[0],
        width=image.shape[1],
        dtype=image.dtype,
        crs="EPSG:32633",
        transform=place(size_m),
    ) as target:
        target.write(image, 1)


def write_bands(
    folder: Path, bands: NDArray[np.uint16], stem: str = "T33UWS_20210619T100031"
) -> Path:
    for band, image in zip(BANDS, bands, strict=True):
        fine = band in FINE
        name = f"{stem}_{band}_{10 if fine else 20}m.tif"
        write_one(folder / name, image if fine else image[::2, ::2], 10 if fine else 20)
    return folder


def item_of(day: str, bands: NDArray[np.uint16], folder: Path, **properties: object) -> Path:
    """A STAC item with common names, as Earth Search has them."""
    common = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08")
    assets = {}
    for key, image in zip((*common, "swir16", "swir22"), bands, strict=True):
        write_one(folder / day / f"{key}.tif", image)
        assets[key] = {"href": f"./{day}/{key}.tif"}
    assets["thumbnail"] = {"href": "https://nowhere.example/t.jpg"}
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2A_33UWS_{day}",
        "properties": {"datetime": f"{day[:4]}-{day[4:6]}-{day[6:]}T10:00:31Z", **properties},
        "assets": assets,
    }
    path = folder / f"{day}.json"
    path.write_text(json.dumps(item))
    return path
