"""Read windows of one aerial file; what cannot be read is found block by block."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, SegxError
from ..raster import RasterReader
from .mosaic import AerialFile
from .scaling import Scaling

_PIECE_PX = 1_000_000
"""Pixels that are scaled at once."""

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


def scaling_bytes(channels: int) -> int:
    """Most bytes that scaling holds beside the window that it gives, for the plan of a run."""
    return _PIECE_PX * (2 * channels + 2 * np.dtype(np.float32).itemsize)


class AerialSource:
    """One file of a mosaic; opened when it is read, and again after it was closed."""

    def __init__(
        self, file: AerialFile, *, bands: tuple[int, ...] | None, scaling: Scaling | None
    ) -> None:
        """Name a file.

        Args:
            file: What to read.
            bands: Indices of the bands wanted, in the order wanted; all if None.
            scaling: How stored values become uint8; None for a file of uint8.
        """
        self.file = file
        self.damaged: list[Box] = []
        """Rows and columns of the blocks that could not be read, each once."""
        self._bands, self._scaling = bands, scaling
        self._bad: set[tuple[int, int]] = set()
        self._block = (file.info.block_height, file.info.block_width)
        self._reader: RasterReader | None = None
        self._stamp: tuple[int, int, int] | None = None

    def read(
        self, rows: slice, cols: slice, out: NDArray[np.uint8]
    ) -> tuple[Mask | None, Mask | None]:
        """Read a window that lies on the file.

        Args:
            rows: Rows of the file.
            cols: Columns of the file.
            out: Where the pixels go, shape (bands, rows, cols); 0 where they cannot be read.

        Returns:
            Which pixels hold data, and which cannot be read, shape (rows, cols) each; None where
            that is all and none of them.

        Raises:
            DataError: If the file vanished, cannot be opened or is another one by now.
        """
        self._opened()
        if not self._bad or not any(block in self._bad for block, _ in self._blocks(rows, cols)):
            with suppress(DataError):
                return self._read_valid(rows, cols, out), None
        return self._by_blocks(rows, cols, out)

    def _read_valid(self, rows: slice, cols: slice, out: NDArray[np.uint8]) -> Mask | None:
        """Read a window as uint8; which pixels hold data, or None where nothing hides one."""
        reader, scaling = self._opened(), self._scaling
        if scaling is None:
            return reader.read_valid(*_window(rows, cols), bands=self._bands, out=out)[1]
        masks: list[Mask] = []
        step = max(1, _PIECE_PX // (cols.stop - cols.start))
        for row in range(rows.start, rows.stop, step):
            piece = slice(row, min(row + step, rows.stop))
            pixels, valid = reader.read_valid(*_window(piece, cols), bands=self._bands)
            scaling.apply(pixels, out[:, _moved(piece, -rows.start)])
            if valid is not None:
                masks.append(valid)
        return np.concatenate(masks) if masks else None

    def _by_blocks(
        self, rows: slice, cols: slice, out: NDArray[np.uint8]
    ) -> tuple[Mask, Mask | None]:
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        valid, damaged = np.ones(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        for block, box in self._blocks(rows, cols):
            down, across = (
                slice(part.start - whole.start, part.stop - whole.start)
                for part, whole in zip(box, (rows, cols), strict=True)
            )
            shown = self._read_block(block, box, out[:, down, across])
            if block in self._bad:
                out[:, down, across] = 0
                valid[down, across], damaged[down, across] = False, True
            elif shown is not None:
                valid[down, across] = shown
        return valid, damaged if damaged.any() else None

    def _read_block(self, block: tuple[int, int], box: Box, out: NDArray[np.uint8]) -> Mask | None:
        """Read what a window needs of a block, or note that the block is damaged."""
        if block in self._bad:
            return None
        try:
            return self._read_valid(*box, out)
        except DataError:
            self._check_there()
            self._bad.add(block)
            self.damaged.append(self._extent(block))
            return None

    def _blocks(self, rows: slice, cols: slice) -> Iterator[tuple[tuple[int, int], Box]]:
        """Blocks that a window touches: their index, and their rows and columns within it."""
        height, width = self._block
        for row in range(rows.start // height, -(-rows.stop // height)):
            down = _common(rows, slice(row * height, (row + 1) * height))
            for col in range(cols.start // width, -(-cols.stop // width)):
                yield (row, col), (down, _common(cols, slice(col * width, (col + 1) * width)))

    def _extent(self, block: tuple[int, int]) -> Box:
        down, across = (
            slice(index * side, min((index + 1) * side, size))
            for index, side, size in zip(block, self._block, self.file.info.grid.shape, strict=True)
        )
        return down, across

    def _check_there(self) -> None:
        """Open the file again if it is another one by now: a block that fails is not damaged then.

        Raises:
            DataError: If that fails.
        """
        if _stamp(self.file.path) != self._stamp:
            self.close()
            self._opened()

    def _opened(self) -> RasterReader:
        if self._reader is None:
            file = self.file
            self._stamp = _stamp(file.path)
            try:
                reader = file.open()
            except SegxError as error:
                raise _lost(file, str(error).split(";")[0]) from error
            self._reader = reader
            if (reader.info.grid, reader.info.count) != (file.info.grid, file.info.count):
                self.close()
                raise _lost(file, f"{file.path} is not the file that it was")
        return self._reader

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _lost(file: AerialFile, found: str) -> DataError:
    return DataError(
        f"{found}; expected {file.path.name} as it was when the run began; put it back and run the "
        "same command again"
    )


def _window(rows: slice, cols: slice) -> tuple[int, int, int, int]:
    return rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start


def _moved(run: slice, by: int) -> slice:
    return slice(run.start + by, run.stop + by)


def _common(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))
