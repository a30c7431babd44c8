"""Open and check the images of a tile of ISPRS Potsdam."""

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from ..errors import BandError, DataError
from ..raster import RasterInfo, RasterReader
from .potsdam_files import TileFiles
from .potsdam_published import BANDS_OF, CRS, RESOLUTION_M, TILE_M

MOST_MISSING_PX = 1
"""Columns and rows that a surface model may lack, as that of 3_13 does; its border is repeated."""


def sources_of(files: TileFiles) -> dict[str, tuple[Path, int]]:
    """File and index of each band that a tile has."""
    found: dict[str, tuple[Path, int]] = {}
    for kind, bands in BANDS_OF.items():
        if kind in files.images:
            for index, band in enumerate(bands):
                found.setdefault(band, (files.images[kind], index))
    if files.height is not None:
        found["elevation"] = (files.height, 0)
    return found


def read_to_the_edge(
    reader: RasterReader, corner: tuple[int, int], side: int, bands: list[int]
) -> NDArray[np.uint8]:
    """Read a window; where the file lacks its last row or column, the one before is repeated."""
    height, width = reader.info.grid.shape
    rows, cols = min(side, height - corner[0]), min(side, width - corner[1])
    pixels: NDArray[np.uint8] = reader.read(*corner, rows, cols, bands=bands)
    if (rows, cols) == (side, side):
        return pixels
    return np.pad(pixels, ((0, 0), (0, side - rows), (0, side - cols)), mode="edge")


def open_tile_file(path: Path, tile: str) -> RasterReader:
    """Open a file of a tile; without a georeference, the tile's number says where it lies.

    Raises:
        DataError: If it is missing or no raster.
    """
    row, col = (int(part) for part in tile.split("_"))
    corner = Affine(RESOLUTION_M, 0.0, col * TILE_M, 0.0, -RESOLUTION_M, -row * TILE_M)
    return RasterReader(path, assume_crs=CRS, assume_transform=corner)


def check_images(files: TileFiles) -> RasterInfo:
    """Check the headers of a tile's images; give that of the first.

    Raises:
        DataError: If a file is damaged, or of another size than the others.
        BandError: If one has other bands.
    """
    infos = []
    for kind, path in files.images.items():
        with open_tile_file(path, files.name) as reader:
            check_kind(reader.info, len(BANDS_OF[kind]))
            infos.append(reader.info)
    shape = infos[0].grid.shape
    for info in infos[1:]:
        check_size(info, shape)
    if files.height is not None:
        with open_tile_file(files.height, files.name) as reader:
            check_kind(reader.info, 1)
            check_size(reader.info, shape, missing=MOST_MISSING_PX)
    return infos[0]


def check_kind(info: RasterInfo, count: int) -> None:
    """Check that a file has so many bands of uint8.

    Raises:
        BandError: If it has not.
    """
    if (info.count, info.dtype) != (count, "uint8"):
        raise BandError(
            f"{info.path} has {info.count} {info.dtype} band(s); expected {count} of uint8; give "
            "the files as published"
        )


def check_size(info: RasterInfo, shape: tuple[int, int], *, missing: int = 0) -> None:
    """Check that a file has the size of its tile, or lacks no more than a few rows and columns.

    Raises:
        DataError: If it has not.
    """
    lacks = [want - have for want, have in zip(shape, info.grid.shape, strict=True)]
    if not all(0 <= pixels <= missing for pixels in lacks):
        raise DataError(
            f"{info.path} is {info.grid.shape[0]} x {info.grid.shape[1]} px; expected {shape[0]} x "
            f"{shape[1]} as the tile's orthophoto; give the files as published"
        )


def lacks_of(files: TileFiles, shape: tuple[int, int]) -> str:
    """Rows and columns that the surface model of a tile lacks, for people; empty without any."""
    if files.height is None:
        return ""
    with open_tile_file(files.height, files.name) as reader:
        have = reader.info.grid.shape
    rows, cols = shape[0] - have[0], shape[1] - have[1]
    return f"{rows} row(s) and {cols} column(s)" if rows or cols else ""
