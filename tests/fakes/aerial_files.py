"""Small aerial files on one lattice, written by the tests that read them."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.scene import Scene

CORNER = (700_000.0, 6_600_000.0)
"""Where row 0 and column 0 of the lattice lie, in EPSG:2154."""


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random bytes that are never 0, so that 0 can say nodata."""
    return np.random.default_rng(seed).integers(1, 256, shape, dtype=np.uint8)


def transform_at(row: int, col: int) -> Affine:
    """Pixels of 0.2 m from a row and column of the lattice on."""
    return Affine(0.2, 0.0, CORNER[0] + col * 0.2, 0.0, -0.2, CORNER[1] - row * 0.2)


def write_file(
    path: Path, pixels: NDArray[np.uint8], *, row: int = 0, col: int = 0, **options: Any
) -> Path:
    """Write bands at a place of the lattice; `names`, `mask` and `block` beside rasterio's own."""
    names, mask, block = (options.pop(key, None) for key in ("names", "mask", "block"))
    if block is not None:
        options |= {"tiled": True, "blockxsize": block, "blockysize": block}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=pixels.shape[0],
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=pixels.dtype,
            crs="EPSG:2154",
            transform=transform_at(row, col),
            **options,
        ) as dataset,
    ):
        dataset.write(pixels)
        if names is not None:
            dataset.descriptions = names
        if mask is not None:
            dataset.write_mask(mask)
    return path


def spoil_block(path: Path, block_row: int, block_col: int, *, band: int = 0) -> None:
    """Overwrite a compressed block of a tiled file with what cannot be decoded.

    A band of its own counts only in a file that stores its bands one after the other.
    """
    with rasterio.open(path) as dataset:
        place = f"{block_col}_{block_row}"
        offset = int(dataset.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=band + 1))
        size = int(dataset.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=band + 1))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)


def scenes_of(*paths: Path) -> list[Scene]:
    """Scenes without a series."""
    return [Scene(aerial=path, satellite=None) for path in paths]
