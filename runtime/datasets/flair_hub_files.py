"""Read the aerial, height and label files of one FLAIR-HUB patch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..aerial.elevation import UNITS_PER_M, coded
from ..errors import BandError, DataError, GridError
from ..grid import Grid
from ..raster import RasterReader
from .flair import CRS, PATCH_SIZE

CLASS_OF = np.array(
    [0, 12, 12, 2, 1, 3, 4, 12, 9, 10, 11, 8, 6, 5, 7, 12, 12, 12, 12], dtype=np.uint8
)
"""Index of FLAIR #2's class by COSIA value."""

SAME_GROUND_M = 0.01
"""Borders of a patch's files differ by no more than this."""


def read_pixels(path: Path, *, bands: int, dtype: str) -> tuple[NDArray[Any], Grid]:
    """Read a file of a patch that has as many pixels as its aerial image; NaN is nodata.

    Raises:
        BandError: If it is of another kind.
    """
    with RasterReader(path, assume_crs=CRS) as reader:
        info = reader.info
        shape, expected = (info.count, *info.grid.shape), (bands, PATCH_SIZE, PATCH_SIZE)
        if (shape, info.dtype) != (expected, dtype):
            raise BandError(
                f"{path} is {info.dtype} {' x '.join(map(str, shape))}; expected {dtype} "
                f"{' x '.join(map(str, expected))}; give the patches as published"
            )
        values = reader.read_all()
    if values.dtype.kind == "f" and info.nodata is not None:
        values[values == info.nodata] = np.nan
    return values, info.grid


def read_elevation(path: Path, grid: Grid) -> NDArray[np.uint8]:
    """Code the height above the ground, surface less terrain, shape (1, H, W)."""
    (surface, terrain), found = read_pixels(path, bands=2, dtype="float32")
    check_ground(path, found, grid)
    return coded((surface - terrain) * np.float32(UNITS_PER_M))[0][None]


def read_labels(path: Path, grid: Grid) -> NDArray[np.uint8]:
    """Read COSIA values as indices of FLAIR #2's classes.

    Raises:
        DataError: If there is a value that is not COSIA's.
    """
    (values,), found = read_pixels(path, bands=1, dtype="uint8")
    check_ground(path, found, grid)
    highest = int(values.max())
    if highest >= len(CLASS_OF):
        raise DataError(
            f"{path} holds the label {highest}; expected 0 to {len(CLASS_OF) - 1}; give the labels "
            "as published"
        )
    indices: NDArray[np.uint8] = CLASS_OF[values]
    return indices


def check_ground(path: Path, found: Grid, grid: Grid) -> None:
    """Check that a file covers the ground of its aerial image.

    Raises:
        GridError: If a border differs.
    """
    if found.crs != grid.crs or not np.allclose(
        found.bounds, grid.bounds, rtol=0.0, atol=SAME_GROUND_M
    ):
        theirs, ours = (", ".join(f"{edge:.2f}" for edge in g.bounds) for g in (found, grid))
        raise GridError(
            f"{path} covers {theirs} of {found.crs}; expected {ours} of {grid.crs} as the aerial "
            "image; give the patches as published"
        )
