"""Lay out a piece of country: blocks between roads, parcels in blocks, a river.

Everything is a rule that can be asked at any point, so that the 0.2 m image and the coarse
surroundings which only Sentinel-2 sees are one country:

* *Blocks* are Voronoi cells of a jittered lattice on gently warped ground. A block has one use
  (settlement, fields, ...) and an orientation; its borders carry a road, a track, a hedge or none.
* *Parcels* are bricks in the block's own axes: strips `a` wide, cut every `b` metres, staggered.
* Coordinates are metres, x to the east and y to the **south**, from the corner of the aerial image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .classes import Cover
from .noise import Bounds, Field, uniform
from .river import River, draw_river

BLOCK_M = 104.0
"""Mean distance of block centres, in metres."""
JITTER = 0.27
"""How far a block's centre strays from its lattice point, as a share of the distance."""
LOTS = 64
"""Strips per block and bricks per strip that a parcel's number has room for."""
WARPS = ((190.0, 7.0), (55.0, 1.6))
"""Knot distance and size of the ground's warp, in metres."""

SETTLEMENT, COMMERCIAL, FIELDS, VINES, WOODS = range(5)
USES = (FIELDS, SETTLEMENT, WOODS, VINES, FIELDS, SETTLEMENT, FIELDS, COMMERCIAL, VINES, WOODS)
"""Uses of ten neighbouring blocks."""

OPEN, TRACK, LANE, STREET, HEDGE = range(5)
ROAD_HALF_WIDTH_M = np.array([0.0, 1.7, 2.6, 3.7, 0.0], dtype=np.float32)
"""Half the width of a block border by its kind."""

_C = Cover
PARCELS: dict[int, tuple[tuple[float, float], float, tuple[tuple[Cover, float], ...]]] = {
    SETTLEMENT: (
        (19.0, 27.0),
        0.0,
        ((_C.PERVIOUS, 0.5), (_C.HERBACEOUS, 0.22), (_C.IMPERVIOUS, 0.22), (_C.BRUSHWOOD, 0.06)),
    ),
    COMMERCIAL: (
        (32.0, 41.0),
        0.0,
        ((_C.IMPERVIOUS, 0.6), (_C.PERVIOUS, 0.32), (_C.HERBACEOUS, 0.08)),
    ),
    FIELDS: (
        (47.0, 72.0),
        0.16,
        (
            (_C.HERBACEOUS, 0.31),
            (_C.AGRICULTURAL, 0.31),
            (_C.PLOWED, 0.18),
            (_C.BARE_SOIL, 0.16),
            (_C.VINEYARD, 0.04),
        ),
    ),
    VINES: (
        (46.0, 60.0),
        0.16,
        ((_C.VINEYARD, 0.46), (_C.BRUSHWOOD, 0.42), (_C.HERBACEOUS, 0.06), (_C.AGRICULTURAL, 0.06)),
    ),
    WOODS: (
        (56.0, 66.0),
        0.2,
        ((_C.CONIFEROUS, 0.42), (_C.DECIDUOUS, 0.46), (_C.BRUSHWOOD, 0.07), (_C.CLEAR_CUT, 0.05)),
    ),
}
"""Per use: mean size of a parcel in metres, irregularity, and covers with their shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Blocks of a piece of country, numbered row by row over their lattice."""

    left: float
    top: float
    cols: int
    x: NDArray[np.float32]
    """Centres on the warped ground, metres, shape (blocks,); likewise all that follow."""
    y: NDArray[np.float32]
    use: NDArray[np.intp]
    cos: NDArray[np.float32]
    sin: NDArray[np.float32]
    lot_a: NDArray[np.float32]
    """Width of a strip in metres."""
    lot_b: NDArray[np.float32]
    """Length of a brick in metres."""
    wobble: NDArray[np.float32]
    """Irregularity of the strips, 0 to 0.2."""
    pond: NDArray[np.float32]
    """Radius of the pond in the block's middle in metres; 0 without."""

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """A piece of country."""

    bounds: Bounds
    """Ground that is laid out, margin included."""
    warps: tuple[tuple[float, Field, Field], ...]
    """Size in metres, and the fields that move x and y."""
    ragged: tuple[Field, Field]
    """What makes the edges of natural parcels ragged, about 1 m deep before scaling."""
    blocks: Blocks
    borders: NDArray[np.uint8]
    """Kind of the border of two blocks, shape (blocks, blocks), symmetric."""
    river: River
    cover: NDArray[np.uint8]
    """Cover of each parcel, shape (parcels,)."""
    tint: NDArray[np.float32]
    """Brightness and hue of each parcel, shape (2, parcels), about unit deviation."""
    turned: NDArray[np.bool_]
    """Whether a parcel's rows run along its strip, shape (parcels,)."""

    def warped(
        self, ys: NDArray[np.float32], xs: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Move axes onto the warped ground; two arrays (x, y) of shape (len(ys), len(xs))."""
        u = np.broadcast_to(xs, (len(ys), len(xs))).astype(np.float32)
        v = np.broadcast_to(ys[:, None], u.shape).astype(np.float32)
        for size, move_x, move_y in self.warps:
            u += np.float32(size) * move_x.on_axes(ys, xs)
            v += np.float32(size) * move_y.on_axes(ys, xs)
        return u, v

    def unwarped(
        self, u: NDArray[np.float32], v: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the points (x, y) that lie at (u, v) on the warped ground."""
        x, y = u.copy(), v.copy()
        for _ in range(4):
            move_x = sum(size * field.at(y, x) for size, field, _ in self.warps)
            move_y = sum(size * field.at(y, x) for size, _, field in self.warps)
            x, y = (u - move_x).astype(np.float32), (v - move_y).astype(np.float32)
        return x, y


def lay_out(bounds: Bounds, core: Bounds, rng: np.random.Generator) -> Land:
    """Lay out a piece of country over bounds, with a river through the core."""
    warps = tuple(
        (size, Field.over(bounds, m, rng), Field.over(bounds, m, rng)) for m, size in WARPS
    )
    ragged = (Field.over(bounds, 9.0, rng), Field.over(bounds, 9.0, rng))
    river = draw_river(core, rng)
    blocks = _blocks(bounds, rng)
    cover, tint, turned = _parcels(blocks, rng)
    return Land(
        bounds=bounds,
        warps=warps,
        ragged=ragged,
        blocks=blocks,
        borders=_borders(blocks, river, rng),
        river=river,
        cover=cover,
        tint=tint,
        turned=turned,
    )


def _blocks(bounds: Bounds, rng: np.random.Generator) -> Blocks:
    left, top, right, bottom = bounds
    cols, rows = (int(np.ceil(side / BLOCK_M)) + 6 for side in (right - left, bottom - top))
    left, top = left - 3 * BLOCK_M, top - 3 * BLOCK_M
    row, col = (index.ravel() for index in np.mgrid[:rows, :cols])
    jitter = rng.uniform(-JITTER, JITTER, (2, rows * cols))
    x = left + (col + 0.5 + jitter[0]) * BLOCK_M
    y = top + (row + 0.5 + jitter[1]) * BLOCK_M
    # A low-discrepancy lattice spreads the uses evenly: every few blocks hold them all.
    place = (col * 0.754878 + row * 0.569840 + rng.random()) % 1.0
    use = np.array(USES)[(place * len(USES)).astype(np.intp)]
    size = np.array([PARCELS[kind][0] for kind in range(5)])[use]
    angle = _angles(x, y, rows, cols)
    ponds = rng.uniform(12.0, 19.0, len(x)) * (rng.random(len(x)) < 0.22) * (use >= FIELDS)
    return Blocks(
        left=left,
        top=top,
        cols=cols,
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        use=use,
        cos=np.cos(angle).astype(np.float32),
        sin=np.sin(angle).astype(np.float32),
        lot_a=(size[:, 0] * rng.uniform(0.88, 1.12, len(x))).astype(np.float32),
        lot_b=(size[:, 1] * rng.uniform(0.88, 1.12, len(x))).astype(np.float32),
        wobble=np.array([PARCELS[kind][1] for kind in range(5)], dtype=np.float32)[use],
        pond=ponds.astype(np.float32),
    )


def _angles(
    x: NDArray[np.float64], y: NDArray[np.float64], rows: int, cols: int
) -> NDArray[np.float64]:
    """Turn each block so that its strips run along the border with its eastern neighbour."""
    x, y = x.reshape(rows, cols), y.reshape(rows, cols)
    east = np.minimum(np.arange(cols) + 1, cols - 1)
    angle = np.arctan2(y[:, east] - y, x[:, east] - x + 1e-9)
    return angle.ravel()


def _borders(blocks: Blocks, river: River, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Choose what lies between each two blocks."""
    count = len(blocks)
    draw = rng.random((count, count), dtype=np.float32)
    draw = np.maximum(np.triu(draw), np.triu(draw).T)
    built = blocks.use <= COMMERCIAL
    both, either = built[:, None] & built, built[:, None] | built
    kinds = np.select(
        [draw < 0.3, draw < 0.62, draw < 0.8, draw < 0.92], [LANE, TRACK, HEDGE, OPEN], STREET
    )
    kinds = np.where(either, np.where(draw < 0.5, STREET, np.where(draw < 0.9, LANE, OPEN)), kinds)
    kinds = np.where(both, np.where(draw < 0.6, STREET, LANE), kinds)
    return np.where(_along(blocks, river), OPEN, kinds).astype(np.uint8)


def _along(blocks: Blocks, river: River) -> NDArray[np.bool_]:
    """Tell which borders run beside the river, where a road would have to lie in it."""
    dx, dy = blocks.x - blocks.x[:, None], blocks.y - blocks.y[:, None]
    half = np.float32(0.5)
    middle_x, middle_y = blocks.x[:, None] + dx * half, blocks.y[:, None] + dy * half
    near = np.abs(river.distance(middle_y, middle_x)) < 45.0
    # The border is square to the line that joins the blocks.
    beside = np.abs(dy) > np.abs(dx) if river.along_x else np.abs(dx) > np.abs(dy)
    along: NDArray[np.bool_] = near & beside
    return along


def _parcels(
    blocks: Blocks, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """Cover, tint and direction of every parcel of every block."""
    per_block = LOTS * LOTS
    strip, brick = (index.ravel() for index in np.mgrid[:LOTS, :LOTS])
    block = np.repeat(np.arange(len(blocks)), per_block)
    strip, brick = np.tile(strip, len(blocks)), np.tile(brick, len(blocks))
    start = rng.random(len(blocks))
    place = (strip * 0.754878 + brick * 0.569840 + start[block]) % 1.0
    cover = np.zeros(len(block), dtype=np.uint8)
    for use, (_, _, shares) in PARCELS.items():
        here = blocks.use[block] == use
        edges = np.cumsum([share for _, share in shares])
        values = np.array([value for value, _ in shares], dtype=np.uint8)
        rank = np.searchsorted(edges, place[here] * edges[-1] * 0.999999, side="right")
        cover[here] = values[rank]
    tint = rng.standard_normal((2, len(block)), dtype=np.float32)
    return cover, np.clip(tint, -2.0, 2.0), rng.random(len(block)) < 0.5


def stagger_of(block: NDArray[np.intp], strip: NDArray[np.intp]) -> NDArray[np.float32]:
    """How far a strip's bricks are shifted along it, in brick lengths."""
    return uniform(block * LOTS + strip, 11)


def parcel_number(
    land: Land, block: NDArray[np.intp], a: NDArray[np.float32], b: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Find the parcel at a place in a block's own axes.

    Args:
        land: The country.
        block: Number of the block.
        a: Metres across the strips, from the block's centre.
        b: Metres along the strips.

    Returns:
        The parcel's number, and the place in metres from the middle of its brick.
    """
    blocks = land.blocks
    width, length = blocks.lot_a[block], blocks.lot_b[block]
    bend = a * (np.float32(2 * np.pi / 2.7) / width) + block.astype(np.float32)
    across = a / width + blocks.wobble[block] * np.sin(bend)
    strip = np.floor(across)
    strip_index = np.clip(strip.astype(np.intp) + LOTS // 2, 0, LOTS - 1)
    along = b / length + stagger_of(block, strip_index)
    brick = np.floor(along)
    brick_index = np.clip(brick.astype(np.intp) + LOTS // 2, 0, LOTS - 1)
    number = (block * LOTS + strip_index) * LOTS + brick_index
    half = np.float32(0.5)
    return number, (across - strip - half) * width, (along - brick - half) * length
