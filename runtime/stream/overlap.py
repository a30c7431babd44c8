"""Find where the tiles that see a pixel give it different classes.

A pixel is seen by the tile whose interior it lies in, and by those whose halo reaches it. The first
class that it gets is kept and the others are compared with it, so that two bytes a pixel do for any
number of tiles, in whatever order they come.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..output.kinds import AGREE, DIFFER, NODATA, ONE_TILE
from ..output.values import maps_of
from ..tiler import Tile
from .canvas import Canvas
from .jobs import Job

DISAGREEMENT = "disagreement"
"""Name of the map on the canvas."""
FIRST = "first class"
"""Name of the classes on the canvas that others are compared with."""


class Overlap:
    """Compares the tiles of a strip on its canvas."""

    def __init__(self, canvas: Canvas, job: Job) -> None:
        """Compare on a canvas that holds `DISAGREEMENT` and `FIRST`."""
        self._canvas, self._cols = canvas, job.cols
        self._height = job.area.plan.shape[0]

    def add(self, tile: Tile, results: Mapping[str, NDArray[Any]]) -> None:
        """Compare a tile with those before, wherever it reaches into the strip."""
        # Five times as fast as argmax over the first axis.
        maps = maps_of(results["probabilities"], ()) if "probabilities" in results else None
        classes = results["classes"] if maps is None else maps["classes"][0]
        size = classes.shape[0]
        rows = slice(max(tile.row, 0), min(tile.row + size, self._height))
        cols = slice(max(tile.col, self._cols.start), min(tile.col + size, self._cols.stop))
        if cols.start >= cols.stop:
            return
        found = classes[
            rows.start - tile.row : rows.stop - tile.row,
            cols.start - tile.col : cols.stop - tile.col,
        ]
        planes = self._canvas.view(rows, cols)
        state, first = planes[DISAGREEMENT][0], planes[FIRST][0]
        is_new = state == NODATA
        compared = np.where(found == first, np.uint8(AGREE), np.uint8(DIFFER))
        state[:] = np.where(is_new, np.uint8(ONE_TILE), np.maximum(state, compared))
        np.copyto(first, found, where=is_new)
