"""Bring imagery of another resolution to the one that a model was trained at.

    mosaic's grid  --bilinear or area average-->  tile grid  --nearest pixel-->  maps of the files

Weights are whole numbers, so that sums do not depend on the order in which they are added: a pixel
is the same in every window, bit for bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from ..errors import GridError
from ..grid import Grid
from ..manifest import AerialSpec
from ..scene import RESOLUTION_TOLERANCE, fits
from .mosaic import AerialFile
from .reader import AerialView, AerialWindow, Damage

_BITS = 12
"""The weights of a pixel add up to 2^12 along each axis; 255 * 2^24 is just within 32 bits."""
_HALF = np.uint32(1 << (2 * _BITS - 1))
_PIECE_PX = 2_000_000
"""Pixels that are resampled at once, on the finer of the two grids."""
_EDGE = 1e-6
"""Pixels; a centre that is less than this before an edge lies on it."""


def resample_bytes(channels: int) -> int:
    """Most bytes that resampling holds beside the windows that it gives, for the plan of a run."""
    source_and_result, sums = 2 * (channels + 1), 4 * np.dtype(np.uint32).itemsize
    return _PIECE_PX * (source_and_result + sums)


@dataclass(frozen=True, slots=True)
class Nearest(Sequence[int]):
    """Rows or columns of a grid that hold the centres of a run of the mosaic's.

    They are worked out when they are asked for: of many files they would fill the memory.
    """

    run: range
    """Rows or columns of the mosaic."""
    scale: float
    """Those of the mosaic to one of the grid."""
    size: int
    """Rows or columns of the grid."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.run)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> "Nearest": ...
    def __getitem__(self, index: int | slice) -> "int | Nearest":
        """Give one of them, or some."""
        if isinstance(index, slice):
            return Nearest(self.run[index], self.scale, self.size)
        place = math.floor((self.run[index] + 0.5) / self.scale + _EDGE)
        return min(max(place, 0), self.size - 1)

    def array(self) -> NDArray[np.intp]:
        """Work out all of them."""
        centres = (np.arange(self.run.start, self.run.stop) + 0.5) / self.scale
        places: NDArray[np.intp] = np.floor(centres + _EDGE).astype(np.intp)
        return places.clip(0, self.size - 1)


Places = range | Nearest
"""Rows or columns of a grid, one for each of a file; never falling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """The grid that tiles are cut from, over the ground of a mosaic."""

    grid: Grid
    source: Grid
    """Grid of the mosaic."""
    row_scale: float = 1.0
    """Rows of the mosaic to a row of this grid; above 1 where this grid is coarser."""
    col_scale: float = 1.0
    """Columns of the mosaic to a column of this grid."""

    @property
    def resampled(self) -> bool:
        """Whether this is another grid than the mosaic's."""
        return self.row_scale != 1 or self.col_scale != 1

    @property
    def text(self) -> str | None:
        """What was done, for report and tags; None where nothing was."""
        if not self.resampled:
            return None
        found, used = self.source.resolution_m, self.grid.resolution_m
        method = "area average" if used > found else "bilinear"
        return f"from {found:.3f} m to {used:.3f} m ({method}), maps back by nearest pixel"

    def rows_of(self, file: AerialFile) -> Places:
        """Row of this grid whose pixels hold the centres of each row of a file."""
        run = range(file.rows.start, file.rows.stop)
        return Nearest(run, self.row_scale, self.grid.shape[0]) if self.resampled else run

    def cols_of(self, file: AerialFile) -> Places:
        """Column of this grid that holds the centres of each column of a file."""
        run = range(file.cols.start, file.cols.stop)
        return Nearest(run, self.col_scale, self.grid.shape[1]) if self.resampled else run


def tile_grid(
    mosaic: Grid, spec: AerialSpec, resample: bool, *, name: str = "the imagery"
) -> TileGrid:
    """Choose the grid that tiles are cut from.

    Args:
        mosaic: Grid of the mosaic.
        spec: What the model takes.
        resample: Whether imagery of another resolution may be resampled (`--resample`).
        name: What a refusal calls the mosaic, such as the path of its first file.

    Returns:
        The mosaic's own grid where its resolution is within a tenth of the model's; else one of
        exactly the model's resolution with the same corner and axes, over the same ground.

    Raises:
        GridError: If the CRS does not count in metres, or the resolution differs by more than a
            tenth and `resample` is false.
    """
    height_m, width_m = _sides_m(mosaic, name)
    wrong = [side for side in (height_m, width_m) if not fits(side, spec.resolution_m)]
    if not wrong:
        return TileGrid(grid=mosaic, source=mosaic)
    if not resample:
        raise GridError(
            f"{name} has {wrong[0]:.3f} m per pixel; expected {spec.resolution_m:.3f} m "
            f"within {RESOLUTION_TOLERANCE:.0%}; pass --resample, or resample it first"
        )
    rows, cols = spec.resolution_m / height_m, spec.resolution_m / width_m
    a, b, c, d, e, f = mosaic.transform[:6]
    transform = Affine(a * cols, b * rows, c, d * cols, e * rows, f)
    shape = _covering(mosaic.shape[0], rows), _covering(mosaic.shape[1], cols)
    grid = Grid(shape, transform, mosaic.crs)
    return TileGrid(grid=grid, source=mosaic, row_scale=rows, col_scale=cols)


class ResampledView:
    """A mosaic, or another view, on a tile grid of another resolution."""

    def __init__(self, view: AerialView, tiles: TileGrid) -> None:
        """Put a view onto a grid; closing this closes the view.

        Args:
            view: Imagery on `tiles.source`.
            tiles: The grid wanted.
        """
        self._view, self._tiles = view, tiles

    @property
    def grid(self) -> Grid:
        """The tile grid."""
        return self._tiles.grid

    @property
    def damage(self) -> Sequence[Damage]:
        """Damaged blocks met so far, in pixels of their files."""
        return self._view.damage

    def read(self, rows: slice, cols: slice) -> AerialWindow:
        """Read and resample a window that lies on the tile grid.

        A pixel is valid where all pixels that go into it are; it is damaged where one of them is.

        Raises:
            DataError: If a file vanished or cannot be opened.
        """
        tiles = self._tiles
        across = Weights(cols, tiles.col_scale, tiles.source.shape[1])
        width = across.source.stop - across.source.start
        per_row = max(width * max(1.0, tiles.row_scale), cols.stop - cols.start)
        step = max(1, int(_PIECE_PX / per_row))
        return _joined(
            [
                self._piece(slice(row, min(row + step, rows.stop)), across)
                for row in range(rows.start, rows.stop, step)
            ]
        )

    def close(self) -> None:
        """Close the view."""
        self._view.close()

    def _piece(self, rows: slice, across: "Weights") -> AerialWindow:
        tiles = self._tiles
        down = Weights(rows, tiles.row_scale, tiles.source.shape[0])
        window = self._view.read(down.source, across.source)
        return AerialWindow(
            pixels=np.stack([_weighted(band, down, across) for band in window.pixels]),
            valid=~_touched(~window.valid, down, across),
            damaged=None if window.damaged is None else _touched(window.damaged, down, across),
        )


class Weights:
    """What each pixel of a run along one axis takes of source pixels along it.

    A box around its centre, as wide as the larger of the two kinds of pixels, takes each source
    pixel by the share that it covers: linear between two centres where the run is finer, an average
    where it is coarser. The first and the last source pixel go on beyond their ends.
    """

    def __init__(self, run: slice, scale: float, size: int) -> None:
        """Find the weights.

        Args:
            run: Pixels wanted.
            scale: Source pixels to a pixel wanted.
            size: Source pixels that exist.
        """
        box = max(scale, 1.0)
        low = (np.arange(run.start, run.stop) + 0.5) * scale - box / 2
        first = np.floor(low).astype(np.intp)
        taps = int(np.ceil(low + box - first).max())
        ends = first + np.arange(taps + 1)[:, None]
        covered = np.clip((ends - low) / box, 0.0, 1.0)
        # Rounding what is covered up to each end, not each share, keeps the sum exact.
        weights = np.diff(np.floor(covered * 2**_BITS + 0.5), axis=0).astype(np.uint32)
        places = np.clip(ends[:-1], 0, size - 1)
        used = places[weights > 0]
        self.source = slice(int(used.min()), int(used.max()) + 1)
        """Source pixels that count."""
        places = np.clip(places, self.source.start, self.source.stop - 1) - self.source.start
        self.taps = [pair for pair in zip(places, weights, strict=True) if pair[1].any()]
        """Places in `source` and what they weigh, of 2^12; shape (pixels wanted,) each."""


def _weighted(band: NDArray[np.uint8], down: Weights, across: Weights) -> NDArray[np.uint8]:
    """Weigh the source pixels of a band, rounding half up; shape (rows, columns) wanted."""
    total = _along(_along(band, down, 0), across, 1)
    total += _HALF
    total >>= np.uint32(2 * _BITS)
    return total.astype(np.uint8)


def _along(
    values: NDArray[np.uint8] | NDArray[np.uint32], weights: Weights, axis: int
) -> NDArray[np.uint32]:
    """Weigh what lies along an axis."""
    shape = list(values.shape)
    shape[axis] = len(weights.taps[0][0])
    total = np.zeros(shape, dtype=np.uint32)
    for place, weight in weights.taps:
        along = weight[:, None] if axis == 0 else weight
        total += np.multiply(values.take(place, axis, mode="clip"), along, dtype=np.uint32)
    return total


def _touched(mask: NDArray[np.bool_], down: Weights, across: Weights) -> NDArray[np.bool_]:
    """Tell which pixels take something of a mask; shape (rows, columns) wanted."""
    tall = np.zeros((len(down.taps[0][0]), mask.shape[1]), dtype=np.bool_)
    touched = np.zeros((len(tall), len(across.taps[0][0])), dtype=np.bool_)
    if not mask.any():
        return touched
    for place, weight in down.taps:
        tall |= mask[place] & (weight > 0)[:, None]
    for place, weight in across.taps:
        touched |= tall[:, place] & (weight > 0)
    return touched


def _joined(pieces: Sequence[AerialWindow]) -> AerialWindow:
    """Put windows below each other."""
    damaged = None
    if any(piece.damaged is not None for piece in pieces):
        damaged = np.concatenate(
            [np.zeros_like(p.valid) if p.damaged is None else p.damaged for p in pieces]
        )
    return AerialWindow(
        pixels=np.concatenate([piece.pixels for piece in pieces], axis=1),
        valid=np.concatenate([piece.valid for piece in pieces]),
        damaged=damaged,
    )


def _covering(size: int, scale: float) -> int:
    """Fewest pixels of a grid that cover the mosaic's; a sliver of a pixel is not covered."""
    return max(1, math.ceil(size / scale - _EDGE))


def _sides_m(grid: Grid, name: str) -> tuple[float, float]:
    """Height and width of a pixel in metres."""
    if not grid.crs.is_projected:
        raise GridError(
            f"{name} is in {grid.crs}, which is not in metres; expected a projected CRS; "
            "reproject it first"
        )
    _, factor = grid.crs.linear_units_factor
    t = grid.transform
    return math.hypot(t.b, t.e) * factor, math.hypot(t.a, t.d) * factor
