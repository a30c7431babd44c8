"""Paint a piece of country on a grid: what lies at each pixel, how high, how bright."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .classes import Cover
from .land import (
    BLOCK_M,
    FIELDS,
    HEDGE,
    LANE,
    ROAD_HALF_WIDTH_M,
    STREET,
    TRACK,
    WOODS,
    Land,
    parcel_number,
)
from .noise import uniform
from .objects import MAIN, SLOTS, Build, Objects
from .surfaces import SURFACE_OF, Surface

STRIP_ROWS = 96
"""Rows painted at once, so that the arrays of a strip stay in the processor's cache."""
HEDGE_HALF_M = 2.2
BANK_M = 4.5
"""Width of the trees along a river, in metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A painted grid; every array has the shape (rows, columns)."""

    ys: NDArray[np.float32]
    """Pixel centres, metres to the south of the aerial image's corner, shape (rows,)."""
    xs: NDArray[np.float32]
    """Pixel centres, metres to the east, shape (columns,)."""
    cover: NDArray[np.uint8]
    """Class as `Cover`."""
    surface: NDArray[np.uint8]
    """What is seen, as `Surface`."""
    parcel: NDArray[np.int32]
    """Number of the parcel, which carries its variation."""
    height: NDArray[np.float32]
    """Height above the ground in metres."""
    tone: NDArray[np.float32]
    """Brightness of patterns (furrows, wheel tracks, crowns) relative to the surface, about 0."""
    hue: NDArray[np.float32]
    """Place between a surface's two colours, about unit deviation."""


def empty(ys: NDArray[np.float32], xs: NDArray[np.float32]) -> Ground:
    """Make a grid on which nothing is painted yet."""
    shape = (len(ys), len(xs))
    return Ground(
        ys=ys,
        xs=xs,
        cover=np.zeros(shape, dtype=np.uint8),
        surface=np.zeros(shape, dtype=np.uint8),
        parcel=np.zeros(shape, dtype=np.int32),
        height=np.zeros(shape, dtype=np.float32),
        tone=np.zeros(shape, dtype=np.float32),
        hue=np.zeros(shape, dtype=np.float32),
    )


def paint(
    land: Land, objects: Objects | None, ys: NDArray[np.float32], xs: NDArray[np.float32]
) -> Ground:
    """Paint everything but plants.

    Args:
        land: The country.
        objects: What stands on its parcels; None to see the ground they need.
        ys: Pixel centres in metres to the south, evenly spaced.
        xs: Pixel centres in metres to the east, evenly spaced.

    Returns:
        The painted grid.
    """
    ground = empty(ys, xs)
    for top in range(0, len(ys), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        strip = Ground(
            ys=ys[rows],
            xs=xs,
            **{
                name: getattr(ground, name)[rows]
                for name in ("cover", "surface", "parcel", "height", "tone", "hue")
            },
        )
        _paint_strip(land, objects, strip)
    return ground


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the pixels of a strip are in the country's own terms."""

    near: NDArray[np.intp]
    """Block."""
    edge: NDArray[np.float32]
    """Distance to the border in metres."""
    edge_kind: NDArray[np.uint8]
    edge_along: NDArray[np.float32]
    """Metres along the border."""
    a: NDArray[np.float32]
    """Place in the parcel across its strip, metres from its middle."""
    b: NDArray[np.float32]


def _paint_strip(land: Land, objects: Objects | None, strip: Ground) -> None:
    place = _locate(land, strip)
    strip.cover[:] = land.cover[strip.parcel]
    strip.surface[:] = SURFACE_OF[strip.cover]
    strip.tone[:] = land.tint[0][strip.parcel] * np.float32(0.09)
    strip.hue[:] = land.tint[1][strip.parcel]
    _draw_rows(land, strip, place)
    free = _draw_borders(strip, place)
    free &= ~_draw_water(land, strip, place)
    if objects is not None:
        _draw_objects(land, objects, strip, place, free)


def _locate(land: Land, strip: Ground) -> _Place:
    """Find block, border and parcel of every pixel; fills in the parcels' numbers."""
    blocks = land.blocks
    u, v = land.warped(strip.ys, strip.xs)
    near, far, first, second = _two_nearest(land, u, v)
    step_x, step_y = blocks.x[far] - blocks.x[near], blocks.y[far] - blocks.y[near]
    apart = np.sqrt(step_x**2 + step_y**2)
    du, dv = u - blocks.x[near], v - blocks.y[near]
    ragged = np.where(blocks.use == WOODS, 3.5, 0.25).astype(np.float32)[near]
    cos, sin = blocks.cos[near], blocks.sin[near]
    a = du * cos + dv * sin + ragged * land.ragged[0].on_axes(strip.ys, strip.xs)
    b = dv * cos - du * sin + ragged * land.ragged[1].on_axes(strip.ys, strip.xs)
    number, local_a, local_b = parcel_number(land, near, a, b)
    strip.parcel[:] = number
    return _Place(
        near=near,
        edge=(second - first) / (2 * apart),
        edge_kind=land.borders[near, far],
        edge_along=((dv * step_x - du * step_y) / apart).astype(np.float32),
        a=local_a,
        b=local_b,
    )


def _two_nearest(
    land: Land, u: NDArray[np.float32], v: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Nearest and second nearest block centre, and their squared distances in square metres."""
    blocks = land.blocks
    col = np.floor((u - np.float32(blocks.left)) / np.float32(BLOCK_M)).astype(np.intp)
    row = np.floor((v - np.float32(blocks.top)) / np.float32(BLOCK_M)).astype(np.intp)
    home = row * blocks.cols + col
    first = np.full(u.shape, np.inf, dtype=np.float32)
    second = first.copy()
    near = home.copy()
    far = home.copy()
    for step in [i * blocks.cols + j for i in (-1, 0, 1) for j in (-1, 0, 1)]:
        index = home + step
        distance = (u - blocks.x[index]) ** 2 + (v - blocks.y[index]) ** 2
        closest = distance < first
        closer = distance < second
        far = np.where(closest, near, np.where(closer, index, far))
        second = np.where(closest, first, np.where(closer, distance, second))
        near = np.where(closest, index, near)
        first = np.where(closest, distance, first)
    return near, far, first, second


def _draw_rows(land: Land, strip: Ground, place: _Place) -> None:
    """Draw vine rows, furrows and wheel tracks; nothing here looks at a season pair's class."""
    number = strip.parcel
    across = np.where(land.turned[number], place.a, place.b)
    spin = uniform(number, 21)
    grass = strip.surface == Surface.GRASS
    track = np.abs(np.abs((across / 13.0) % 1.0 - 0.5) * 13.0 - 0.9) < 0.28
    farmed = land.blocks.use[place.near] >= FIELDS
    strip.tone[grass & farmed & track & (spin < 0.55)] -= np.float32(0.16)
    swath = np.sin(across * np.float32(2 * np.pi / 4.4)) * np.float32(0.05)
    mown = grass & farmed & (spin > 0.6)
    strip.tone[mown] += swath[mown]
    vine = strip.cover == Cover.VINEYARD
    soil = (strip.surface == Surface.SOIL) & ~vine
    furrow = np.sin(across * np.float32(2 * np.pi / 1.3)) * (np.float32(0.02) + spin * 0.06)
    strip.tone[soil] += furrow[soil]
    row = np.abs((across / 2.3) % 1.0 - 0.5) * 2.3
    strip.surface[vine & (spin < 0.35)] = Surface.GRASS
    leaves = vine & (row < 0.45 + 0.16 * np.sin(place.a * 1.9 + place.b * 2.7))
    strip.surface[leaves] = Surface.VINE
    strip.height[leaves] = 1.4


def _draw_borders(strip: Ground, place: _Place) -> NDArray[np.bool_]:
    """Draw roads, tracks and hedges; returns where the parcels are left as they are."""
    kind, edge = place.edge_kind, place.edge
    half = ROAD_HALF_WIDTH_M[kind]
    track = (kind == TRACK) & (edge < half)
    road = ((kind == LANE) | (kind == STREET)) & (edge < half)
    path = (kind == STREET) & (edge < half + np.float32(1.4)) & ~road
    hedge = (kind == HEDGE) & (edge < HEDGE_HALF_M)
    for where, cover, surface in (
        (track, Cover.PERVIOUS, Surface.GRAVEL),
        (road, Cover.IMPERVIOUS, Surface.ASPHALT),
        (path, Cover.IMPERVIOUS, Surface.PAVING),
        (hedge, Cover.BRUSHWOOD, Surface.SCRUB),
    ):
        strip.cover[where] = cover
        strip.surface[where] = surface
        strip.tone[where] = 0.0
        strip.height[where] = 0.0
    strip.hue[road] *= 0.3
    strip.tone[track] = np.where(np.abs(edge[track] - np.float32(0.8)) < 0.35, 0.05, -0.09)
    dash = road & (kind == STREET) & (edge < 0.09) & ((place.edge_along / 5.5) % 1.0 < 0.5)
    strip.surface[dash] = Surface.PAINT
    _draw_cars(strip, place, road & (kind == STREET))
    free: NDArray[np.bool_] = ~(track | road | path | hedge)
    return free


def _draw_cars(strip: Ground, place: _Place, street: NDArray[np.bool_]) -> None:
    """Park cars along streets; they belong to the road's class."""
    slot = np.floor(place.edge_along[street] / 5.6)
    key = place.near[street] * 4096 + slot.astype(np.intp)
    offset = np.abs(place.edge_along[street] / 5.6 - slot - 0.5) * 5.6
    there = (uniform(key, 31) < 0.12) & (offset < 2.1)
    there &= np.abs(place.edge[street] - 2.5) < 0.85
    car = np.flatnonzero(street.ravel())[there]
    strip.surface.ravel()[car] = Surface.CAR
    strip.hue.ravel()[car] = uniform(key[there], 32) * 4.0 - 2.0
    strip.height.ravel()[car] = 1.5


def _draw_water(land: Land, strip: Ground, place: _Place) -> NDArray[np.bool_]:
    """Draw river and ponds under the roads; returns where there is water or a wooded bank."""
    side = np.abs(land.river.distance(strip.ys[:, None], strip.xs[None, :]))
    dry = (strip.surface == Surface.ASPHALT) | (strip.surface == Surface.PAINT)
    dry |= (strip.surface == Surface.PAVING) & (place.edge_kind == STREET) & (place.edge < 6.0)
    dry |= strip.surface == Surface.CAR
    river = (side < land.river.half_width) & ~dry
    bank = (side < land.river.half_width + BANK_M) & ~dry & ~river
    radius = land.blocks.pond[place.near]
    u = strip.xs - land.blocks.x[place.near]
    v = strip.ys[:, None] - land.blocks.y[place.near]
    shore = land.ragged[0].on_axes(strip.ys, strip.xs) * np.float32(1.6)
    pond = (radius > 0) & (np.sqrt(u**2 + v**2) + shore < radius) & (place.edge > 6.0) & ~dry
    for where, cover in ((bank, Cover.DECIDUOUS), (river | pond, Cover.WATER)):
        strip.cover[where] = cover
        strip.surface[where] = SURFACE_OF[cover]
        strip.tone[where] = 0.0
        strip.height[where] = 0.0
    strip.hue[river | pond] = 0.0
    wet: NDArray[np.bool_] = river | bank | pond
    return wet


ROOF = np.array([0, Surface.TILES, Surface.FLAT_ROOF, Surface.POOL, Surface.GLASS], dtype=np.uint8)
"""Surface of an object by its kind."""
COVER_OF_BUILD = np.array(
    [0, Cover.BUILDING, Cover.BUILDING, Cover.SWIMMING_POOL, Cover.GREENHOUSE], dtype=np.uint8
)
PITCH = np.array([0.0, 0.45, 0.0, 0.0, 0.25], dtype=np.float32)
"""Rise of a roof per metre, by the object's kind."""


def _draw_objects(
    land: Land, objects: Objects, strip: Ground, place: _Place, free: NDArray[np.bool_]
) -> None:
    """Draw what stands on the parcels."""
    parcel = strip.parcel.ravel()
    wanted = free.ravel() & (objects.kind[MAIN] > 0)[parcel]
    pixel = np.flatnonzero(wanted)
    number, a, b = parcel[pixel], place.a.ravel()[pixel], place.b.ravel()[pixel]
    for slot in reversed(range(SLOTS)):
        kind = objects.kind[slot][number]
        half_a, half_b = objects.half_a[slot][number], objects.half_b[slot][number]
        inset_a = half_a - np.abs(a - objects.a[slot][number])
        inset_b = half_b - np.abs(b - objects.b[slot][number])
        inside = (kind > Build.NOTHING) & (inset_a > 0) & (inset_b > 0)
        here, kind = pixel[inside], kind[inside]
        # The ridge lies along the longer side, so the roof rises from the long walls.
        rise = np.where(half_a < half_b, inset_a, inset_b)[inside]
        height = objects.eaves[slot][number][inside] + PITCH[kind] * rise
        strip.cover.ravel()[here] = COVER_OF_BUILD[kind]
        strip.surface.ravel()[here] = ROOF[kind]
        strip.tone.ravel()[here] = land.tint[0][number[inside]] * np.float32(0.07)
        strip.height.ravel()[here] = height
