"""Build one area: a country with its buildings and plants, on a fine and a coarse grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .aerial import AERIAL_M
from .classes import Cover
from .ground import Ground, paint
from .land import Land, lay_out
from .noise import Bounds, Field
from .objects import GARDEN, MAIN, SLOTS, WING, Objects, outline, plan_objects
from .plants import grow, plant

COARSE_M = 2.0
"""Resolution of the surroundings that only Sentinel-2 sees, in metres."""
MARGIN_M = 340.0
"""How far the surroundings reach beyond the aerial image, in metres."""

BUILDABLE = (
    Cover.PERVIOUS,
    Cover.IMPERVIOUS,
    Cover.BARE_SOIL,
    Cover.BRUSHWOOD,
    Cover.HERBACEOUS,
    Cover.AGRICULTURAL,
    Cover.PLOWED,
)
"""Ground that may be built on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A country on two grids; metres from the north-western corner of the aerial image."""

    fine: Ground
    """What the aerial image shows, at 0.2 m."""
    coarse: Ground
    """The same and `MARGIN_M` around it, at 2 m."""

    @property
    def bounds(self) -> Bounds:
        """Ground that the surroundings cover."""
        half = COARSE_M / 2
        ys, xs = self.coarse.ys, self.coarse.xs
        return (
            float(xs[0]) - half,
            float(ys[0]) - half,
            float(xs[-1]) + half,
            float(ys[-1]) + half,
        )


def build_area(shape: tuple[int, int], rng: np.random.Generator) -> Area:
    """Build an area around an aerial image of shape (rows, columns) in pixels of 0.2 m."""
    height, width = shape[0] * AERIAL_M, shape[1] * AERIAL_M
    bounds = (-MARGIN_M, -MARGIN_M, width + MARGIN_M, height + MARGIN_M)
    land = lay_out(bounds, (0.0, 0.0, width, height), rng)
    coarse_axes = (_axis(bounds[1], bounds[3], COARSE_M), _axis(bounds[0], bounds[2], COARSE_M))
    fine_axes = (_axis(0.0, height, AERIAL_M), _axis(0.0, width, AERIAL_M))
    objects = plan_objects(land, rng)
    _drop_misplaced(land, objects, paint(land, None, *coarse_axes))
    coarse = paint(land, objects, *coarse_axes)
    trees, shrubs = plant(bounds, coarse, rng)
    fine = paint(land, objects, *fine_axes)
    frayed = Field.over((0.0, 0.0, width, height), 0.7, rng).on_axes(*fine_axes)
    for ground, noise in ((coarse, None), (fine, frayed)):
        grow(ground, shrubs, noise)
        grow(ground, trees, noise)
    return Area(fine=fine, coarse=coarse)


def _axis(start: float, stop: float, step: float) -> NDArray[np.float32]:
    """Pixel centres between two places."""
    count = round((stop - start) / step)
    return (start + (np.arange(count) + 0.5) * step).astype(np.float32)


def _drop_misplaced(land: Land, objects: Objects, bare: Ground) -> None:
    """Tear down what would reach into a road, water or a neighbour."""
    left, top = float(bare.xs[0]), float(bare.ys[0])
    present = np.zeros(len(land.cover), dtype=np.bool_)
    present[bare.parcel] = True
    objects.kind[:, ~present] = 0
    for slot in range(SLOTS):
        parcel = np.flatnonzero(objects.kind[slot])
        x, y = outline(land, objects, parcel, slot)
        col = np.rint((x - left) / COARSE_M).astype(np.intp)
        row = np.rint((y - top) / COARSE_M).astype(np.intp)
        rows, cols = bare.cover.shape
        seen = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        row, col = np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)
        own = seen & (bare.parcel[row, col] == parcel[:, None])
        own &= np.isin(bare.cover[row, col], BUILDABLE)
        own &= bare.cover[row, col] == land.cover[parcel][:, None]
        objects.kind[slot, parcel[~own.all(axis=1)]] = 0
    # Nothing stands on a parcel without its main object.
    for slot in (WING, GARDEN):
        objects.kind[slot, objects.kind[MAIN] == 0] = 0
