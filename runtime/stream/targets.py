"""What the stages write to: files that grow in a folder, or arrays."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ..output.kinds import MapKind, MapTags


class Target(Protocol):
    """The maps of one aerial image, written block row by block row; see `output.sheet.Sheet`."""

    stem: str
    grid: Grid
    share: range
    finished: bool

    @property
    def is_whole(self) -> bool:
        """Whether this run writes all of it."""

    @property
    def mapped(self) -> Grid:
        """Grid of what this run writes."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Final names of its files."""

    def missing(self, cols: slice) -> tuple[int, ...]:
        """Block rows whose columns are not all there."""

    def write(self, block: int, cols: slice, values: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write columns of a block row of every map."""

    def finish(self, known: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Bring all maps into their final form."""


class Notes(Protocol):
    """What a run must know again when it goes on."""

    @property
    def notes(self) -> list[dict[str, Any]]:
        """Notes of this run, before it was interrupted."""

    def note(self, note: Mapping[str, Any]) -> None:
        """Keep something for the report."""


class Store(Notes, Protocol):
    """Where the maps of a run lie; see `output.workplace.Workplace`."""

    def sheet(
        self,
        stem: str,
        grid: Grid,
        kinds: Mapping[str, MapKind],
        tags: MapTags,
        share: range | None = None,
    ) -> Target:
        """Begin the maps of an aerial image, or go on with them."""
