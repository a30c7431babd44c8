"""Run the satellite part once for many tiles: the cheaper, approximate mode.

Windows lie on a lattice of a few cells. The part runs once for each of them, and a tile takes the
logits of the nearest one, moved by the difference of the centres, so that the fusion part, which
reads what lies around its window's centre, sees the ground under the tile:

    |<------------- window of a node, 40 cells ------------->|
              window +      + tile, up to half a step away
                        |<- 10.24 cells ->|

The default mode cuts a window for every tile instead, as training does. Both agree exactly only
where a branch's logits do not depend on how its window is cropped; a run should measure how far.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .card import ModelCard
from .errors import BundleError, ConfigError
from .grid import Grid
from .manifest import AerialSpec
from .model import series_feed
from .satellite import NotSeenError, SatelliteInput, SatelliteSpec
from .satellite_policy import SatelliteFeeder

MOST_CELLS = 16
"""The default step is no longer than this, whatever the window allows."""

NODES = 512
"""Windows whose logits are kept."""

SPARE_CELLS = 2
"""Cells beside those under a tile that bilinear interpolation may draw from."""

Logits = dict[str, NDArray[Any]]


class SatelliteModel(Protocol):
    """A model whose satellite part can be run alone, such as `runtime.model.TileModel`."""

    def run_satellite(self, feed: Mapping[str, NDArray[Any]]) -> Logits:
        """Run the satellite part for one tile."""


@dataclass(frozen=True, slots=True)
class _Node:
    """What the satellite part gives for one window."""

    series: SatelliteInput
    logits: Logits


def longest_step(aerial: AerialSpec, satellite: SatelliteSpec) -> int:
    """Cells that windows may lie apart so that each holds all that its tiles read."""
    under_tile = aerial.tile_size * aerial.resolution_m / satellite.cell_m
    return math.floor(satellite.window - under_tile - SPARE_CELLS)


def default_step(aerial: AerialSpec, satellite: SatelliteSpec) -> int:
    """The longest even step, up to `MOST_CELLS`; below 2 the mode is not to be had."""
    return min(longest_step(aerial, satellite), MOST_CELLS) // 2 * 2


def check_step(step_cells: int | None, card: ModelCard) -> None:
    """Check that a model can be run on a lattice of windows; None asks for no lattice, 0 for any.

    Raises:
        ConfigError: If it has no satellite branch, or a window does not hold what its tiles read.
    """
    if step_cells is None:
        return
    if card.satellite is None:
        raise ConfigError(
            f"--satellite-lattice is given and {card.name} has no satellite branch; expected one; "
            "leave it out"
        )
    most = longest_step(card.aerial, card.satellite)
    step = step_cells or default_step(card.aerial, card.satellite)
    if most < 1:
        raise ConfigError(
            f"--satellite-lattice {step_cells}: a window of {card.satellite.window} cells of "
            f"{card.name} holds what one tile reads and no more; expected a wider one; leave it out"
        )
    if not 1 <= step <= most:
        raise ConfigError(
            f"--satellite-lattice {step_cells}: windows of {card.satellite.window} cells hold what "
            f"tiles read up to {most} cells apart; expected 1 to {most}; choose another step, or "
            "leave it out"
        )


class SatelliteLattice:
    """Gives tiles the logits of the satellite part, run on a lattice of windows.

    Only the thread that runs the model may call.
    """

    def __init__(
        self,
        model: SatelliteModel,
        feeder: SatelliteFeeder,
        card: ModelCard,
        *,
        step_cells: int | None = None,
    ) -> None:
        """Lay the lattice.

        Args:
            model: Runs the satellite part.
            feeder: Prepares windows on the tile grid, and counts tiles.
            card: Says how large tiles and windows are.
            step_cells: Cells between windows; `default_step` if None.

        Raises:
            ValueError: If a window would not hold what its tiles read, or the model has no
                satellite branch.
        """
        if card.satellite is None:
            raise ValueError(f"{card.name} has no satellite branch; expected one for a lattice")
        most = longest_step(card.aerial, card.satellite)
        step = default_step(card.aerial, card.satellite) if step_cells is None else step_cells
        if not 1 <= step <= most:
            raise ValueError(
                f"a lattice of {step} cells; expected 1 to {most}, so that windows of "
                f"{card.satellite.window} cells hold all that tiles read"
            )
        self.step_cells = step
        self.runs = 0
        """How often the satellite part has run."""
        self.series: SatelliteInput | None = None
        """What the logits that were asked for last come from."""
        self._model, self._feeder = model, feeder
        self._cell_px = _cell_px(feeder.grid, card.satellite.cell_m)
        self._window = card.satellite.window
        self._nodes: OrderedDict[tuple[float, float], _Node | None] = OrderedDict()

    def logits(self, row: float, col: float) -> Logits | None:
        """Give the satellite part's outputs for the tile centred on (row, col), and count the tile.

        Args:
            row: Row of the tile's centre on the feeder's grid, in pixel edges.
            col: Column of the tile's centre, in the same way.

        Returns:
            Outputs by name, with a batch of 1; None where the map is to come from the aerial image
            alone.

        Raises:
            SatelliteError: If the policy refuses the tile, or a file is damaged.
            BundleError: If the part's outputs are no maps.
        """
        place = self._nearest(row, col)
        node = self._node(*place)
        if node is None:
            # The window may lie beyond a series that still shows the tile, or below its clouds.
            place, own = (row, col), self._feeder.look(row, col)
            node = None if own is None else self._run(own)
        self.series = None if node is None else node.series
        self._feeder.count(self.series)
        if node is None:
            return None
        down = (row - place[0]) / self._cell_px[0]
        across = (col - place[1]) / self._cell_px[1]
        return {
            name: moved(array, down, across, window=self._window)
            for name, array in node.logits.items()
        }

    def _nearest(self, row: float, col: float) -> tuple[float, float]:
        """Centre of the nearest window; not beyond the grid unless the tile's own centre is."""
        found = []
        for position, size, cell_px in zip(
            (row, col), self._feeder.grid.shape, self._cell_px, strict=True
        ):
            step = self.step_cells * cell_px
            node = round(position / step) * step
            found.append(min(max(node, min(0.0, position)), max(float(size), position)))
        return found[0], found[1]

    def _node(self, row: float, col: float) -> _Node | None:
        """Give the window centred there; None where it shows nothing that the policy takes."""
        key = (row, col)
        if key not in self._nodes:
            self._nodes[key] = self._made(row, col)
            if len(self._nodes) > NODES:
                self._nodes.popitem(last=False)
        self._nodes.move_to_end(key)
        return self._nodes[key]

    def _made(self, row: float, col: float) -> _Node | None:
        try:
            series = self._feeder.see(row, col)
        except NotSeenError:
            return None
        return self._run(series) if self._feeder.takes(series) else None

    def _run(self, series: SatelliteInput) -> _Node:
        self.runs += 1
        logits = self._model.run_satellite(series_feed([series]))
        # The numbers have served; they take ten times the room of the logits.
        return _Node(replace(series, series=np.empty(0, dtype=np.float32)), logits)


def _cell_px(grid: Grid, cell_m: float) -> tuple[float, float]:
    """Rows and columns of a grid per cell."""
    t = grid.transform
    unit_m = grid.resolution_m / math.sqrt(abs(t.determinant))
    return cell_m / (math.hypot(t.b, t.e) * unit_m), cell_m / (math.hypot(t.a, t.d) * unit_m)


def moved(logits: NDArray[Any], down: float, across: float, *, window: int) -> NDArray[np.float32]:
    """Move maps of a window so that another place is in its middle, bilinearly between cells.

    Args:
        logits: Shape (N, K, h, w), over the whole window.
        down: Cells of the window that the new middle lies below the old one.
        across: Cells that it lies to the right.
        window: Cells on each side of the window.

    Returns:
        The same shape; where the window ends, its outermost cells are repeated.

    Raises:
        BundleError: If the array is no map.
    """
    if logits.ndim != 4:
        raise BundleError(
            f"the satellite part gives an array of shape {logits.shape}; expected maps (N, K, h, "
            "w) for a lattice of windows; use one window per tile"
        )
    height, width = logits.shape[2:]
    rows = _shift(height, down * height / window)
    cols = _shift(width, across * width / window)
    result: NDArray[np.float32] = rows @ logits @ cols.T
    return result


def _shift(size: int, by: float) -> NDArray[np.float32]:
    """Weights that give each cell the value `by` cells further on, shape (size, size)."""
    position = np.clip(np.arange(size) + by, 0.0, size - 1.0)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, size - 1)
    share = position - before
    weights = np.zeros((size, size))
    cells = np.arange(size)
    np.add.at(weights, (cells, before), 1.0 - share)
    np.add.at(weights, (cells, after), share)
    return weights.astype(np.float32)
