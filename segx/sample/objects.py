"""Stand houses, halls, pools and greenhouses on parcels.

An object is a rectangle in its parcel's own axes, so painting needs no loop over objects: a pixel
asks its parcel. Each has room for `SLOTS` of them: a main one, a wing, and one in the garden.
An object that would reach into a road, a neighbour or water is not built.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .land import COMMERCIAL, FIELDS, LOTS, SETTLEMENT, Land, stagger_of

SLOTS = 3
MAIN, WING, GARDEN = range(SLOTS)
CLEARANCE_M = 0.8
"""Least distance of an object from the edge of its parcel's free ground."""


class Build(IntEnum):
    """What an object is."""

    NOTHING = 0
    HOUSE = 1
    """Pitched roof."""
    HALL = 2
    """Flat roof."""
    POOL = 3
    GREENHOUSE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Objects by slot and parcel; every array has the shape (SLOTS, parcels)."""

    kind: NDArray[np.uint8]
    a: NDArray[np.float32]
    """Centre across the strip, metres from the middle of the parcel."""
    b: NDArray[np.float32]
    """Centre along the strip, in the same way."""
    half_a: NDArray[np.float32]
    """Half the size across the strip, in metres."""
    half_b: NDArray[np.float32]
    eaves: NDArray[np.float32]
    """Height of the wall in metres."""


def plan_objects(land: Land, rng: np.random.Generator) -> Objects:
    """Draw the objects that each parcel would like to have."""
    count = len(land.cover)
    block = np.arange(count) // (LOTS * LOTS)
    use = land.blocks.use[block]
    width, length = land.blocks.lot_a[block], land.blocks.lot_b[block]
    draw = rng.random((10, count), dtype=np.float32)
    objects = Objects(
        kind=np.zeros((SLOTS, count), dtype=np.uint8),
        **{
            name: np.zeros((SLOTS, count), dtype=np.float32)
            for name in ("a", "b", "half_a", "half_b", "eaves")
        },
    )
    _plan_houses(objects, use == SETTLEMENT, width, length, draw)
    _plan_halls(objects, use == COMMERCIAL, width, length, draw)
    greenhouse = (use == FIELDS) & (draw[0] < 0.05)
    _put(objects, MAIN, greenhouse, Build.GREENHOUSE, 0.0 * width, length * 0.3)
    _size(objects, MAIN, greenhouse, 4.0 + 3.0 * draw[1], 9.0 + 5.0 * draw[2], 3.0 + draw[3])
    return objects


def _plan_houses(
    objects: Objects,
    where: NDArray[np.bool_],
    width: NDArray[np.float32],
    length: NDArray[np.float32],
    draw: NDArray[np.float32],
) -> None:
    house = where & (draw[0] < 0.9)
    half_a, half_b = 4.3 + 2.4 * draw[1], 5.0 + 3.2 * draw[2]
    eaves = 3.0 + 3.2 * (draw[3] > 0.45)
    shift_a, shift_b = (draw[4] - 0.5) * 2.5, (draw[5] - 0.5) * 3.0
    _put(objects, MAIN, house, Build.HOUSE, shift_a, shift_b)
    _size(objects, MAIN, house, half_a, half_b, eaves)
    wing = house & (draw[6] < 0.55)
    side = np.where(draw[7] < 0.5, -1.0, 1.0).astype(np.float32)
    _put(objects, WING, wing, Build.HOUSE, shift_a + side * (half_a - 0.5), shift_b + 1.5)
    _size(objects, WING, wing, 2.2 + 0.8 * draw[8], half_b * 0.55, 0.0 * eaves + 2.8)
    pool = house & (draw[9] < 0.22)
    behind = (side * (length * 0.5 - 3.7)).astype(np.float32)
    _put(objects, GARDEN, pool, Build.POOL, -2 * side, behind)
    _size(objects, GARDEN, pool, 2.4 + 1.6 * draw[8], 1.5 + 0.6 * draw[7], 0.0 * eaves)


def _plan_halls(
    objects: Objects,
    where: NDArray[np.bool_],
    width: NDArray[np.float32],
    length: NDArray[np.float32],
    draw: NDArray[np.float32],
) -> None:
    hall = where & (draw[0] < 0.85)
    half_a, half_b = width * (0.26 + 0.12 * draw[1]), length * (0.26 + 0.12 * draw[2])
    _put(objects, MAIN, hall, Build.HALL, (draw[4] - 0.5) * 4.0, (draw[5] - 0.5) * 5.0)
    _size(objects, MAIN, hall, half_a, half_b, 5.0 + 6.0 * draw[3])
    wing = hall & (draw[6] < 0.5)
    _put(objects, WING, wing, Build.HALL, half_a * 0.9, half_b * (draw[7] - 0.5))
    _size(objects, WING, wing, half_a * 0.35, half_b * 0.45, 3.5 + 2.0 * draw[8])


def _put(
    objects: Objects,
    slot: int,
    where: NDArray[np.bool_],
    kind: Build,
    a: NDArray[np.float32],
    b: NDArray[np.float32],
) -> None:
    objects.kind[slot, where] = kind
    objects.a[slot, where] = a[where]
    objects.b[slot, where] = b[where]


def _size(
    objects: Objects,
    slot: int,
    where: NDArray[np.bool_],
    half_a: NDArray[np.float32],
    half_b: NDArray[np.float32],
    eaves: NDArray[np.float32],
) -> None:
    objects.half_a[slot, where] = half_a[where]
    objects.half_b[slot, where] = half_b[where]
    objects.eaves[slot, where] = eaves[where]


def outline(
    land: Land, objects: Objects, parcel: NDArray[np.intp], slot: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points around objects and in their middle, on the ground.

    Args:
        land: The country.
        objects: The objects.
        parcel: Numbers of the parcels, shape (n,).
        slot: Which of their objects.

    Returns:
        x and y in metres, shape (n, 9), `CLEARANCE_M` outside the walls.
    """
    steps = np.array([-1.0, 0.0, 1.0], dtype=np.float32)
    step_a, step_b = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    reach_a = objects.half_a[slot, parcel] + np.float32(CLEARANCE_M)
    reach_b = objects.half_b[slot, parcel] + np.float32(CLEARANCE_M)
    local_a = objects.a[slot, parcel, None] + reach_a[:, None] * step_a
    local_b = objects.b[slot, parcel, None] + reach_b[:, None] * step_b
    block, strip, stagger = _brick(land, parcel)
    blocks = land.blocks
    a = (strip[:, None] + np.float32(0.5)) * blocks.lot_a[block, None] + local_a
    b = stagger[:, None] * blocks.lot_b[block, None] + local_b
    cos, sin = blocks.cos[block, None], blocks.sin[block, None]
    return land.unwarped(
        blocks.x[block, None] + a * cos - b * sin, blocks.y[block, None] + a * sin + b * cos
    )


def _brick(
    land: Land, parcel: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Block of a parcel, number of its strip, and the middle of its brick in brick lengths."""
    block, rest = np.divmod(parcel, LOTS * LOTS)
    strip, brick = np.divmod(rest, LOTS)
    offset = stagger_of(block, strip)
    middle = (brick - LOTS // 2).astype(np.float32) + np.float32(0.5) - offset
    return block, (strip - LOTS // 2).astype(np.float32), middle
