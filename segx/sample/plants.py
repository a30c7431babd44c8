"""Grow trees and shrubs over painted ground.

Plants stand on a jittered lattice that is fixed to the ground, so every grid sees the same ones.
Whether a plant grows at a lattice point is asked of the bare ground there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .classes import COVERS, Cover
from .ground import Ground
from .noise import Bounds
from .surfaces import Surface

TREE_M = 5.6
"""Distance of the trees' lattice points, in metres."""
SHRUB_M = 2.7
"""Distance of the shrubs' lattice points, in metres."""

_TREES = {Cover.DECIDUOUS: 0.97, Cover.CONIFEROUS: 0.97, Cover.PERVIOUS: 0.1}
_TREES |= {Cover.HERBACEOUS: 0.012, Cover.AGRICULTURAL: 0.012, Cover.BRUSHWOOD: 0.035}
_SHRUBS = {Cover.BRUSHWOOD: 0.66, Cover.CLEAR_CUT: 0.1, Cover.PERVIOUS: 0.035}

OVERGROWN = np.ones(COVERS, dtype=np.bool_)
"""Whether a crown hides what is below it, by cover."""
OVERGROWN[[Cover.BUILDING, Cover.GREENHOUSE, Cover.SWIMMING_POOL, Cover.WATER]] = False
_SURFACE_OF = {
    Cover.DECIDUOUS: Surface.BROADLEAF,
    Cover.CONIFEROUS: Surface.NEEDLE,
    Cover.BRUSHWOOD: Surface.SHRUB,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plants:
    """Plants of one kind of lattice; every array has the shape (plants,)."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    radius: NDArray[np.float32]
    """Radius of the crown in metres."""
    height: NDArray[np.float32]
    """Height of the top in metres."""
    taper: NDArray[np.float32]
    """Share of the height that the crown loses towards its rim."""
    cover: NDArray[np.uint8]
    """DECIDUOUS, CONIFEROUS or BRUSHWOOD."""
    tone: NDArray[np.float32]
    hue: NDArray[np.float32]


def plant(bounds: Bounds, bare: Ground, rng: np.random.Generator) -> tuple[Plants, Plants]:
    """Grow trees and shrubs where the bare ground carries them.

    Args:
        bounds: Ground to cover.
        bare: The country without plants, on a coarse grid over bounds.
        rng: Source of randomness.

    Returns:
        Trees, and shrubs.
    """
    x, y, on = _lattice(bounds, TREE_M, bare, rng)
    density = _by_cover(_TREES)[on]
    draw = rng.random((5, len(x)), dtype=np.float32)
    grows = draw[0] < density
    wood = density > 0.5
    conifer = on == Cover.CONIFEROUS
    trees = Plants(
        x=x,
        y=y,
        radius=np.where(wood, 3.2 + 1.7 * draw[1], 1.8 + 2.2 * draw[1]).astype(np.float32),
        height=np.where(wood, 10.0 + 4.5 * draw[2], 4.0 + 5.0 * draw[2]).astype(np.float32),
        taper=np.where(conifer, 0.44, 0.38).astype(np.float32),
        cover=np.where(conifer, Cover.CONIFEROUS, Cover.DECIDUOUS).astype(np.uint8),
        tone=((draw[3] - 0.5) * 0.34).astype(np.float32),
        hue=(draw[4] * 3.0 - 1.5).astype(np.float32),
    )
    return _keep(trees, grows), _shrubs(bounds, bare, rng)


def _shrubs(bounds: Bounds, bare: Ground, rng: np.random.Generator) -> Plants:
    x, y, on = _lattice(bounds, SHRUB_M, bare, rng)
    draw = rng.random((5, len(x)), dtype=np.float32)
    shrubs = Plants(
        x=x,
        y=y,
        radius=0.7 + 1.1 * draw[1] ** 2,
        height=0.8 + 1.7 * draw[2],
        taper=np.full(len(x), 0.5, dtype=np.float32),
        cover=np.full(len(x), Cover.BRUSHWOOD, dtype=np.uint8),
        tone=((draw[3] - 0.5) * 0.3).astype(np.float32),
        hue=(draw[4] * 3.0 - 1.5).astype(np.float32),
    )
    return _keep(shrubs, draw[0] < _by_cover(_SHRUBS)[on])


def _by_cover(table: dict[Cover, float]) -> NDArray[np.float32]:
    values = np.zeros(COVERS, dtype=np.float32)
    for cover, value in table.items():
        values[cover] = value
    return values


def _keep(plants: Plants, where: NDArray[np.bool_]) -> Plants:
    return Plants(**{name: getattr(plants, name)[where] for name in Plants.__slots__})


def _lattice(
    bounds: Bounds, step_m: float, bare: Ground, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Jittered lattice points inside bounds, and the cover below them."""
    left, top, right, bottom = bounds
    rows, cols = int((bottom - top) / step_m), int((right - left) / step_m)
    row, col = (index.ravel() for index in np.mgrid[:rows, :cols])
    jitter = rng.uniform(-0.36, 0.36, (2, rows * cols))
    x = left + (col + 0.5 + jitter[0]) * step_m
    y = top + (row + 0.5 + jitter[1]) * step_m
    on = bare.cover[_index(bare.ys, y), _index(bare.xs, x)]
    return x.astype(np.float32), y.astype(np.float32), on


def _index(axis: NDArray[np.float32], place: NDArray[np.float64]) -> NDArray[np.intp]:
    """Pixel of an evenly spaced axis that holds each place."""
    steps = (place - axis[0]) / (axis[1] - axis[0])
    pixel: NDArray[np.intp] = np.clip(np.rint(steps).astype(np.intp), 0, len(axis) - 1)
    return pixel


def grow(ground: Ground, plants: Plants, outline: NDArray[np.float32] | None = None) -> None:
    """Draw crowns over a painted grid; where two overlap, the higher one is seen.

    Args:
        ground: The grid, changed in place.
        plants: What grows.
        outline: Noise of about unit deviation on the grid that frays the crowns, shape of the grid.
    """
    resolution = float(ground.xs[1] - ground.xs[0])
    row = np.rint((plants.y - ground.ys[0]) / resolution).astype(np.intp)
    col = np.rint((plants.x - ground.xs[0]) / resolution).astype(np.intp)
    reach = int(np.ceil(float(plants.radius.max(initial=0.0)) * 1.15 / resolution))
    surface = np.zeros(COVERS, dtype=np.uint8)
    for cover, seen in _SURFACE_OF.items():
        surface[cover] = seen
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            if np.hypot(down, across) <= reach + 1:
                _stamp(ground, plants, (row + down, col + across), surface, outline)


def _stamp(
    ground: Ground,
    plants: Plants,
    place: tuple[NDArray[np.intp], NDArray[np.intp]],
    surface: NDArray[np.uint8],
    outline: NDArray[np.float32] | None,
) -> None:
    """Draw one pixel of every crown, at the same step from each plant's own pixel."""
    rows, cols = place
    height, width = ground.cover.shape
    seen = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    index = np.flatnonzero(seen)
    rows, cols = rows[index], cols[index]
    square = (ground.ys[rows] - plants.y[index]) ** 2 + (ground.xs[cols] - plants.x[index]) ** 2
    share = square / plants.radius[index] ** 2
    if outline is not None:
        share *= 1 + np.float32(0.22) * outline[rows, cols]
    top = plants.height[index] * (1 - plants.taper[index] * share)
    drawn = (share < 1) & (top > ground.height[rows, cols]) & OVERGROWN[ground.cover[rows, cols]]
    rows, cols, index = rows[drawn], cols[drawn], index[drawn]
    kind = plants.cover[index]
    ground.height[rows, cols] = top[drawn]
    ground.cover[rows, cols] = kind
    ground.surface[rows, cols] = surface[kind]
    ground.tone[rows, cols] = plants.tone[index]
    ground.hue[rows, cols] = plants.hue[index]
