"""All maps of one aerial file, written block row by block row and finished together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from .cog import FAILURES
from .disk import unwritable
from .journal import Journal, Recorded
from .kinds import BLOCK, MapKind, MapTags
from .layer import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What another process wrote of the same run; nobody works there any more."""

    folder: Path
    recorded: Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the sheets of a run are kept."""

    out: Path
    """Folder of the finished maps."""
    folder: Path
    """Folder of the raw files."""
    journal: Journal
    remains: tuple[Remains, ...] = ()
    """What shards of the run left."""


class Sheet:
    """The maps of one aerial file; each sheet may be used by another thread."""

    def __init__(
        self,
        place: Place,
        stem: str,
        grid: Grid,
        kinds: Mapping[str, MapKind],
        tags: MapTags,
        *,
        share: range | None = None,
    ) -> None:
        """Begin a sheet, or go on with what an earlier run left of it.

        Args:
            place: Where it is kept.
            stem: First part of the names of its files.
            grid: Grid of its maps: exactly that of the aerial file.
            kinds: Its maps, by name of a result.
            tags: Tags of every map.
            share: Block rows that this run writes; all if None. A sheet that others write too is
                not finished by any of them.

        Raises:
            DataError: If the disk cannot be read or written.
        """
        self.stem = stem
        self.grid = grid
        self.blocks = -(-grid.shape[0] // BLOCK)
        self.share = range(self.blocks) if share is None else share
        self._place = place
        self._tags = tags
        self._layers = {
            name: Layer(place.folder, f"{stem}_{kind.suffix}", grid, kind)
            for name, kind in kinds.items()
        }
        told = [place.journal.recorded, *(item.recorded for item in place.remains)]
        sizes = [found.finished[stem] for found in told if stem in found.finished]
        self.finished = bool(sizes) and self._sizes() in sizes and self._has_all()
        if not self.finished:
            self._recover()

    @property
    def is_whole(self) -> bool:
        """Whether this run writes all of it."""
        return len(self.share) == self.blocks

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the share lacks any more."""
        return self.finished or not (self.is_whole or self.missing(slice(0, self.grid.shape[1])))

    @property
    def mapped(self) -> Grid:
        """Grid of the share."""
        height, width = self.grid.shape
        top, bottom = (min(row * BLOCK, height) for row in (self.share.start, self.share.stop))
        return self.grid.crop(top, 0, bottom - top, width)

    @property
    def paths(self) -> tuple[str, ...]:
        """Final names of its files."""
        return tuple(str(self._final(layer)) for layer in self._layers.values())

    def missing(self, cols: slice) -> tuple[int, ...]:
        """Block rows of the share whose columns are not all on the disk, from top to bottom."""
        if self.finished:
            return ()
        layers = self._layers.values()
        return tuple(
            block
            for block in self.share
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
        if self.finished or block not in self.share or not is_inside:
            raise ValueError(f"{self.stem} has no columns {cols} of block row {block} to write")
        try:
            pieces = [
                layer.write(block, cols, values[name]) for name, layer in self._layers.items()
            ]
            # A complete sheet is finished next: its raw files need not outlast a power cut.
            if not self.is_whole or self.missing(slice(0, self.grid.shape[1])):
                for layer in self._layers.values():
                    layer.sync()
            self._place.journal.add_pieces(pieces)
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self, known: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Bring all maps into their final form and name; none appears before all are made.

        Args:
            known: Tags of every map that were not known before.

        Returns:
            The final names.

        Raises:
            ValueError: If pieces are missing.
            DataError: If the disk does not take it; what was written stays for another try.
        """
        if self.finished:
            return self.paths
        missing = self.missing(slice(0, self.grid.shape[1]))
        if missing or not self.is_whole:
            raise ValueError(f"{self.stem} lacks block rows {missing}, or others write it too")
        layers = self._layers.values()
        tags = replace(self._tags, file={**self._tags.file, **(known or {})})
        try:
            for layer in layers:
                layer.copy(tags)
            for layer in layers:
                layer.publish(self._place.out)
            self._place.journal.add_finished(self.stem, self._sizes())
            if self.blocks > 1:
                # After a power cut a small sheet is made again sooner than this waits.
                self._place.journal.sync()
            for layer in layers:
                layer.remove()
        except FAILURES as error:
            for layer in layers:
                layer.discard()
            raise self._unwritable(error) from error
        self.finished = True
        return self.paths

    def _recover(self) -> None:
        recorded = self._place.journal.recorded.pieces
        try:
            for layer in self._layers.values():
                layer.recover(recorded.get(layer.name, {}).values(), self.blocks)
                for item in self._place.remains:
                    theirs = item.recorded.pieces.get(layer.name, {}).values()
                    if theirs:
                        copied = layer.adopt(item.folder, theirs, self.blocks)
                        layer.sync()
                        self._place.journal.add_pieces(copied)
        except OSError as error:
            raise self._unwritable(error) from error

    def _has_all(self) -> bool:
        """Whether all final files are there; a GIS may have added to those beside the maps."""
        names = [name for layer in self._layers.values() for name in layer.files]
        return all((self._place.out / name).is_file() for name in names)

    def _sizes(self) -> dict[str, int]:
        """Sizes of the final maps that are there."""
        files = [self._final(layer) for layer in self._layers.values()]
        return {file.name: file.stat().st_size for file in files if file.is_file()}

    def _final(self, layer: Layer) -> Path:
        return self._place.out / f"{layer.name}.tif"

    def _unwritable(self, error: BaseException) -> Exception:
        first = next(iter(self._layers.values()))
        return unwritable(self._final(first), error)
