"""Small ISPRS Potsdam trees, written by the tests that read them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

SIDE = 300
"""Pixels of a tile: of patches of 128 px three by three, the last ones shifted to 172."""

COLORS = np.array(
    [
        (255, 255, 255),
        (0, 0, 255),
        (0, 255, 255),
        (0, 255, 0),
        (255, 255, 0),
        (255, 0, 0),
        (0, 0, 0),
    ],
    dtype=np.uint8,
)
"""Colours of the classes 0 to 5, and of what is ignored."""


def pixels_of(tile: str, bands: int) -> NDArray[np.uint8]:
    """Pixels that tell tile, band, row and column apart; all bands of one ground."""
    row_, col_ = map(int, tile.split("_"))
    band, row, col = np.ogrid[:bands, :SIDE, :SIDE]
    return np.asarray((row_ * 31 + col_ * 7 + band * 40 + row // 3 + col // 5) % 256, np.uint8)


def classes_of(tile: str) -> NDArray[np.uint8]:
    row_, col_ = map(int, tile.split("_"))
    row, col = np.ogrid[:SIDE, :SIDE]
    return np.asarray((row_ + col_ + row // 50 + col // 70) % 6, np.uint8)


def colors_of(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(COLORS[classes].transpose(2, 0, 1))


def write(path: Path, pixels: NDArray[Any], *, placed: bool = True) -> Path:
    """Write a raster as published: a geotransform, as the world files say it, and no CRS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    size = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    place = {"transform": Affine(0.05, 0, 366_676.5, 0, -0.05, 5_808_460.3)} if placed else {}
    driver = "JPEG" if path.suffix == ".jpg" else "GTiff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver=driver, **size, **place) as target:
            target.write(pixels)
    return path


# red, green, blue, near infrared, height: the bands of one ground
RGB, IRRG, RGBIR = [0, 1, 2], [3, 0, 1], [0, 1, 2, 3]


def write_tile(root: Path, tile: str, *, kinds: tuple[str, ...] = ("RGBIR",)) -> None:
    """Write a tile with labels of both kinds and a normalised surface model."""
    ground = pixels_of(tile, 5)
    bands = {"RGB": RGB, "IRRG": IRRG, "RGBIR": RGBIR}
    folders = {"RGB": "2_Ortho_RGB", "IRRG": "3_Ortho_IRRG", "RGBIR": "4_Ortho_RGBIR"}
    for kind in kinds:
        write(root / folders[kind] / f"top_potsdam_{tile}_{kind}.tif", ground[bands[kind]])
    classes = classes_of(tile)
    labels = root / "5_Labels_all" / f"top_potsdam_{tile}_label.tif"
    write(labels, colors_of(classes))
    inner = classes.copy()
    inner[:, ::9] = 6
    path = root / "5_Labels_all_noBoundary" / f"top_potsdam_{tile}_label_noBoundary.tif"
    write(path, colors_of(inner))
    row, col = map(int, tile.split("_"))
    height = f"dsm_potsdam_{row:02d}_{col:02d}_normalized_lastools.jpg"
    # As JPEG loses detail, heights are the same all over a tile.
    flat = np.full((1, SIDE, SIDE), row * 10 + col, np.uint8)
    write(root / "1_DSM_normalisation" / height, flat, placed=False)
