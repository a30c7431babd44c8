"""A map on its way: its pixels and overviews in one raw file, in any order of writing.

Rows of all bands follow each other, band by band within a row. The overviews stand behind the map
in the same order, the largest first. What is written twice is there once.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .disk import get, put, sync
from .kinds import BLOCK, OverviewRule
from .overviews import halve, level_shapes

CHUNK_BYTES = 2**20
"""Pixels held at a time while they are sorted, read back or halved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A map or one of its overviews within the raw file."""

    shape: tuple[int, int]
    """Height and width."""
    offset: int
    """Where it begins, in bytes."""


class Spool:
    """The raw file of one map; it is made by the first write."""

    def __init__(
        self, path: Path, shape: tuple[int, int], *, bands: int, rule: OverviewRule
    ) -> None:
        """Lay out the file.

        Args:
            path: The file; one of the same layout is continued.
            shape: Height and width of the map.
            bands: Bands of the map.
            rule: How overviews are made.
        """
        self.path = path
        self.bands = bands
        self._rule = rule
        self._made = False
        self.levels = _levels(shape, bands)

    def block_rows(self, block: int) -> slice:
        """Rows of a block row of the map."""
        return slice(block * BLOCK, min((block + 1) * BLOCK, self.levels[0].shape[0]))

    def write(self, block: int, cols: slice, values: NDArray[np.uint8]) -> int:
        """Write columns of a block row.

        Args:
            block: Number of the block row.
            cols: Columns of the map.
            values: Shape (bands, rows of the block row, cols).

        Returns:
            The CRC-32 of the bytes, as `checksum` gives it.

        Raises:
            OSError: If the disk does not take it.
        """
        top, crc = block * BLOCK, 0
        with self._open() as file:
            for rows in self._runs(self.block_rows(block), cols):
                lines = _lines(values[:, rows.start - top : rows.stop - top])
                crc = zlib.crc32(lines.data, crc)
                self._put(file, self.levels[0], (rows.start, cols.start), lines)
        return crc

    def checksum(self, block: int, cols: slice) -> int:
        """Give the CRC-32 of what the file holds in columns of a block row.

        Raises:
            OSError: If it cannot be read.
        """
        crc = 0
        with self._open() as file:
            for rows in self._runs(self.block_rows(block), cols):
                crc = zlib.crc32(self._get(file, rows, cols).data, crc)
        return crc

    def read(self, block: int, cols: slice) -> NDArray[np.uint8]:
        """Read columns of a block row, shape (bands, rows, cols).

        Raises:
            OSError: If it cannot be read.
        """
        with self._open() as file:
            return self._get(file, self.block_rows(block), cols).transpose(1, 0, 2)

    def counts(self) -> NDArray[np.int64]:
        """Count the pixels of each value, shape (256,), in a map that is complete.

        Raises:
            OSError: If it cannot be read.
        """
        height, width = self.levels[0].shape
        counts = np.zeros(256, dtype=np.int64)
        with self._open() as file:
            for rows in self._runs(slice(0, height), slice(0, width)):
                values = self._get(file, rows, slice(0, width))
                counts += np.bincount(values.reshape(-1), minlength=256)
        return counts

    def write_overviews(self, block: int, values: NDArray[np.uint8] | None = None) -> None:
        """Write the part of every overview that a block row gives.

        Args:
            block: Number of a block row that is complete.
            values: Its pixels, shape (bands, rows, width of the map); read from the file if None.

        Raises:
            OSError: If the disk does not take it.
        """
        rows, width = self.block_rows(block), self.levels[0].shape[1]
        step = max(CHUNK_BYTES // (BLOCK * self.bands) // BLOCK, 1) * BLOCK
        with self._open() as file:
            for left in range(0, width, step):
                cols = slice(left, min(left + step, width))
                if values is None:
                    part = self._get(file, rows, cols).transpose(1, 0, 2)
                else:
                    part = values[:, :, cols]
                corner = rows.start, left
                for level in self.levels[1:]:
                    part = halve(part, self._rule)
                    corner = corner[0] // 2, corner[1] // 2
                    self._put(file, level, corner, _lines(part))

    def sync(self) -> None:
        """Wait until the disk holds what was written.

        Raises:
            OSError: If the disk does not take it.
        """
        sync(self.path)

    def _open(self) -> FileIO:
        """Open the file, which has its full length from the beginning; holes cost no room."""
        if not self._made:
            with self.path.open("ab") as file:
                file.truncate(spool_bytes(self.levels[0].shape, self.bands))
            self._made = True
        return self.path.open("r+b", buffering=0)

    def _runs(self, rows: slice, cols: slice) -> Iterator[slice]:
        """Cut rows into runs of few enough bytes."""
        step = max(CHUNK_BYTES // (self.bands * (cols.stop - cols.start)), 1)
        for start in range(rows.start, rows.stop, step):
            yield slice(start, min(start + step, rows.stop))

    def _put(
        self, file: FileIO, level: Level, corner: tuple[int, int], lines: NDArray[np.uint8]
    ) -> None:
        """Write lines of shape (rows, bands, cols) from a row and column on."""
        width = level.shape[1]
        start = level.offset + corner[0] * self.bands * width + corner[1]
        if lines.shape[2] == width:
            put(file, lines.data.cast("B"), start)
            return
        for number, line in enumerate(lines.reshape(-1, lines.shape[2])):
            put(file, line.data, start + number * width)

    def _get(self, file: FileIO, rows: slice, cols: slice) -> NDArray[np.uint8]:
        """Read a window of the map, shape (rows, bands, cols)."""
        width = self.levels[0].shape[1]
        lines = np.empty(
            (rows.stop - rows.start, self.bands, cols.stop - cols.start), dtype=np.uint8
        )
        start = rows.start * self.bands * width + cols.start
        if lines.shape[2] == width:
            get(file, lines.data.cast("B"), start)
        else:
            for number, line in enumerate(lines.reshape(-1, lines.shape[2])):
                get(file, line.data, start + number * width)
        return lines


def spool_bytes(shape: tuple[int, int], bands: int) -> int:
    """Room on the disk that a map takes until it is finished, in bytes.

    Args:
        shape: Height and width of the map.
        bands: Bands of the map.
    """
    return sum(height * width * bands for height, width in level_shapes(shape))


@lru_cache(maxsize=64)
def _levels(shape: tuple[int, int], bands: int) -> tuple[Level, ...]:
    """Lay out a raw file; a run may have tens of thousands of one shape, which share this."""
    levels, offset = [], 0
    for height, width in level_shapes(shape):
        levels.append(Level(shape=(height, width), offset=offset))
        offset += height * width * bands
    return tuple(levels)


def _lines(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sort (bands, rows, cols) as the file holds them: (rows, bands, cols)."""
    return np.ascontiguousarray(values.transpose(1, 0, 2))
