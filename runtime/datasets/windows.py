"""Cut images of any size into tiles of one size.

The last tile of a row or column is shifted back so that it ends with the image; an image smaller
than a tile is one tile, filled up with zeros:

    |<----- tile ----->|<----- tile ----->|     length of the image
                          |<----- tile ----->|  the last one, shifted back
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..raster import RasterReader


def starts(length: int, side: int) -> tuple[int, ...]:
    """First pixels of the tiles of a row or column.

    Args:
        length: Pixels of the image, at least 1.
        side: Pixels of a tile, at least 1.
    """
    if length <= side:
        return (0,)
    return (*range(0, length - side, side), length - side)


def corners(shape: tuple[int, int], side: int) -> Iterator[tuple[int, int]]:
    """First row and column of every tile of an image of shape (rows, columns), row by row."""
    for row in starts(shape[0], side):
        for col in starts(shape[1], side):
            yield row, col


def read_filled(
    reader: RasterReader, row: int, col: int, side: int, *, bands: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read a tile; what lies beyond the image is zero, and not valid.

    Args:
        reader: An open raster of uint8.
        row: First row.
        col: First column.
        side: Rows and columns of the tile.
        bands: Indices of the bands, in the order wanted.

    Returns:
        The pixels, shape (bands, side, side), and which hold data, shape (side, side).

    Raises:
        DataError: If the file is truncated or damaged there.
    """
    height = min(side, reader.info.grid.shape[0] - row)
    width = min(side, reader.info.grid.shape[1] - col)
    pixels = np.zeros((len(bands), side, side), dtype=np.uint8)
    valid = np.zeros((side, side), dtype=np.bool_)
    pixels[:, :height, :width], known = reader.read_valid(row, col, height, width, bands=bands)
    valid[:height, :width] = True if known is None else known
    return pixels, valid
