"""Write Sentinel-2 products as they are published, small: a `.SAFE` tree per date.

OUT/aerial.tif                                    5 bands, of the synthetic scene
    NAME.SAFE/MTD_MSIL2A.xml                      name, baseline and offset only
        GRANULE/L2A_T31TGK/IMG_DATA/R10m/*_B02_10m.jp2      B02 B03 B04 B08
                                    R20m/*_B05_20m.jp2      B05 B06 B07 B8A B11 B12
                           QI_DATA/MSK_CLDPRB_20m.jp2, MSK_SNWPRB_20m.jp2

Images are lossless JPEG 2000. Bands of 20 m are means of four cells of a series of 10 m, and
probabilities of cloud and snow their largest. From a series of a user's own there is no aerial
image, and probabilities only where the series has masks.
"""

import datetime
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.geoseries import GeoSeries, open_series
from runtime.radiometry import DateOffset
from runtime.raster_files import open_raster
from runtime.satellite import BANDS
from runtime.scene import SATELLITE_FOLDER, SCENE_AERIAL

from .files import new_folder
from .scene import write_scene

FINE = ("B02", "B03", "B04", "B08")
"""Bands of 10 m; the others are of 20 m."""
SCENE_PX = (640, 640)
DATES = 6
"""Dates that are written of the synthetic year."""
TILE = "T31TGK"
BASELINES = {0: "03.01", 1000: "05.09"}
"""Baseline that products name, by their radiometric offset."""

_METADATA = """<?xml version="1.0" encoding="UTF-8"?>
<Level-2A_User_Product>
  <PRODUCT_URI>{name}</PRODUCT_URI>
  <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
  <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
{offsets}</Level-2A_User_Product>
"""


def write_safe(
    out: Path, *, seed: int, series: Path | None, on_date: Callable[[int, int], None]
) -> Path:
    """Write `.SAFE` trees.

    Args:
        out: Folder to make; it may exist if it is empty.
        seed: The same seed gives the same files.
        series: Folder of `S2_YYYYMMDD.tif` that are written so; None invents a scene.
        on_date: Called with the dates written and the dates in all.

    Returns:
        `out`.

    Raises:
        DataError: If `out` holds something, or the series cannot be read.
    """
    with new_folder(out, layout="safe", seed=seed) as root, _scene(root, series, seed) as folder:
        opened = open_series(folder)
        chosen = range(opened.dates)
        if series is None:
            chosen = range(0, opened.dates, max(opened.dates // DATES, 1))
        for number, place in enumerate(chosen, start=1):
            _write_product(root, opened, place)
            on_date(number, len(chosen))
    return out


@contextmanager
def _scene(root: Path, series: Path | None, seed: int) -> Iterator[Path]:
    """Give the series to write: the one named, or that of a scene whose image is kept."""
    if series is not None:
        yield series
        return
    with tempfile.TemporaryDirectory(prefix="segx-sample-") as name:
        scene = write_scene(Path(name) / "scene", seed=seed, shape=SCENE_PX)
        (root / SCENE_AERIAL).write_bytes((scene / SCENE_AERIAL).read_bytes())
        yield scene / SATELLITE_FOLDER


def _write_product(root: Path, series: GeoSeries, place: int) -> None:
    """Write one date."""
    found, files = series.radiometry[place], series.store.files[place]
    name = _name(found)
    granule = root / name / "GRANULE" / f"L2A_{TILE}"
    images, masks = granule / "IMG_DATA", granule / "QI_DATA"
    for folder in (images / "R10m", images / "R20m", masks):
        folder.mkdir(parents=True)
    day, transform, crs = f"{found.day:%Y%m%d}", series.grid.transform, series.grid.crs.to_string()
    stem = f"{TILE}_{day}T100031"
    with open_raster(files.bands) as source:
        dn = source.read()
    for band, image in zip(BANDS, dn, strict=True):
        if band in FINE:
            _write_jp2(images / "R10m" / f"{stem}_{band}_10m.jp2", image, transform, crs)
        else:
            mean = np.rint(_fours(image).mean(axis=(1, 3))).astype(np.uint16)
            _write_jp2(images / "R20m" / f"{stem}_{band}_20m.jp2", mean, _coarse(transform), crs)
    if files.masks is not None:
        with open_raster(files.masks) as source:
            cover = source.read()
        for layer, image in zip(("SNWPRB", "CLDPRB"), cover, strict=True):
            most = _fours(image).max(axis=(1, 3))
            _write_jp2(masks / f"MSK_{layer}_20m.jp2", most, _coarse(transform), crs)
    text = "".join(
        f'  <BOA_ADD_OFFSET band_id="{number}">-{found.dn}</BOA_ADD_OFFSET>\n'
        for number in range(13)
        if found.dn
    )
    metadata = _METADATA.format(name=name, baseline=BASELINES[found.dn], offsets=text)
    (root / name / "MTD_MSIL2A.xml").write_text(metadata, encoding="utf-8")


def _name(found: DateOffset) -> str:
    day, baseline = f"{found.day:%Y%m%d}", BASELINES[found.dn].replace(".", "")
    later = f"{found.day + datetime.timedelta(days=1):%Y%m%d}"
    return f"S2A_MSIL2A_{day}T100031_N{baseline}_R122_{TILE}_{later}T120000.SAFE"


def _fours(image: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Share an image into squares of four, (rows, 2, cols, 2); an odd border is repeated."""
    rows, cols = image.shape
    even = np.pad(image, ((0, rows % 2), (0, cols % 2)), mode="edge")
    return even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)


def _coarse(transform: Affine) -> Affine:
    a, b, c, d, e, f = transform[:6]
    return Affine(2 * a, 2 * b, c, 2 * d, 2 * e, f)


def _write_jp2(path: Path, image: NDArray[np.uint16], transform: Affine, crs: str) -> None:
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        count=1,
        height=image.shape[0],
        width=image.shape[1],
        dtype=image.dtype,
        crs=crs,
        transform=transform,
        QUALITY=100,
        REVERSIBLE="YES",
    ) as target:
        target.write(image, 1)
