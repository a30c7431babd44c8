"""Choose the lattice that tiles sit on.

Tiles step by a multiple of the network's stride, so that every pixel meets the same phase of its
pooling, whatever tile it is in. Where Sentinel-2 pixels are whole numbers of aerial pixels and it
costs little, they also step by whole Sentinel-2 pixels, and begin at the corner of one: every
window of the series is then cut at the same place within its cells.
"""

import math
from dataclasses import dataclass

from ..grid import Grid
from ..manifest import AerialSpec

MOST_EXTRA = 0.05
"""Share of more tiles that stepping by whole Sentinel-2 pixels may cost."""

WHOLE = 1e-6
"""Sides and places of pixels are whole numbers up to this share of a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Where tiles may begin."""

    step: int
    """Tiles begin at multiples of this many pixels from each other."""
    halo: int
    """Context on each side of an interior, in pixels; at least what the model asks for."""
    origin: tuple[int, int]
    """Row and column where the first interior begins; at most 0."""
    on_satellite: bool
    """Whether it is a lattice of Sentinel-2 pixels too."""


def choose_lattice(spec: AerialSpec, grid: Grid, satellite: Grid | None) -> Lattice:
    """Choose the lattice of a grid.

    Args:
        spec: Tile size, halo and stride of the model.
        grid: Grid that the tiles are cut from.
        satellite: Grid of the series; None without one.
    """
    own = Lattice(step=spec.stride, halo=spec.halo, origin=(0, 0), on_satellite=False)
    cell = None if satellite is None else _pixels_per_cell(grid, satellite)
    if satellite is None or cell is None or grid.shape == (spec.tile_size, spec.tile_size):
        return own
    step = math.lcm(spec.stride, cell)
    interior = spec.tile_size - 2 * spec.halo
    locked = interior // step * step
    if (spec.tile_size - locked) % 2:
        return own  # the halo would not be the same on both sides
    if not locked or (interior / locked) ** 2 > 1 + MOST_EXTRA:
        return own
    row, col = _place(grid, satellite)
    return Lattice(
        step=step,
        halo=(spec.tile_size - locked) // 2,
        origin=(-(row % cell), -(col % cell)),
        on_satellite=True,
    )


def _pixels_per_cell(grid: Grid, satellite: Grid) -> int | None:
    """Aerial pixels per Sentinel-2 pixel; None where it is no whole number of them."""
    if grid.crs != satellite.crs:
        return None
    ours, theirs = grid.transform, satellite.transform
    if any(abs(value) > 0 for value in (ours.b, ours.d, theirs.b, theirs.d)):
        return None
    ratios = (theirs.a / ours.a, theirs.e / ours.e)
    cell = round(ratios[0])
    if cell < 1 or any(abs(ratio - cell) > WHOLE * cell for ratio in ratios):
        return None
    across = (ours.c - theirs.c) / ours.a, (ours.f - theirs.f) / ours.e
    if any(abs(place - round(place)) > WHOLE * cell for place in across):
        return None
    return cell


def _place(grid: Grid, satellite: Grid) -> tuple[int, int]:
    """Row and column of the grid's first pixel, counted in its pixels from the series' corner."""
    ours, theirs = grid.transform, satellite.transform
    return round((ours.f - theirs.f) / ours.e), round((ours.c - theirs.c) / ours.a)
