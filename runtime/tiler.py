"""Cut a raster into tiles that a network takes one at a time.

A tile is an *interior*, which is written to the map, inside a *halo*, which is read for context
and thrown away. Interiors partition the raster: every pixel is written exactly once. What lies
outside the raster is padded; a tile is never pulled back, so that every tile sits on one lattice.

    |<- halo ->|<------ interior ------>|<- halo ->|
    |<------------------ tile -------------------->|

A raster that fits into one tile is one tile, without a halo.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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

    Raises:
        GridError: If the raster is empty or the halo leaves no interior.
    """

    shape: tuple[int, int]
    size: int
    halo: int

    def __post_init__(self) -> None:
        """Refuse a plan without pixels."""
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

    @property
    def is_single(self) -> bool:
        """Whether the raster fits into one tile."""
        return max(self.shape) <= self.size

    @property
    def margin(self) -> int:
        """Halo in use: none where the raster fits into one tile."""
        return 0 if self.is_single else self.halo

    @property
    def stride(self) -> int:
        """Step between neighbouring tiles, in pixels; also the side of a full interior."""
        return self.size - 2 * self.margin

    def __len__(self) -> int:
        """Return the number of tiles."""
        height, width = self.shape
        return -(-height // self.stride) * -(-width // self.stride)

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles in row-major order."""
        height, width = self.shape
        for top in range(0, height, self.stride):
            for left in range(0, width, self.stride):
                yield Tile(
                    row=top - self.margin,
                    col=left - self.margin,
                    interior=(
                        slice(top, min(top + self.stride, height)),
                        slice(left, min(left + self.stride, width)),
                    ),
                )
