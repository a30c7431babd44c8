"""Take the satellite logits of many tiles from one window, and measure what that changes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard, TileRunner
from ..model import series_feed, without_satellite
from ..output.kinds import DAMAGED, GOOD
from ..satellite import NotSeenError
from ..satellite_lattice import SatelliteLattice
from ..satellite_policy import SatelliteFeeder
from ..tally import Tally
from .options import InferOptions
from .survey import Area, Survey
from .tiles import PreparedTile, centre_of, open_feeder, source_of

SAMPLES = 16
"""Tiles that are run with a window of their own as well, evenly spread over a run."""


def satellite_once(
    survey: Survey, model: TileRunner, tally: Tally, *, tiles: int
) -> "SatelliteOnce | None":
    """Make what the options ask for; None where every tile has a window of its own."""
    if survey.options.lattice_cells is None:
        return None
    return SatelliteOnce(model, survey.card, survey.options, tally, tiles=tiles)


class SatelliteOnce:
    """Gives tiles their satellite logits; for the thread that runs the model."""

    def __init__(
        self, model: TileRunner, card: ModelCard, options: InferOptions, tally: Tally, *, tiles: int
    ) -> None:
        """Lay no lattice yet.

        Args:
            model: The opened model, for one tile per call.
            card: What to know of it.
            options: Say how many cells windows lie apart.
            tally: Told of runs and of the agreement.
            tiles: Tiles of the whole run.
        """
        self._model, self._card, self._options, self._tally = model, card, options, tally
        self._every = max(tiles // SAMPLES, 1)
        self._seen = self._pixels = self._equal = 0
        self._runs_before = 0
        self._area: Area | None = None
        self._lattice: SatelliteLattice | None = None
        self._feeder: SatelliteFeeder | None = None

    def complete(self, tile: PreparedTile) -> PreparedTile:
        """Add satellite logits to a tile, or zeros where the aerial image must do alone.

        Raises:
            SatelliteError: If the tile's satellite input is missing and may not be.
            BackendError: If the backend cannot run the satellite part alone.
        """
        feed, quality = tile.feed, tile.quality
        if feed is None or quality is None:
            return tile
        lattice = self._lattice_of(tile.job.area)
        logits = lattice.logits(*centre_of(tile.tile, tile.job.area))
        if logits is None:
            feed = without_satellite(self._model.parts, feed, 1)
        else:
            feed = {**feed, **logits}
        source = np.uint8(source_of(lattice.series))
        return replace(
            tile,
            feed=feed,
            satellite=lattice.series,
            quality=np.where(quality == GOOD, source, quality),
        )

    def compare(self, tile: PreparedTile, results: Mapping[str, NDArray[Any]]) -> None:
        """Run one tile in so many with a window of its own too, and compare the classes.

        Args:
            tile: A tile that was completed.
            results: Its results, in arrays that the next run does not overwrite.
        """
        self._seen += 1
        if (self._seen - 1) % self._every or tile.feed is None or self._feeder is None:
            return
        try:
            own = self._feeder.see(*centre_of(tile.tile, tile.job.area))
        except NotSeenError:  # the node's window shows more than the tile's own
            return
        if tile.quality is None or not self._feeder.takes(own):
            return
        again = self._model.run({"aerial": tile.feed["aerial"], **series_feed([own])})
        part = tile.tile.source
        same = _classes(results) == _classes({name: array[0] for name, array in again.items()})
        known = tile.quality[part] < DAMAGED
        self._pixels += int(known.sum())
        self._equal += int((known & same[part]).sum())

    def finish(self) -> None:
        """Tell what the run took."""
        runs = 0 if self._lattice is None else self._lattice.runs
        self._tally.encoder_runs = self._runs_before + runs
        if self._pixels:
            self._tally.lattice_agreement = self._equal / self._pixels

    def _lattice_of(self, area: Area) -> SatelliteLattice:
        if self._lattice is not None and area is self._area:
            return self._lattice
        feeder = open_feeder(area, self._card, self._options)
        if feeder is None:
            raise ValueError(
                f"{self._card.name} has no satellite branch; expected a checked survey"
            )
        if self._lattice is not None:
            self._runs_before += self._lattice.runs
        step = self._options.lattice_cells or None
        lattice = SatelliteLattice(self._model, feeder, self._card, step_cells=step)
        self._area, self._feeder, self._lattice = area, feeder, lattice
        return lattice


def _classes(results: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if "classes" in results:
        return results["classes"]
    return np.asarray(results["probabilities"].argmax(axis=0))
