"""Read windows of a mosaic: pixels of all its files, and which of them hold data.

files of the window     in order of preference; the first that holds data at a pixel gives it
layers                  further channels, such as elevation from another file
blocks that fail        no data, marked as damaged, listed once; the run goes on
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from .mosaic import AerialFile, Mosaic
from .scaling import Scaling
from .source import AerialSource

MOST_OPEN = 64
"""Files that are open at a time; a process may open 256 or 1024 on most systems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A block of a file that cannot be read."""

    path: str
    row: int
    """First row, in pixels of the file."""
    col: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AerialWindow:
    """Pixels of a window."""

    pixels: NDArray[np.uint8]
    """Shape (channels, height, width); 0 where no file lies."""
    valid: NDArray[np.bool_]
    """Which pixels hold data, shape (height, width)."""
    damaged: NDArray[np.bool_] | None
    """Which pixels are not valid because they cannot be read; None where all can be."""


class ExtraBand(Protocol):
    """A channel that does not come from the mosaic's files; who made it closes it."""

    def read(self, rows: slice, cols: slice) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read values and which are valid, shape (height, width) each, of a mosaic's window."""


class AerialView(Protocol):
    """Imagery on one grid, read in windows that lie on it; for one thread."""

    @property
    def grid(self) -> Grid:
        """Where the imagery lies."""

    @property
    def damage(self) -> Sequence[Damage]:
        """Damaged blocks met so far."""

    def read(self, rows: slice, cols: slice) -> AerialWindow:
        """Read a window that lies on the grid.

        Raises:
            DataError: If a file vanished or cannot be opened.
        """

    def close(self) -> None:
        """Close what is open."""


class MosaicReader:
    """An open mosaic; use it as a context manager, one reader per thread."""

    def __init__(
        self,
        mosaic: Mosaic,
        *,
        bands: tuple[int, ...] | None = None,
        layers: Sequence[ExtraBand] = (),
        scaling: Scaling | None = None,
    ) -> None:
        """Take a mosaic; its files are opened when they are read.

        Args:
            mosaic: What to read.
            bands: Indices of the bands wanted, in the order wanted; all if None. An alpha band
                that is not among them is a mask.
            layers: Channels that follow the files' bands.
            scaling: How stored values become uint8; None for files of uint8.
        """
        self._mosaic = mosaic
        self._bands, self._scaling = bands, scaling
        self._layers = tuple(layers)
        self._damage: list[Damage] = []
        self._sources: dict[Path, AerialSource] = {}
        self._open: OrderedDict[Path, AerialSource] = OrderedDict()

    @property
    def grid(self) -> Grid:
        """Grid of the mosaic."""
        return self._mosaic.grid

    @property
    def damage(self) -> Sequence[Damage]:
        """Blocks that could not be read so far, each once, in pixels of their files; it grows."""
        return self._damage

    @property
    def channels(self) -> int:
        """Channels of a window."""
        return self._stored + len(self._layers)

    @property
    def _stored(self) -> int:
        return self._mosaic.files[0].info.count if self._bands is None else len(self._bands)

    @property
    def block_rows(self) -> int:
        """Most rows that a row of blocks has."""
        return self._mosaic.block_rows

    def block_end(self, row: int, cols: slice) -> int:
        """Where the row of blocks ends that lies at a row of the mosaic."""
        return self._mosaic.block_end(row, cols)

    def read(self, rows: slice, cols: slice) -> AerialWindow:
        """Read a window that lies on the mosaic's grid.

        Raises:
            DataError: If a file vanished or cannot be opened.
        """
        canvas = _Canvas((self.channels, rows.stop - rows.start, cols.stop - cols.start))
        stored = canvas.pixels[: self._stored]
        for file in self._mosaic.files_in(rows, cols):
            down, across = _common(rows, file.rows), _common(cols, file.cols)
            on_canvas = _moved(down, -rows.start), _moved(across, -cols.start)
            on_file = _moved(down, -file.row), _moved(across, -file.col)
            if not canvas.valid[on_canvas].all():
                source = self._source(file)
                known = len(source.damaged)
                canvas.paint(source, on_file, stored, on_canvas)
                self._damage += [_damage(file, *box) for box in source.damaged[known:]]
        window = canvas.window()
        for index, layer in enumerate(self._layers, start=self._stored):
            window.pixels[index], valid = layer.read(rows, cols)
            np.logical_and(window.valid, valid, out=window.valid)
        return window

    def _source(self, file: AerialFile) -> AerialSource:
        """A file of the mosaic; the one that was not read for the longest time may be closed."""
        source = self._sources.get(file.path)
        if source is None:
            source = AerialSource(file, bands=self._bands, scaling=self._scaling)
            self._sources[file.path] = source
        self._open[file.path] = source
        self._open.move_to_end(file.path)
        if len(self._open) > MOST_OPEN:
            path, oldest = self._open.popitem(last=False)
            oldest.close()
            if not oldest.damaged:  # else it knows what not to read again
                del self._sources[path]
        return source

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> "MosaicReader":
        """Return the reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all files."""
        self.close()


class _Canvas:
    """A window while files are put onto it, the preferred ones first."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.pixels = np.zeros(shape, dtype=np.uint8)
        self.valid = np.zeros(shape[1:], dtype=np.bool_)
        self._stored = np.zeros(shape[1:], dtype=np.bool_)
        """Which pixels lie on a file that was put here."""
        self._damaged: NDArray[np.bool_] | None = None

    def paint(
        self,
        source: AerialSource,
        on_file: tuple[slice, slice],
        pixels: NDArray[np.uint8],
        at: tuple[slice, slice],
    ) -> None:
        """Put a part of a file where no valid pixels are yet, and no stored ones where it has none.

        Args:
            source: The file.
            on_file: Rows and columns of the file.
            pixels: Channels that hold the files' bands.
            at: Rows and columns of this window.
        """
        place = pixels[:, at[0], at[1]]
        below = self._stored[at]
        under = place.copy() if below.any() else None
        valid, damaged = source.read(*on_file, place)
        if under is not None:
            keep = self.valid[at] | below & (False if valid is None else ~valid)
            np.copyto(place, under, where=keep)
        self.valid[at] |= True if valid is None else valid
        self._stored[at] = True
        if damaged is not None:
            if self._damaged is None:
                self._damaged = np.zeros_like(self.valid)
            self._damaged[at] |= damaged

    def window(self) -> AerialWindow:
        """What was put together."""
        damaged = self._damaged
        if damaged is not None:
            damaged &= ~self.valid
        return AerialWindow(
            pixels=self.pixels,
            valid=self.valid,
            damaged=None if damaged is None or not damaged.any() else damaged,
        )


def _damage(file: AerialFile, rows: slice, cols: slice) -> Damage:
    return Damage(
        path=str(file.path),
        row=rows.start,
        col=cols.start,
        height=rows.stop - rows.start,
        width=cols.stop - cols.start,
    )


def _common(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _moved(run: slice, by: int) -> slice:
    return slice(run.start + by, run.stop + by)
