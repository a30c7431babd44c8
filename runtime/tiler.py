"""Cut a raster into tiles that a network takes one at a time.

A tile is an *interior*, which is written to the map, inside a *halo*, which is read for context
and thrown away. Interiors partition the raster: every pixel is written exactly once. What lies
outside the raster is padded; a tile is never pulled back, so that every tile sits on one lattice.

    |<- halo ->|<------ interior ------>|<- halo ->|
    |<------------------ tile -------------------->|

A raster of exactly one tile is a patch: it is run as in training, without a halo.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .aerial.extents import Extents
from .errors import GridError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One tile; offsets and sizes in pixels of the aerial grid."""

    row: int
    """First row read. Negative when the halo leaves the raster."""
    col: int
    """First column read. Negative when the halo leaves the raster."""
    interior: tuple[slice, slice]
    """Rows and columns of the raster that this tile writes."""

    @property
    def source(self) -> tuple[slice, slice]:
        """Rows and columns of the tile that hold its interior."""
        rows, cols = self.interior
        return (
            slice(rows.start - self.row, rows.stop - self.row),
            slice(cols.start - self.col, cols.stop - self.col),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """All tiles of a raster, in row-major order.

    Args:
        shape: Height and width of the raster, in pixels.
        size: Side of a tile, in pixels; the side that the network was exported with.
        halo: Context on each side of the interior, in pixels.
        origin: Row and column where the lattice of interiors begins, each above -stride and at
            most 0; not used by a raster of exactly one tile.

    Raises:
        GridError: If the raster is empty or the halo leaves no interior.
    """

    shape: tuple[int, int]
    size: int
    halo: int
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Refuse a plan without pixels, and an origin that skips some."""
        if min(self.shape) < 1:
            raise GridError(
                f"a raster of {self.shape[0]} x {self.shape[1]} px has nothing to tile; "
                "expected at least one pixel; replace the file"
            )
        if self.halo < 0 or self.size <= 2 * self.halo:
            raise GridError(
                f"a halo of {self.halo} px leaves no interior in a tile of {self.size} px; "
                f"expected a halo below {self.size / 2:g} px; export the bundle with one"
            )
        if not all(2 * self.halo - self.size < start <= 0 for start in self.origin):
            raise ValueError(f"the lattice begins at {self.origin}; expected a place up to (0, 0)")

    @property
    def is_single(self) -> bool:
        """Whether the raster is a patch: exactly one tile."""
        return self.shape == (self.size, self.size)

    @property
    def margin(self) -> int:
        """Halo in use: none for a patch."""
        return 0 if self.is_single else self.halo

    @property
    def stride(self) -> int:
        """Step between neighbouring tiles, in pixels; also the side of a full interior."""
        return self.size - 2 * self.margin

    @property
    def tile_rows(self) -> int:
        """Number of rows of tiles."""
        return len(self._starts(0))

    @property
    def tile_cols(self) -> int:
        """Number of columns of tiles."""
        return len(self._starts(1))

    def __len__(self) -> int:
        """Return the number of tiles."""
        return self.tile_rows * self.tile_cols

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles in row-major order."""
        return self.within(slice(0, self.shape[1]))

    def meeting(self, windows: Extents) -> int:
        """Count the tiles whose interiors share a pixel with any of some windows of the raster.

        Between two rows of tiles where a window begins or ends, all rows count alike.
        """
        top, bottom = self._index(0, windows.top), self._index(0, windows.bottom - 1) + 1
        left, right = self._index(1, windows.left), self._index(1, windows.right - 1) + 1
        count, size = 0, self.tile_cols + 1
        for first, last in pairwise(np.unique([top, bottom]).tolist()):
            here = (top <= first) & (first < bottom)
            begun, ended = (np.bincount(edge[here], minlength=size) for edge in (left, right))
            count += (last - first) * int(np.count_nonzero(np.cumsum(begun - ended)))
        return count

    def within(self, cols: slice) -> Iterator[Tile]:
        """Yield the tiles whose interiors begin in some columns of the raster, row-major."""
        lefts = [left for left in self._starts(1) if cols.start <= max(left, 0) < cols.stop]
        for top in self._starts(0):
            for left in lefts:
                yield Tile(
                    row=top - self.margin,
                    col=left - self.margin,
                    interior=(self._clipped(0, top), self._clipped(1, left)),
                )

    def strips(self, tile_cols: int) -> tuple[slice, ...]:
        """Cut the raster into strips of so many columns of tiles, from left to right.

        Returns:
            Columns of the raster that the interiors of each strip cover.
        """
        lefts = self._starts(1)[::tile_cols]
        ends = (*lefts[1:], self.shape[1])
        return tuple(slice(max(left, 0), end) for left, end in zip(lefts, ends, strict=True))

    def _starts(self, axis: int) -> range:
        first = 0 if self.is_single else self.origin[axis]
        return range(first, self.shape[axis], self.stride)

    def _index(self, axis: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the row or column of tiles whose interiors hold rows or columns."""
        return (places - self._starts(axis).start) // self.stride

    def _clipped(self, axis: int, start: int) -> slice:
        return slice(max(start, 0), min(start + self.stride, self.shape[axis]))
