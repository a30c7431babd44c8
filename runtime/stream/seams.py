"""Measure what the borders between tiles do to a map.

`SeamMeter` needs nothing but the tiles of a run: near a border two tiles predict the same pixels,
each with its own context. `compare_at_seams` needs a map of the same raster made in one pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics import IGNORE_INDEX
from ..tiler import Tile, TilePlan

SEAM_PX = 8
"""Pixels at most this far from the border between two tiles count as lying along a seam."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamCount:
    """Pixels that two tiles predicted, and on how many of them they differ."""

    pixels: int = 0
    """A pixel near a corner counts once for every pair of tiles."""
    differing: int = 0

    @property
    def share(self) -> float | None:
        """Share of the compared pixels on which two tiles differ; None where none was compared."""
        return self.differing / self.pixels if self.pixels else None

    @staticmethod
    def total(counts: Iterable["SeamCount"]) -> "SeamCount":
        """Add counts up, of several strips for example."""
        counts = tuple(counts)
        return SeamCount(
            pixels=sum(count.pixels for count in counts),
            differing=sum(count.differing for count in counts),
        )


_Edge = tuple[tuple[int, int], NDArray[np.uint8]]
"""First row and column of a tile, and what it predicts around one border of its interior."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prediction:
    """What one tile predicts."""

    tile: Tile
    classes: NDArray[np.uint8]
    valid: NDArray[np.bool_]

    def cut(self, rows: slice, cols: slice) -> NDArray[np.uint8]:
        """Classes in a window of the grid, nodata where there is no data."""
        top, left = self.tile.row, self.tile.col
        part = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
        return np.where(self.valid[part], self.classes[part], np.uint8(IGNORE_INDEX))


class SeamMeter:
    """Counts where neighbouring tiles of a strip predict different classes.

    On each side of a border between two interiors, `SEAM_PX` pixels (fewer where the halo is
    smaller) are compared. There one tile predicts inside its interior, which is what a map without
    blending holds, and the other in its halo, with that much less context than the halo gives.
    So the share is 0 where nothing farther than `halo - SEAM_PX` pixels has a say in a class; above
    that it says how much the classes near a border depend on which tile they come from.
    """

    def __init__(self, plan: TilePlan, cols: slice) -> None:
        """Begin a strip.

        Args:
            plan: Tiles of the grid.
            cols: Columns of the grid; tiles whose interiors begin in them are compared with those
                left of them and above them. Tiles beside the strip may be given, but need not.
        """
        self._plan = plan
        self._cols = cols
        self._beside: _Edge | None = None
        self._above: dict[int, _Edge] = {}
        self.count = SeamCount()

    @property
    def pixels(self) -> int:
        """Number of compared pixels."""
        return self.count.pixels

    @property
    def share(self) -> float | None:
        """Share of them on which two tiles differ; None where none was compared."""
        return self.count.share

    def add(self, tile: Tile, classes: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
        """Compare a tile with the one left of it and the one above it, where they were given.

        Args:
            tile: A tile of the plan. They come in row-major order; any may be left out.
            classes: Class indices over the whole tile, shape (size, size).
            valid: Which of its pixels hold data, shape (size, size); others are not compared.
        """
        rows, cols = tile.interior
        known = _Prediction(tile=tile, classes=classes, valid=valid)
        if self._cols.start <= cols.start < self._cols.stop:
            step, above = self._plan.stride, self._above.get(tile.col)
            here = known.cut(rows, self._around(cols.start, 1))
            self._compare(self._beside, (tile.row, tile.col - step), here)
            here = known.cut(self._around(rows.start, 0), cols)
            self._compare(above, (tile.row - step, tile.col), here)
        place = (tile.row, tile.col)
        self._beside = (place, known.cut(rows, self._around(cols.stop, 1)))
        self._above[tile.col] = (place, known.cut(self._around(rows.stop, 0), cols))

    def _around(self, border: int, axis: int) -> slice:
        """Pixels of the grid along one axis that are compared at a border."""
        reach = min(SEAM_PX, self._plan.margin)
        return slice(max(border - reach, 0), min(border + reach, self._plan.shape[axis]))

    def _compare(
        self, edge: _Edge | None, place: tuple[int, int], found: NDArray[np.uint8]
    ) -> None:
        if edge is None or edge[0] != place:
            return
        known = (edge[1] != IGNORE_INDEX) & (found != IGNORE_INDEX)
        self.count = SeamCount(
            pixels=self.count.pixels + int(known.sum()),
            differing=self.count.differing + int((known & (edge[1] != found)).sum()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamAgreement:
    """Share of pixels on which a map equals a map of the same raster made in one pass."""

    near: float | None
    """Along the seams; None where there is none."""
    elsewhere: float | None
    """Farther from them; None where all pixels lie along one."""


def compare_at_seams(
    found: NDArray[np.uint8], reference: NDArray[np.uint8], plan: TilePlan
) -> SeamAgreement:
    """Compare a map made of tiles with one made in one pass, along the seams and elsewhere.

    Args:
        found: Classes made by tiles, shape (height, width); 255 is nodata.
        reference: Classes made in one pass, of the same shape. Pixels that are nodata in both do
            not count; those that are in one of them differ.
        plan: How `found` was cut into tiles.

    Raises:
        ValueError: If a map has another shape than the plan.
    """
    for classes in (found, reference):
        if classes.shape != plan.shape:
            raise ValueError(f"a map of shape {classes.shape}; expected {plan.shape}")
    near = seam_mask(plan)
    known = (found != IGNORE_INDEX) | (reference != IGNORE_INDEX)
    equal = found == reference
    return SeamAgreement(near=_share(equal[known & near]), elsewhere=_share(equal[known & ~near]))


def seam_mask(plan: TilePlan) -> NDArray[np.bool_]:
    """Which pixels lie along a border between two tiles' interiors, shape (height, width)."""
    near = [np.zeros(size, dtype=np.bool_) for size in plan.shape]
    first = next(iter(plan)).interior
    for axis, size in enumerate(plan.shape):
        for border in range(first[axis].stop, size, plan.stride):
            near[axis][max(border - SEAM_PX, 0) : border + SEAM_PX] = True
    mask: NDArray[np.bool_] = near[0][:, None] | near[1][None, :]
    return mask


def _share(equal: NDArray[np.bool_]) -> float | None:
    return float(equal.mean()) if equal.size else None
