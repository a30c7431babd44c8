"""All maps of one aerial file, written block row by block row and finished together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from .cog import FAILURES
from .disk import unwritable
from .journal import Journal
from .kinds import BLOCK, MapKind, MapTags
from .layer import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the sheets of a run are kept."""

    out: Path
    """Folder of the finished maps."""
    folder: Path
    """Folder of the raw files."""
    journal: Journal


class Sheet:
    """The maps of one aerial file; each sheet may be used by another thread."""

    def __init__(
        self, place: Place, stem: str, grid: Grid, kinds: Mapping[str, MapKind], tags: MapTags
    ) -> None:
        """Begin a sheet, or go on with what an earlier run left of it.

        Args:
            place: Where it is kept.
            stem: First part of the names of its files.
            grid: Grid of its maps: exactly that of the aerial file.
            kinds: Its maps, by name of a result.
            tags: Tags of every map.

        Raises:
            DataError: If the disk cannot be read or written.
        """
        self.stem = stem
        self.grid = grid
        self.blocks = -(-grid.shape[0] // BLOCK)
        self._place = place
        self._tags = tags
        self._layers = {
            name: Layer(place.folder, f"{stem}_{kind.suffix}", grid, kind)
            for name, kind in kinds.items()
        }
        sizes = place.journal.recorded.finished.get(stem)
        self.finished = sizes is not None and sizes == self._sizes()
        if not self.finished:
            self._recover()

    @property
    def paths(self) -> tuple[str, ...]:
        """Final names of its files."""
        return tuple(str(self._final(layer)) for layer in self._layers.values())

    def missing(self, cols: slice) -> tuple[int, ...]:
        """Block rows whose columns `cols` are not all on the disk, from top to bottom."""
        if self.finished:
            return ()
        layers = self._layers.values()
        return tuple(
            block
            for block in range(self.blocks)
            if not all(layer.covered.holds(block, cols) for layer in layers)
        )

    def write(self, block: int, cols: slice, values: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write columns of a block row of every map.

        Args:
            block: Number of the block row: rows 512 * block to 512 * (block + 1) of the file.
            cols: Columns of the file.
            values: By name of a result, shape (bands, rows of the block row, cols); final values.

        Raises:
            ValueError: If the place or the values are not of this sheet.
            DataError: If the disk does not take it.
        """
        is_inside = 0 <= cols.start < cols.stop <= self.grid.shape[1]
        if self.finished or not 0 <= block < self.blocks or not is_inside:
            raise ValueError(f"{self.stem} has no columns {cols} of block row {block} to write")
        try:
            pieces = [
                layer.write(block, cols, values[name]) for name, layer in self._layers.items()
            ]
            # A complete sheet is finished next: its raw files need not outlast a power cut.
            if self.missing(slice(0, self.grid.shape[1])):
                for layer in self._layers.values():
                    layer.sync()
            self._place.journal.add_pieces(pieces)
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> tuple[str, ...]:
        """Bring all maps into their final form and name; none appears before all are made.

        Returns:
            The final names.

        Raises:
            ValueError: If pieces are missing.
            DataError: If the disk does not take it; what was written stays for another try.
        """
        if self.finished:
            return self.paths
        missing = self.missing(slice(0, self.grid.shape[1]))
        if missing:
            raise ValueError(f"{self.stem} lacks block rows {missing}")
        layers = self._layers.values()
        try:
            for layer in layers:
                layer.copy(self._tags)
            for layer in layers:
                os.replace(layer.part, self._final(layer))
            self._place.journal.add_finished(self.stem, self._sizes())
            if self.blocks > 1:
                # After a power cut a small sheet is made again sooner than this waits.
                self._place.journal.sync()
            for layer in layers:
                layer.remove()
        except FAILURES as error:
            for layer in layers:
                layer.part.unlink(missing_ok=True)
            raise self._unwritable(error) from error
        self.finished = True
        return self.paths

    def _recover(self) -> None:
        recorded = self._place.journal.recorded.pieces
        try:
            for layer in self._layers.values():
                layer.recover(recorded.get(layer.name, {}).values(), self.blocks)
        except OSError as error:
            raise self._unwritable(error) from error

    def _sizes(self) -> dict[str, int]:
        """Sizes of the final files that are there."""
        files = [self._final(layer) for layer in self._layers.values()]
        return {file.name: file.stat().st_size for file in files if file.is_file()}

    def _final(self, layer: Layer) -> Path:
        return self._place.out / f"{layer.name}.tif"

    def _unwritable(self, error: BaseException) -> Exception:
        first = next(iter(self._layers.values()))
        return unwritable(self._final(first), error)
