"""The rasters that one scene is turned into: land cover, confidence, probabilities."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .card import ModelCard
from .errors import DataError
from .grid import Grid
from .mapwriter import (
    NODATA,
    MapKind,
    MapTags,
    MapWriter,
    class_map,
    class_tags,
    confidence_map,
    probability_map,
)
from .tiler import Tile

CONFIDENCE_SCALE = 254
"""Confidence and probabilities are stored as 0..254 of 1; 255 is nodata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """What to write, and what to allow."""

    confidence: bool = False
    probabilities: bool = False
    allow_toy: bool = False
    """Let a toy bundle map imagery that was not generated."""
    segx_version: str = ""


class MapSet:
    """The maps of one scene being written; use it as a context manager and `finish` it."""

    def __init__(
        self, folder: Path, stem: str, grid: Grid, kinds: Mapping[str, MapKind], tags: MapTags
    ) -> None:
        """Create the partial files.

        Args:
            folder: Where the maps go.
            stem: First part of their names.
            grid: Their grid: exactly that of the aerial raster.
            kinds: What to write, by name of a result.
            tags: Tags of every map.

        Raises:
            DataError: If a file cannot be created.
        """
        self._stack = ExitStack()
        self.writers: dict[str, MapWriter] = {}
        with ExitStack() as stack:
            for name, kind in kinds.items():
                path = folder / f"{stem}_{kind.suffix}.tif"
                writer = MapWriter(path, grid, kind, tags)
                self.writers[name] = stack.enter_context(writer)
            self._stack = stack.pop_all()

    def write(
        self, tile: Tile, results: Mapping[str, NDArray[np.uint8]], valid: NDArray[np.bool_]
    ) -> None:
        """Write the interior of a tile.

        Args:
            tile: Where it lies.
            results: Arrays of shape (bands, H, W) over the whole tile, by name.
            valid: Which pixels of the tile hold data, shape (H, W); others become nodata.

        Raises:
            DataError: If the disk does not take it.
        """
        rows, cols = tile.source
        hidden = ~valid[rows, cols]
        for name, writer in self.writers.items():
            values = results[name][:, rows, cols]
            if hidden.any():
                values = np.where(hidden, np.uint8(NODATA), values)
            writer.write(*tile.interior, values)

    def write_nodata(self, tile: Tile) -> None:
        """Write nodata over the interior of a tile.

        Raises:
            DataError: If the disk does not take it.
        """
        rows, cols = tile.interior
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        for writer in self.writers.values():
            writer.write(rows, cols, np.full((writer.bands, *shape), NODATA, dtype=np.uint8))

    def finish(self) -> None:
        """Bring all maps into their final form; the first that fails leaves the later ones out.

        Raises:
            DataError: If the disk does not take them.
        """
        for writer in self.writers.values():
            writer.finish()

    @property
    def paths(self) -> list[str]:
        """Final names."""
        return [str(writer.path) for writer in self.writers.values()]

    def __enter__(self) -> "MapSet":
        """Return the set."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what is not complete."""
        self._stack.__exit__(kind, error, traceback)


def map_tags(card: ModelCard, precision: str, options: MapOptions) -> MapTags:
    """Tags that say which model made a map, and how."""
    file = {
        "SEGX_VERSION": options.segx_version,
        "SEGX_BUNDLE": card.name,
        "SEGX_BUNDLE_SHA256": card.sha256,
        "SEGX_PRECISION": precision,
        "SEGX_VERIFIED": str(card.verified).lower(),
    }
    if card.toy:
        file["SEGX_TOY"] = "trained on generated imagery only; of use for nothing else"
    return MapTags(file=file, band=class_tags(card.classes))


def refuse_clashes(aerials: Sequence[Path]) -> None:
    """Refuse aerial files whose maps would overwrite each other.

    Raises:
        DataError: Naming the first two.
    """
    seen: dict[str, Path] = {}
    for path in aerials:
        other = seen.setdefault(path.stem, path)
        if other != path:
            raise DataError(
                f"{other} and {path} would both become {path.stem}_landcover.tif; expected files "
                "of different names; infer them into different folders"
            )


def map_kinds(card: ModelCard, options: MapOptions) -> dict[str, MapKind]:
    """What to write, by name of a result."""
    classes = card.classes
    kinds = {"classes": class_map(classes)}
    if options.confidence:
        kinds["confidence"] = confidence_map()
    if options.probabilities:
        kinds["probabilities"] = probability_map(classes)
    return kinds


def tile_maps(result: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.uint8]]:
    """Make the class map, confidence and probabilities of one tile from a model's outputs.

    Where a model ends in probabilities, classes and confidence follow from them.

    Args:
        result: Outputs of a batch of one.

    Returns:
        uint8 arrays of shape (bands, H, W): `classes`, `confidence` and, if given, `probabilities`.
    """
    if "probabilities" not in result:
        return {"classes": result["classes"], "confidence": result["confidence"]}
    probabilities = result["probabilities"][0]
    scaled = np.rint(probabilities * CONFIDENCE_SCALE).astype(np.uint8)
    return {
        "classes": probabilities.argmax(axis=0)[None].astype(np.uint8),
        "confidence": scaled.max(axis=0)[None],
        "probabilities": scaled,
    }
