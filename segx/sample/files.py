"""Write a sample's files: rasters tagged as synthetic, in a folder that is whole or absent."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.errors import DataError
from runtime.stream.survey import SAMPLE_TAG

from .. import __version__

AERIAL_CRS = "EPSG:2154"
AERIAL_BANDS = ("red", "green", "blue", "nir", "elevation")

_FORMAT = {
    "driver": "GTiff",
    "tiled": True,
    "compress": "deflate",
    "predictor": 2,
    "zlevel": 4,
}

README = """Synthetic data, made by segx sample.

Nothing here was photographed: land, aerial image and Sentinel-2 series are computed.
Use it to try the tools; a score reached on it says nothing about real land.

layout: {layout}
seed: {seed}
segx: {version}
"""


@contextmanager
def new_folder(out: Path, *, layout: str, seed: int) -> Iterator[Path]:
    """Give a folder to fill beside `out`; it takes that name once all is written.

    Raises:
        DataError: If `out` is a file or holds something, or cannot be made.
    """
    _check_empty(out)
    staging = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise DataError(
            f"{out} cannot be made ({error.strerror}); expected a folder that may be written; "
            "give another folder"
        ) from error
    try:
        yield staging
        text = README.format(layout=layout, seed=seed, version=__version__)
        (staging / "README.txt").write_text(text, encoding="utf-8")
        if out.exists():
            out.rmdir()
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_empty(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out} is a file; expected a new or empty folder; give another name")
    held = sum(1 for _ in out.iterdir())
    if held:
        raise DataError(
            f"{out} already holds {held} entries; expected a new or empty folder; "
            "give another folder or empty this one"
        )


def write_raster(
    path: Path,
    image: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32],
    transform: Affine,
    *,
    bands: tuple[str, ...] = (),
    crs: str = AERIAL_CRS,
    nodata: int | None = None,
) -> None:
    """Write a tiled, compressed and tagged GeoTIFF.

    Args:
        path: The file; its folder must exist.
        image: Values, shape (bands, rows, columns).
        transform: From (column, row) in pixel edges to (x, y).
        bands: Names of the bands.
        crs: Coordinate reference system.
        nodata: Value that means no data.
    """
    count, rows, cols = image.shape
    size = {"count": count, "height": rows, "width": cols, "dtype": image.dtype}
    place = {"crs": crs, "transform": transform, "nodata": nodata}
    # A block of 256 px around a few pixels and hundreds of bands takes seconds to compress.
    side = 256 if max(rows, cols) > 16 else 16
    blocks = {"blockxsize": side, "blockysize": side}
    interleave = "pixel" if count > 1 else "band"
    profile = {**size, **place, **blocks, **_FORMAT, "interleave": interleave}
    with rasterio.open(path, "w", **profile) as target:
        target.write(image)
        target.update_tags(**{SAMPLE_TAG: __version__})
        for index, name in enumerate(bands, start=1):
            target.set_band_description(index, name)
