"""Read a Sentinel-2 folder piece by piece, within a bounded memory.

Pixels are decoded in chunks of 64 x 64 cells on all dates and kept, the least recently used ones
given up first. Windows of neighbouring tiles overlap by most of their area, so a chunk is decoded
once while tiles around it are prepared.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .raster import RasterReader
from .satellite_cells import Pixels, side_by_side

CHUNK = 64
"""Cells on each side of a chunk."""

CACHE_BYTES = 128 * 2**20

OPEN_FILES = 128
"""Files that a thread keeps open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DateFiles:
    """The files of one date."""

    day: date
    bands: Path
    masks: Path | None
    """Snow and cloud probability; None for a date that counts as clear."""
    order: tuple[int, ...] | None = None
    """Index in the file of each band wanted; None for all as they are stored."""


class ChunkStore:
    """The pixels of a series on disk; threads may share it, and each opens files of its own."""

    def __init__(
        self,
        files: Sequence[DateFiles],
        shape: tuple[int, int],
        *,
        bands: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Read nothing yet.

        Args:
            files: What each date is read from; all have been checked.
            shape: Rows and columns of all files.
            bands: Bands of each date.
            cache_bytes: Memory for chunks; the one in use is kept in any case.
        """
        self.files, self.shape, self.bands = tuple(files), shape, bands
        self.cache_bytes = cache_bytes
        """Memory for chunks; may be changed at any time."""
        self._kept = 0
        self._chunks: OrderedDict[tuple[int, int], Pixels] = OrderedDict()
        self._start_over()

    def _start_over(self) -> None:
        # A process that was forked off must use neither its parent's files nor a lock that another
        # thread of it may have held.
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._own = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without chunks and open files."""
        make = partial(ChunkStore, bands=self.bands, cache_bytes=self.cache_bytes)
        return make, (self.files, self.shape)

    @property
    def kept_bytes(self) -> int:
        """Memory that chunks take now."""
        return self._kept

    def read(self, rows: slice, cols: slice) -> Pixels:
        """Give the pixels of a box on the series.

        Raises:
            DataError: If a file was changed, removed or damaged since it was opened.
        """
        if self._process != os.getpid():
            self._start_over()
        shape = (rows.stop - rows.start, cols.stop - cols.start, len(self.files))
        box = _empty(shape, self.bands)
        for row in range(rows.start // CHUNK, (rows.stop - 1) // CHUNK + 1):
            for col in range(cols.start // CHUNK, (cols.stop - 1) // CHUNK + 1):
                to_rows, from_rows = _common(rows, row)
                to_cols, from_cols = _common(cols, col)
                chunk = self._chunk(row, col)
                for name in ("dn", "cover", "filled"):
                    piece = getattr(chunk, name)[from_rows, from_cols]
                    getattr(box, name)[to_rows, to_cols] = piece
        return box

    def _chunk(self, row: int, col: int) -> Pixels:
        with self._lock:
            key = (row, col)
            if key not in self._chunks:
                self._chunks[key] = self._decode(row * CHUNK, col * CHUNK)
                self._kept += _bytes_of(self._chunks[key])
            self._chunks.move_to_end(key)
            while self._kept > self.cache_bytes and len(self._chunks) > 1:
                self._kept -= _bytes_of(self._chunks.popitem(last=False)[1])
            return self._chunks[key]

    def _decode(self, row: int, col: int) -> Pixels:
        height = min(CHUNK, self.shape[0] - row)
        width = min(CHUNK, self.shape[1] - col)
        chunk = _empty((height, width, len(self.files)), self.bands)
        for place, files in enumerate(self.files):
            dn = self._read_bands(files, row, col, height, width)
            chunk.dn[:, :, place] = side_by_side(dn)
            chunk.filled[:, :, place] = np.not_equal(dn, 0).any(axis=0)
            if files.masks is not None:
                cover = self._open(files.masks).read(row, col, height, width)
                chunk.cover[:, :, place] = cover.clip(0, 100).max(axis=0)
        return chunk

    def _read_bands(
        self, files: DateFiles, row: int, col: int, height: int, width: int
    ) -> NDArray[np.uint16]:
        reader = self._open(files.bands)
        stored = reader.read(row, col, height, width, bands=files.order)
        dn: NDArray[np.uint16] = stored.clip(0).astype(np.uint16)
        # 0 in every band is what a series knows as nodata, whatever the file's own value is.
        dn[:, ~reader.valid(row, col, height, width)] = 0
        return dn

    def _open(self, path: Path) -> RasterReader:
        """Give this thread's own handle of a file."""
        readers: OrderedDict[Path, RasterReader] | None = getattr(self._own, "readers", None)
        if readers is None:
            readers = self._own.readers = OrderedDict()
        if path not in readers:
            readers[path] = RasterReader(path)
            if len(readers) > OPEN_FILES:
                readers.popitem(last=False)[1].close()
        readers.move_to_end(path)
        return readers[path]


def _empty(shape: tuple[int, int, int], bands: int) -> Pixels:
    return Pixels(
        dn=np.empty((*shape, bands), dtype=np.uint16),
        cover=np.zeros(shape, dtype=np.uint8),
        filled=np.empty(shape, dtype=np.bool_),
    )


def _common(wanted: slice, chunk: int) -> tuple[slice, slice]:
    """Where a chunk's part of a run goes in the run, and where it lies in the chunk."""
    start = max(wanted.start, chunk * CHUNK)
    stop = min(wanted.stop, (chunk + 1) * CHUNK)
    origin = chunk * CHUNK
    return slice(start - wanted.start, stop - wanted.start), slice(start - origin, stop - origin)


def _bytes_of(pixels: Pixels) -> int:
    return pixels.dn.nbytes + pixels.cover.nbytes + pixels.filled.nbytes
