"""The raster that single-input tools map: an aerial file over and over, or a generated one."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.raster import reflected

BLOCK = 512
BANDS = ("red", "green", "blue", "nir", "elevation")
GROUND = Affine(0.2, 0.0, 861_904.6, 0.0, -0.2, 6_523_377.2)
"""Place of a generated raster, in EPSG:2154."""


def open_raster(path: Path) -> Any:
    """Open a raster with rasterio."""
    return rasterio.open(path)


def make_raster(path: Path, size: int, aerial: Path | None, *, seed: int = 0) -> Path:
    """Write a square raster, tiled and compressed as aerial imagery is.

    Args:
        path: GeoTIFF to write.
        size: Its side, in pixels.
        aerial: Imagery that is repeated, mirrored at its borders so that no seam is made; without
            one, smooth noise is.
        seed: Seed of the noise.
    """
    source = _generated(seed) if aerial is None else None
    names, transform, crs = BANDS, GROUND, "EPSG:2154"
    if aerial is not None:
        with open_raster(aerial) as opened:
            source = opened.read()
            names, transform, crs = opened.descriptions, opened.transform, opened.crs
    assert source is not None
    profile = {
        "driver": "GTiff",
        "count": source.shape[0],
        "height": size,
        "width": size,
        "dtype": "uint8",
        "crs": crs,
        "transform": transform,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "lzw",
        "photometric": "minisblack",
        "alpha": "unspecified",
        "BIGTIFF": "IF_SAFER",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    cols = reflected(0, size, source.shape[2])
    with rasterio.open(path, "w", **profile) as target:
        for index, name in enumerate(names, start=1):
            target.set_band_description(index, name)
        for top in range(0, size, BLOCK):
            height = min(BLOCK, size - top)
            rows = reflected(top, height, source.shape[1])
            band = source[:, rows][:, :, cols]
            target.write(band, window=rasterio.windows.Window(0, top, size, height))
    return path


def _generated(seed: int, side: int = 1536) -> NDArray[np.uint8]:
    """Noise of several sizes, shape (5, side, side)."""
    generator = np.random.default_rng(seed)
    total = np.zeros((len(BANDS), side, side), dtype=np.float32)
    for cell in (256, 64, 16, 4, 1):
        noise = generator.standard_normal((len(BANDS), side // cell, side // cell))
        total += noise.astype(np.float32).repeat(cell, axis=1).repeat(cell, axis=2)
    return np.clip(128 + 22 * total, 0, 255).astype(np.uint8)
