"""One map of a sheet: which of its pieces are on the disk, and its way to the final file."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from .cog import write_cog
from .journal import Piece
from .kinds import MapKind, MapTags
from .side_files import count_table, side_files, side_names
from .spool import Spool


@dataclass(slots=True)
class Covered:
    """Columns of a map that are on the disk, by block row."""

    width: int
    """Columns of the map."""
    _spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, block: int, cols: slice) -> None:
        """Count columns of a block row in."""
        start, stop = cols.start, cols.stop
        apart = []
        for left, right in self._spans.get(block, []):
            if right < start or stop < left:
                apart.append((left, right))
            else:
                start, stop = min(start, left), max(stop, right)
        self._spans[block] = [*apart, (start, stop)]

    def holds(self, block: int, cols: slice) -> bool:
        """Tell whether all of these columns of a block row are counted in."""
        spans = self._spans.get(block, [])
        return any(left <= cols.start and cols.stop <= right for left, right in spans)

    def forget(self) -> None:
        """Count nothing in any more."""
        self._spans.clear()

    def is_full(self, block: int) -> bool:
        """Tell whether a block row is complete."""
        return self.holds(block, slice(0, self.width))


class Layer:
    """One map of a sheet."""

    def __init__(self, folder: Path, name: str, grid: Grid, kind: MapKind) -> None:
        """Begin a map; nothing is written yet.

        Args:
            folder: Where its raw file lies.
            name: Name of its final file, without ending.
            grid: Its grid.
            kind: What it holds.
        """
        self.name = name
        self.covered = Covered(grid.shape[1])
        self._grid = grid
        self._kind = kind
        self._spool = Spool(
            folder / f"{name}.raw", grid.shape, bands=len(kind.bands), rule=kind.overviews
        )

    @property
    def files(self) -> dict[str, Path]:
        """Where each of its files is made, by final name; the raster comes first."""
        name, folder = self.name, self._spool.path.parent
        files = {f"{name}.tif": folder / f"{name}.part.cog"}
        if self._kind.classes:
            files |= {file: folder / f"{file}.part" for file in side_names(name)}
        return files

    def recover(self, pieces: Iterable[Piece], blocks: int) -> None:
        """Count in what an earlier run left, as far as the disk holds it unchanged.

        Args:
            pieces: What its journal tells.
            blocks: Block rows of the map.

        Raises:
            OSError: If the disk cannot be read or written.
        """
        for piece in pieces:
            if self._holds(self._spool, piece, blocks):
                self.covered.add(piece.block, slice(*piece.cols))
        # The run may have ended between a block row and its overviews.
        for block in filter(self.covered.is_full, range(blocks)):
            self._spool.write_overviews(block)

    def adopt(self, folder: Path, pieces: Iterable[Piece], blocks: int) -> list[Piece]:
        """Copy what another run of the same maps wrote, as far as it is whole and lacks here.

        Args:
            folder: Where that run's raw file lies; nobody else uses it.
            pieces: What its journal tells.
            blocks: Block rows of the map.

        Raises:
            OSError: If the disk cannot be read or written.
        """
        found = []
        theirs = Spool(
            folder / self._spool.path.name,
            self._grid.shape,
            bands=self._spool.bands,
            rule=self._kind.overviews,
        )
        for piece in pieces:
            cols = slice(*piece.cols)
            is_known = self.covered.holds(piece.block, cols)
            if not is_known and self._holds(theirs, piece, blocks):
                found.append(self.write(piece.block, cols, theirs.read(piece.block, cols)))
        return found

    def _holds(self, spool: Spool, piece: Piece, blocks: int) -> bool:
        """Whether a raw file of this map holds a piece unchanged."""
        start, stop = piece.cols
        is_inside = 0 <= piece.block < blocks and 0 <= start < stop <= self.covered.width
        return is_inside and spool.checksum(piece.block, slice(start, stop)) == piece.crc

    def write(self, block: int, cols: slice, values: NDArray[np.uint8]) -> Piece:
        """Write columns of a block row; the overviews follow when it is complete.

        Args:
            block: Number of the block row.
            cols: Columns of the map.
            values: Shape (bands, rows of the block row, cols).

        Raises:
            ValueError: If the values have another shape or type.
            OSError: If the disk does not take them.
        """
        rows = self._spool.block_rows(block)
        shape = (self._spool.bands, rows.stop - rows.start, cols.stop - cols.start)
        if values.shape != shape or values.dtype != np.uint8:
            raise ValueError(f"{self.name} takes uint8 {shape}, not {values.dtype} {values.shape}")
        crc = self._spool.write(block, cols, values)
        self.covered.add(block, cols)
        if self.covered.is_full(block):
            is_whole = shape[2] == self.covered.width
            self._spool.write_overviews(block, values if is_whole else None)
        return Piece(map=self.name, block=block, cols=(cols.start, cols.stop), crc=crc)

    def sync(self) -> None:
        """Wait until the disk holds what was written.

        Raises:
            OSError: If the disk does not take it.
        """
        self._spool.sync()

    def copy(self, tags: MapTags) -> None:
        """Make the final files, not yet under their names.

        Raises:
            RasterioError: If one cannot be written; `cog.FAILURES` lists what else is raised then.
        """
        files = self.files
        write_cog(self._spool, self._grid, self._kind, tags, files[f"{self.name}.tif"])
        if self._kind.classes:
            table = count_table(self._kind.classes, self._spool.counts(), self._grid)
            for file, content in side_files(self.name, table).items():
                files[file].write_bytes(content)

    def publish(self, out: Path) -> None:
        """Give the final files their names in a folder.

        Raises:
            OSError: If they cannot be moved.
        """
        for name, part in self.files.items():
            os.replace(part, out / name)

    def discard(self) -> None:
        """Remove final files that have not got their names.

        Raises:
            OSError: If they cannot be removed.
        """
        for part in self.files.values():
            part.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the raw file, and forget what it held: a run may have very many maps.

        Raises:
            OSError: If it cannot be removed.
        """
        self._spool.path.unlink(missing_ok=True)
        self.covered.forget()
