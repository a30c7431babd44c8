"""Find which of many rectangles touch another; a few microseconds among thousands.

Rectangles are kept in the order of their upper edges. What touches a window begins above its lower
edge, and at most the tallest one's height above its upper edge: only those are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Extents:
    """Rectangles of pixels on one lattice; each array has one value per rectangle."""

    top: NDArray[np.int64]
    """Never falling."""
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    index: NDArray[np.intp]
    """Place of each among those that were given."""
    tallest: int

    @classmethod
    def of(cls, places: Sequence[tuple[slice, slice]]) -> "Extents":
        """Take rectangles as rows and columns."""
        given = [(rows.start, rows.stop, cols.start, cols.stop) for rows, cols in places]
        edges = np.array(given, dtype=np.int64).reshape(-1, 4)
        index = np.argsort(edges[:, 0], kind="stable")
        top, bottom, left, right = edges[index].T.copy()
        tallest = int((bottom - top).max(initial=0))
        return cls(top, bottom, left, right, index, tallest)

    def overlapping(self, rows: slice, cols: slice) -> NDArray[np.intp]:
        """Indices of the rectangles that share a pixel with a window, in rising order."""
        return np.sort(self.index[self._within(rows, cols, 1)])

    def components(self, reach: int) -> list[NDArray[np.intp]]:
        """Group rectangles whose gaps, rows and columns, are at most `reach` pixels.

        Returns:
            Indices of each group, in rising order; groups in the order of their first one.
        """
        left = np.ones(len(self.top), dtype=np.bool_)
        seeds = np.argsort(self.index).tolist()
        groups = [self._flood(seed, left, reach) for seed in seeds if left[seed]]
        return [np.sort(self.index[group]) for group in groups]

    def _flood(self, seed: int, left: NDArray[np.bool_], reach: int) -> list[int]:
        """Collect what can be reached from one rectangle, and strike it off the list."""
        left[seed] = False
        found = [seed]
        for index in found:
            rows = slice(self.top[index], self.bottom[index])
            cols = slice(self.left[index], self.right[index])
            near = self._within(rows, cols, -reach)
            near = near[left[near]]
            left[near] = False
            found += near.tolist()
        return found

    def _within(self, rows: slice, cols: slice, least: int) -> NDArray[np.intp]:
        """Places here of rectangles that share at least so many rows and columns with a window."""
        highest = rows.start + least - self.tallest
        begin = int(np.searchsorted(self.top, highest, side="left"))
        end = int(np.searchsorted(self.top, rows.stop - least, side="right"))
        some = slice(begin, end)
        (near,) = np.nonzero(
            (self.bottom[some] >= rows.start + least)
            & (self.left[some] <= cols.stop - least)
            & (self.right[some] >= cols.start + least)
        )
        return near + begin
