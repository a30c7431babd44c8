"""Resample the pixels of a Sentinel-2 series to the cells of a window: the arithmetic of `cut`.

All dates and bands of a pixel lie side by side, so that a cell takes its four neighbours as runs of
memory. In a window of 20 dates this is several times faster than to go date by date, and the sums
are the same to the last bit: each number is still multiplied and added in the same order.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

RUN = 256
"""Cells that are computed together: few enough for the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """A box of a series on all dates."""

    dn: NDArray[Any]
    """Digital numbers, shape (rows, cols, dates, B)."""
    cover: NDArray[Any]
    """The larger of snow and cloud probability, 0 to 100, shape (rows, cols, dates)."""
    filled: NDArray[np.bool_]
    """Where a pixel holds data in any band, shape (rows, cols, dates)."""


class PixelSource(Protocol):
    """A series whose pixels are asked for box by box."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def days(self) -> tuple[date, ...]:
        """Day of each acquisition."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """Radiometric offset of each date in digital numbers."""

    def read(self, rows: slice, cols: slice) -> Pixels:
        """Give the pixels of a box that lies on the series."""


@dataclass(frozen=True, slots=True)
class _Corner:
    """One of the four pixels around each cell."""

    index: NDArray[np.intp]
    """Its place in the box, row by row, shape (cells,)."""
    weight: NDArray[np.float32]
    """Shape (cells, 1)."""


class Cells:
    """A series at the cells of a window, bilinearly between pixel centres.

    Beyond the border of the series its outermost pixels are repeated. Only the box around the cells
    is read.
    """

    def __init__(
        self, series: PixelSource, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> None:
        """Find the pixels around each cell, and read them.

        Args:
            series: Where the pixels come from.
            rows: Row of each cell's centre, shape (h, w); 0 is the centre of the first pixel.
            cols: Column of each cell's centre, shape (h, w).
        """
        top, bottom, down = _neighbours(rows, series.shape[0])
        left, right, across = _neighbours(cols, series.shape[1])
        box_rows = slice(int(top.min()), int(bottom.max()) + 1)
        box_cols = slice(int(left.min()), int(right.max()) + 1)
        width = box_cols.stop - box_cols.start
        self._shape = rows.shape
        self._corners = [
            _Corner(
                ((row - box_rows.start) * width + col - box_cols.start).ravel(),
                weight.reshape(-1, 1),
            )
            for row, col, weight in (
                (top, left, (1 - down) * (1 - across)),
                (top, right, (1 - down) * across),
                (bottom, left, down * (1 - across)),
                (bottom, right, down * across),
            )
            if weight.any()
        ]
        self._pixels = series.read(box_rows, box_cols)

    def cover(self) -> NDArray[np.float32]:
        """Cover of every date, shape (dates, h, w)."""
        count = self._pixels.cover.shape[2]
        cover = self._pixels.cover.reshape(-1, count).astype(np.float32)
        return self._weigh(cover).reshape(count, *self._shape)

    def valid(self) -> NDArray[np.bool_]:
        """Where all pixels that a cell draws from hold data, shape (dates, h, w)."""
        count = self._pixels.filled.shape[2]
        filled = self._pixels.filled.reshape(-1, count)
        valid = np.ones((count, *self._shape), dtype=np.bool_)
        if not filled.all():
            for corner in self._corners:
                there = filled[corner.index] | (corner.weight == 0)
                valid &= there.T.reshape(valid.shape)
        return valid

    def dn(self, dates: NDArray[np.intp]) -> NDArray[np.float32]:
        """Digital numbers of these dates, shape (len(dates), B, h, w)."""
        dn = self._pixels.dn
        if len(dates) < dn.shape[2]:
            dn = np.take(dn, dates, axis=2)
        numbers = dn.reshape(-1, len(dates) * dn.shape[3])
        # Wide integers and doubles are multiplied in double precision, as NumPy does by itself.
        given = numbers.astype(np.result_type(dn.dtype, np.float32))
        return self._weigh(given).reshape(len(dates), -1, *self._shape)

    def _weigh(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Add up the weighted corners of each cell, (pixels, numbers) to (numbers, cells)."""
        cells = self._shape[0] * self._shape[1]
        result = np.empty((pixels.shape[1], cells), dtype=np.float32)
        for start in range(0, cells, RUN):
            run = slice(start, min(start + RUN, cells))
            total = np.zeros((run.stop - start, pixels.shape[1]), dtype=np.float32)
            taken = np.empty(total.shape, dtype=pixels.dtype)
            for corner in self._corners:
                # `clip` writes straight into `out`; every index lies in the box.
                np.take(pixels, corner.index[run], axis=0, out=taken, mode="clip")
                taken *= corner.weight[run]
                total += taken
            result[:, run] = total.T
        return result


def _neighbours(
    position: NDArray[np.float64], size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Index of the pixel before and after each position, and the weight of the one after."""
    clipped = np.clip(position, 0.0, size - 1.0)
    before = np.floor(clipped).astype(np.intp)
    weight = (clipped - before).astype(np.float32)
    after = np.minimum(before + (weight > 0), size - 1)
    return before, after, weight


def side_by_side(planes: NDArray[Any]) -> NDArray[Any]:
    """Put the planes of each pixel side by side: (..., rows, cols) to (rows, cols, ...)."""
    last = planes.ndim - 1
    order = (last - 1, last, *range(last - 1))
    return np.ascontiguousarray(planes.transpose(order))
