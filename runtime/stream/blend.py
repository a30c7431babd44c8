"""Blend the probabilities of overlapping tiles, with only their overlaps in memory.

Tiles sit on the same lattice as without blending, but the whole tile counts, not its interior
alone: neighbours overlap by twice the halo, and there each weighs less the nearer its own edge is.
A weight is the product of one per axis, a raised cosine over each overlap and 1 between them:

    1 |----.       .----------.       .----
      |     '.   .'            '.   .'        the ramps of two neighbours sum to 1
      |       '.'                '.'
      |      .' '.              .' '.
    0 |    .'     '.          .'     '.
           |<----->|          |<----->|
             2 halo             2 halo

Where the lattice ends, no neighbour shares a pixel and the weight is 1. Weights depend on the plan
only, neither on the strip nor on which tiles are skipped, and sums are made in one order: a pixel
has the same value, bit for bit, in whichever strip it is made.

Reference: Pielawski and Waehlby 2020, "Introducing Hann windows for reducing edge-effects in
patch-based image segmentation", PLOS ONE 15(3).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..tiler import Tile, TilePlan

FLOAT_BYTES = 4

Piece = tuple[slice, slice, NDArray[np.float32]]
"""Rows and columns of the grid, and the values there, shape (K, rows, columns)."""


def tiles_for(plan: TilePlan, cols: slice, rows: slice | None = None) -> Iterator[Tile]:
    """Yield the tiles that a blended window needs, in row-major order.

    These are all whose pixels reach into the window. Around a window of whole interiors it is one
    more row or column of tiles on each side that has any (more where the halo is wider than an
    interior).

    Args:
        plan: Tiles of the grid.
        cols: Columns of the grid that are wanted.
        rows: Rows of the grid that are wanted; None for all.
    """
    rows = rows or slice(0, plan.shape[0])
    for tile in plan.within(slice(cols.start - plan.size, cols.stop + plan.size)):
        meets_rows = rows.start - plan.size < tile.row < rows.stop
        meets_cols = cols.start - plan.size < tile.col < cols.stop
        if meets_rows and meets_cols:
            yield tile


def blend_bytes(*, size: int, halo: int, width: int, channels: int) -> int:
    """Say what a `Blender` holds at most, in bytes; the rows of the raster do not matter.

    Args:
        size: Side of a tile, in pixels.
        halo: Halo of a tile, in pixels.
        width: Columns of the strip, in pixels.
        channels: Number of classes.

    Returns:
        The overlap below the strip, the overlap right of a tile, and the tile just added with its
        weights.
    """
    overlap, tile = 2 * halo, size * size
    return FLOAT_BYTES * (channels * (overlap * width + overlap * size + tile) + tile)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Where a tile lies in the window along one axis; pixels of the grid."""

    start: int
    final: int
    """No later tile reaches the pixels before this one."""
    stop: int


class Blender:
    """The blended probabilities of a strip; give it the tiles of `tiles_for`, in their order.

    After each tile, `take` gives what no later tile changes. All pieces together cover the window
    exactly once.
    """

    def __init__(
        self, plan: TilePlan, cols: slice, channels: int, *, rows: slice | None = None
    ) -> None:
        """Begin a strip.

        Args:
            plan: Tiles of the grid.
            cols: Columns of the grid to make.
            channels: Number of classes, K.
            rows: Rows of the grid to make; None for all.
        """
        overlap = 2 * plan.margin
        self._plan = plan
        self._window = (rows or slice(0, plan.shape[0]), cols)
        self._due = tiles_for(plan, cols, rows)
        self._tile_row: int | None = None
        self._rows = _Span(start=0, final=0, stop=0)
        self._above = np.empty((channels, overlap, cols.stop - cols.start), dtype=np.float32)
        self._above_rows = 0
        self._beside = np.empty((channels, plan.size, overlap), dtype=np.float32)
        self._beside_cols = 0
        self._pieces: list[Piece] = []

    def add(self, tile: Tile, probabilities: NDArray[np.float32]) -> None:
        """Add a tile.

        Args:
            tile: The next one of `tiles_for`.
            probabilities: Its probabilities, shape (K, size, size); they are left as they are.

        Raises:
            ValueError: If it is another tile's turn, or the shape is another one.
        """
        expected = (len(self._above), self._plan.size, self._plan.size)
        if probabilities.shape != expected:
            raise ValueError(f"probabilities of shape {probabilities.shape}; expected {expected}")
        rows, cols = self._begin(tile)
        inside = slice(rows.start - tile.row, rows.stop - tile.row)
        across = slice(cols.start - tile.col, cols.stop - tile.col)
        down, along = self._weights(tile, 0)[inside], self._weights(tile, 1)[across]
        block = probabilities[:, inside, across] * np.multiply.outer(down, along)
        self._merge(block, rows, cols)

    def skip(self, tile: Tile) -> None:
        """Pass over a tile that holds no valid pixel at all; it adds nothing.

        Where it lies, the values that `take` gives sum to less than 1 and mean nothing.

        Args:
            tile: The next one of `tiles_for`.

        Raises:
            ValueError: If it is another tile's turn.
        """
        rows, cols = self._begin(tile)
        shape = (len(self._above), rows.stop - rows.start, cols.stop - cols.start)
        self._merge(np.zeros(shape, dtype=np.float32), rows, cols)

    def take(self) -> Iterator[Piece]:
        """Give the pieces that became final since the last call, which now belong to the caller.

        Each holds the memory of a whole tile for as long as it is kept.
        """
        pieces, self._pieces = self._pieces, []
        return iter(pieces)

    def finish(self) -> None:
        """Check that the strip is complete.

        Raises:
            ValueError: If a tile was neither added nor skipped, or a piece was not taken.
        """
        tile = next(self._due, None)
        if tile is not None:
            raise ValueError(f"the tile at {tile.row}, {tile.col} is missing")
        if self._pieces:
            raise ValueError(f"{len(self._pieces)} pieces were not taken")

    def _begin(self, tile: Tile) -> tuple[_Span, _Span]:
        """Find where a tile lies; a new row of tiles meets what the last one left behind."""
        due = next(self._due, None)
        if due is None or (due.row, due.col) != (tile.row, tile.col):
            turn = "no more tile" if due is None else f"the one at {due.row}, {due.col}"
            raise ValueError(f"a tile at {tile.row}, {tile.col}; expected {turn}")
        if tile.row != self._tile_row:
            self._above_rows = self._rows.stop - self._rows.final
            self._tile_row, self._rows = tile.row, self._span(tile, 0)
        return self._rows, self._span(tile, 1)

    def _span(self, tile: Tile, axis: int) -> _Span:
        plan, window = self._plan, self._window[axis]
        first = (tile.row, tile.col)[axis]
        start, stop = max(first, window.start), min(first + plan.size, window.stop)
        is_last = tile.interior[axis].stop == plan.shape[axis]
        final = stop if is_last else min(max(first + plan.stride, start), stop)
        return _Span(start=start, final=final, stop=stop)

    def _merge(self, block: NDArray[np.float32], rows: _Span, cols: _Span) -> None:
        """Add what waits left of and above a tile; pass on what is final and keep the rest."""
        beside = self._beside[:, : rows.stop - rows.start]
        block[:, :, : self._beside_cols] += beside[:, :, : self._beside_cols]
        self._beside_cols = cols.stop - cols.final
        beside[:, :, : self._beside_cols] = block[:, :, cols.final - cols.start :]

        left = self._window[1].start
        above = self._above[:, :, cols.start - left : cols.final - left]
        done = block[:, :, : cols.final - cols.start]
        done[:, : self._above_rows] += above[:, : self._above_rows]
        above[:, : rows.stop - rows.final] = done[:, rows.final - rows.start :]
        if rows.start < rows.final and cols.start < cols.final:
            values = done[:, : rows.final - rows.start]
            where = slice(rows.start, rows.final), slice(cols.start, cols.final)
            self._pieces.append((*where, values))

    def _weights(self, tile: Tile, axis: int) -> NDArray[np.float32]:
        """Weights of a tile's pixels along one axis, for all neighbours that its plan has."""
        plan = self._plan
        interior = (tile.row, tile.col)[axis] + plan.margin
        before = -(-interior // plan.stride)
        after = -(-(plan.shape[axis] - interior) // plan.stride) - 1
        reach = (plan.size - 1) // plan.stride
        return tile_weights(plan.size, plan.margin, min(before, reach), min(after, reach))


@lru_cache(maxsize=64)
def tile_weights(size: int, margin: int, before: int, after: int) -> NDArray[np.float32]:
    """Weights along one axis of a tile: of all tiles that cover a pixel they sum to 1.

    Args:
        size: Side of the tile, in pixels.
        margin: Halo of the tile, in pixels; neighbours are `size - 2 * margin` apart.
        before: Number of neighbours before the tile.
        after: Number of neighbours after it.

    Returns:
        Shape (size,), all above 0; read-only.
    """
    rise = np.ones(size)
    rise[: 2 * margin] = np.sin(np.pi / 2 * (np.arange(2 * margin) + 0.5) / (2 * margin)) ** 2
    window = rise * rise[::-1]
    total = np.zeros(size)
    for neighbour in range(-before, after + 1):
        offset = neighbour * (size - 2 * margin)
        here = slice(max(offset, 0), max(size + min(offset, 0), 0))
        theirs = slice(max(-offset, 0), max(size - max(offset, 0), 0))
        total[here] += window[theirs]
    weights: NDArray[np.float32] = (window / total).astype(np.float32)
    weights.setflags(write=False)
    return weights
