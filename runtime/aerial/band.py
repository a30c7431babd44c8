"""Keep a band of rows of a strip in memory, so that tiles overlap without reading twice.

strip     |<---------------- columns that its tiles read ---------------->|
rows      [ dropped | rows of this row of tiles, up to a block more | not read yet ]
"""

from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..raster import reflected
from ..tiler import Tile
from .reader import AerialView, AerialWindow

RUN_ROWS = 256
"""Rows that are read at once where the blocks of a file do not say more."""

_Value = TypeVar("_Value", np.uint8, np.bool_)
_MASKS = 2
"""Bytes of a pixel beside its channels: whether it is valid, whether it is damaged."""


@runtime_checkable
class Blocked(Protocol):
    """A view that knows how its source is stored."""

    @property
    def block_rows(self) -> int:
        """Most rows that `block_end` moves on."""

    def block_end(self, row: int, cols: slice) -> int:
        """Where the row of blocks ends that holds a row, within some columns."""


def band_bytes(*, channels: int, size: int, width: int, block_rows: int) -> int:
    """Most bytes that a band takes, with the run of rows that is just being read.

    A run takes twice its own bytes while files that overlap are put together.

    Args:
        channels: Channels of the imagery.
        size: Side of a tile, in pixels.
        width: Columns of the strip.
        block_rows: Most rows of a block; 1 where the view does not say.
    """
    kept = size + block_rows - 1
    run = min(RUN_ROWS, size) + block_rows - 1
    return width * (kept * (channels + _MASKS) + run * 2 * (channels + _MASKS))


class BandBuffer:
    """Tiles of a strip, cut from rows that are read once."""

    def __init__(self, view: AerialView, size: int) -> None:
        """Prepare for strips.

        Args:
            view: Imagery on the grid of the tiles.
            size: Side of a tile, in pixels.
        """
        self._view = view
        self._size = size
        self._height, self._width = view.grid.shape
        self._blocks = view if isinstance(view, Blocked) else None
        self._most = min(self._height, size + self._block_rows - 1)
        self.start(slice(0, self._width))

    @property
    def _block_rows(self) -> int:
        return 1 if self._blocks is None else self._blocks.block_rows

    def start(self, cols: slice) -> None:
        """Begin a strip.

        Args:
            cols: Columns of the grid that its tiles may read.
        """
        self._cols = cols
        self._rows = slice(0, 0)
        self._pixels: NDArray[np.uint8] | None = None
        self._valid = np.zeros((self._most, cols.stop - cols.start), dtype=np.bool_)
        self._damaged: NDArray[np.bool_] | None = None

    def tile(self, tile: Tile) -> AerialWindow:
        """Cut a tile; what lies outside the grid mirrors what lies inside.

        Tiles of a strip are asked for in row-major order; going back reads rows again.

        Args:
            tile: A tile of the strip.

        Returns:
            Pixels of shape (channels, size, size), which are a copy.

        Raises:
            DataError: If a file vanished or cannot be opened.
        """
        rows = reflected(tile.row, self._size, self._height)
        cols = reflected(tile.col, self._size, self._width) - self._cols.start
        pixels = self._hold(slice(int(rows.min()), int(rows.max()) + 1))
        damaged = None if self._damaged is None else self._cut(self._damaged, rows, cols)
        return AerialWindow(
            pixels=self._cut(pixels, rows, cols),
            valid=self._cut(self._valid, rows, cols),
            damaged=None if damaged is None or not damaged.any() else damaged,
        )

    def _hold(self, rows: slice) -> NDArray[np.uint8]:
        """Read on until some rows of the grid are kept; return the pixels of those that are."""
        if not self._rows.start <= rows.start <= self._rows.stop:
            self._rows = slice(rows.start, rows.start)
        self._rows = slice(rows.start, self._rows.stop)
        while self._rows.stop < rows.stop or self._pixels is None:
            run = slice(self._rows.stop, self._run_end(rows.stop))
            self._keep(run, self._view.read(run, self._cols))
            self._rows = slice(rows.start, run.stop)
        return self._pixels

    def _run_end(self, needed: int) -> int:
        """Where to stop reading: at the end of a row of blocks, once there are enough rows."""
        row = self._rows.stop
        enough = min(row + RUN_ROWS, needed)
        if self._blocks is None:
            return enough
        while row < enough:
            row = self._blocks.block_end(row, self._cols)
        return row

    def _keep(self, rows: slice, window: AerialWindow) -> None:
        """Put rows into the buffer, whose rows go round."""
        if self._pixels is None:
            shape = (len(window.pixels), *self._valid.shape)
            self._pixels = np.empty(shape, dtype=np.uint8)
        if self._damaged is None and window.damaged is not None:
            self._damaged = np.zeros_like(self._valid)
        places = np.arange(rows.start, rows.stop) % self._most
        for taken, kept in _runs(places):
            self._pixels[:, kept] = window.pixels[:, taken]
            self._valid[kept] = window.valid[taken]
            if self._damaged is not None:
                self._damaged[kept] = False if window.damaged is None else window.damaged[taken]

    def _cut(
        self, array: NDArray[_Value], rows: NDArray[np.intp], cols: NDArray[np.intp]
    ) -> NDArray[_Value]:
        """Copy rows and columns out of an array whose rows go round."""
        across = slice(int(cols.min()), int(cols.max()) + 1)
        cut = np.empty((*array.shape[:-2], len(rows), across.stop - across.start), array.dtype)
        for into, kept in _runs(rows % self._most):
            cut[..., into, :] = array[..., kept, across]
        straight = len(_runs(cols)) == 1
        return cut if straight else np.take(cut, cols - across.start, axis=-1)


def _runs(places: NDArray[np.intp]) -> list[tuple[slice, slice]]:
    """Split places into runs that rise by one: where each lies in the list, and its places."""
    cuts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    return [
        (slice(start, stop), slice(int(places[start]), int(places[start]) + stop - start))
        for start, stop in pairwise(cuts)
    ]
