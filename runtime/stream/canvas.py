"""Rows of finished maps between the tiles that make them and the files that take them.

    tiles    |  384 rows  |  384 rows  |  384 rows  |      rows of the tile grid
    canvas             [ top ............... end )
    files       |   512 rows    |   512 rows    |          block rows of each file

A canvas holds a strip of columns and only the rows that some file still waits for.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Index = slice | NDArray[np.intp]


class Canvas:
    """Map values of a strip, from the first row that is still wanted to the last that is there."""

    def __init__(self, cols: slice, bands: Mapping[str, int], *, fill: int) -> None:
        """Hold no row yet.

        Args:
            cols: Columns of the tile grid.
            bands: Number of bands by name of a map.
            fill: Value where no tile puts another.
        """
        self._cols = cols
        self._fill = fill
        self._top = self._end = 0
        width = cols.stop - cols.start
        self._planes = {name: np.empty((n, 0, width), dtype=np.uint8) for name, n in bands.items()}

    def put(self, rows: slice, cols: slice, values: Mapping[str, NDArray[np.uint8]]) -> None:
        """Put values, of shape (bands, rows, cols) each, at a place of the tile grid."""
        planes = self.view(rows, cols)
        for name, array in values.items():
            planes[name][:] = array

    def view(self, rows: slice, cols: slice) -> dict[str, NDArray[np.uint8]]:
        """Show a place of the tile grid, by name, to be changed: shape (bands, rows, cols)."""
        self._extend(rows.start, rows.stop)
        at = (
            slice(None),
            slice(rows.start - self._top, rows.stop - self._top),
            slice(cols.start - self._cols.start, cols.stop - self._cols.start),
        )
        return {name: plane[at] for name, plane in self._planes.items()}

    def take(self, rows: Index, cols: Index) -> dict[str, NDArray[np.uint8]]:
        """Copy rows and columns of the tile grid, by name: shape (bands, rows, cols)."""
        moved = _moved(rows, self._top), _moved(cols, self._cols.start)
        return {
            name: np.array(plane[:, moved[0]][:, :, moved[1]], order="C")
            for name, plane in self._planes.items()
        }

    def forget(self, before: int) -> None:
        """Drop the rows of the tile grid before one."""
        drop = min(max(before - self._top, 0), self._end - self._top)
        if not drop:
            return
        kept = self._end - self._top - drop
        for plane in self._planes.values():
            plane[:, :kept] = plane[:, drop : drop + kept]
        self._top += drop

    def _extend(self, start: int, stop: int) -> None:
        """Make room for rows up to `stop`; those not held before are filled."""
        if self._top == self._end:
            self._top = self._end = start
        if start < self._top:
            raise ValueError(f"row {start} was dropped; the canvas begins at row {self._top}")
        if stop <= self._end:
            return
        for name, plane in self._planes.items():
            held, wanted = self._end - self._top, stop - self._top
            if wanted > plane.shape[1]:
                grown = np.empty((plane.shape[0], wanted, plane.shape[2]), dtype=np.uint8)
                grown[:, :held] = plane[:, :held]
                self._planes[name] = plane = grown
            plane[:, held:wanted] = self._fill
        self._end = stop


def _moved(index: Index, start: int) -> Index:
    if isinstance(index, slice):
        return slice(index.start - start, index.stop - start)
    return index - start
