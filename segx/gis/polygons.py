"""Turn a map of classes into polygons, with a few rows in memory at a time.

    rows 0..511     +-----+------+      polygons that touch a border between two strips are kept
                    |  a  |  b   |      open, with their pieces; pieces of one class that share an
    - - - - - - - - +--+--+ - - -+      edge across the border belong together
    rows 512..1023  |  |     b   |      a closes above, b goes on
                    +--+---------+

A polygon is complete once no piece of it touches the strip's lower border; then its pieces become
one, so that none ends at a border. What is held is a strip and the polygons that cross its border.
Corners are whole pixels, so that nothing is rounded before polygons are placed on the ground.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes

from runtime.output.kinds import NODATA

Geometries = NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygons:
    """Some polygons and their classes."""

    values: NDArray[np.uint8]
    """Class index of each, shape (n,)."""
    geometries: Geometries
    """Shapely polygons, shape (n,); x is a column and y a row, in pixel edges."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A polygon that may go on below."""

    value: int
    pieces: list[shapely.Geometry]

    def closed(self) -> shapely.Geometry:
        """Make its pieces one, without corners where a straight side crosses a border."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return shapely.simplify(shapely.union_all(self.pieces), 0)


def polygons_of(strips: Iterable[NDArray[np.uint8]]) -> Iterator[Polygons]:
    """Find the areas of one class whose pixels hang together by their sides.

    Args:
        strips: The rows of a map from top to bottom, cut anywhere, each of shape (rows, width); 255
            is nodata and in no polygon.

    Yields:
        Polygons as soon as they are complete, after each strip.
    """
    top, waiting = 0, list[_Open]()
    above = np.zeros(0, dtype=np.intp)
    for strip in strips:
        bottom, width = top + strip.shape[0], strip.shape[1]
        found = _polygonize(strip, top)
        bounds = shapely.bounds(found.geometries)
        goes_on = bounds[:, 3] == bottom
        crosses = goes_on | ((bounds[:, 1] == top) & (len(above) > 0))
        inside = [_Open(v, [g]) for v, g in _items(found, ~crosses)]
        if not len(above):
            above = np.full(width, -1)
        nodes = [*waiting, *(_Open(v, [g]) for v, g in _items(found, crosses))]
        first = len(waiting)
        edge = found.geometries[crosses]
        groups = _groups(nodes, above, _owners(edge, top, width, first))
        open_below = {first + int(i) for i in np.flatnonzero(goes_on[crosses])}
        number = np.full(len(nodes) + 1, -1)
        waiting, done = [], inside
        for members in groups:
            joined = _Open(nodes[members[0]].value, [p for m in members for p in nodes[m].pieces])
            if open_below.isdisjoint(members):
                done.append(joined)
            else:
                number[members] = len(waiting)
                waiting.append(joined)
        above = number[_owners(edge, bottom, width, first)]
        yield _complete(done)
        top = bottom
    yield _complete(waiting)


def _polygonize(strip: NDArray[np.uint8], top: int) -> Polygons:
    """Find the polygons of a strip that begins at a row."""
    found = list(
        shapes(strip, mask=strip != NODATA, connectivity=4, transform=Affine.translation(0, top))
    )
    rings = [ring for geometry, _ in found for ring in geometry["coordinates"]]
    owners = np.repeat(
        np.arange(len(found)), [len(geometry["coordinates"]) for geometry, _ in found]
    )
    corners = np.array([corner for ring in rings for corner in ring]).reshape(-1, 2)
    lines = shapely.linearrings(
        corners, indices=np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    )
    return Polygons(
        values=np.array([value for _, value in found], dtype=np.uint8),
        geometries=np.asarray(shapely.polygons(lines, indices=owners), dtype=np.object_),
    )


def _items(found: Polygons, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, shapely.Geometry]]:
    return zip(found.values[chosen].tolist(), found.geometries[chosen], strict=True)


def _owners(geometries: Geometries, row: int, width: int, first: int) -> NDArray[np.intp]:
    """Say which polygon has its border on a row, for each column; -1 where none has.

    Args:
        geometries: Polygons on one side of the row.
        row: The row's upper edge.
        width: Columns of the map.
        first: Number of the first polygon.
    """
    owners = np.full(width, -1)
    rings, polygon = shapely.get_rings(geometries, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    here = corners[:, 1] == row
    sides = np.flatnonzero(here[:-1] & here[1:] & (ring[:-1] == ring[1:]))
    ends = np.sort(np.stack([corners[sides, 0], corners[sides + 1, 0]]), axis=0).astype(np.intp)
    lengths = ends[1] - ends[0]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    owners[np.repeat(ends[0], lengths) + within] = np.repeat(polygon[ring[sides]], lengths) + first
    return owners


def _groups(
    nodes: list[_Open], above: NDArray[np.intp], below: NDArray[np.intp]
) -> list[list[int]]:
    """Say which polygons are one: those of one class on both sides of a border's columns."""
    pairs = np.unique(np.stack([above, below])[:, (above >= 0) & (below >= 0)], axis=1)
    parent = list(range(len(nodes)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for upper, lower in pairs.T.tolist():
        if nodes[upper].value == nodes[lower].value:
            parent[root(lower)] = root(upper)
    groups: dict[int, list[int]] = {}
    for node in range(len(nodes)):
        groups.setdefault(root(node), []).append(node)
    return list(groups.values())


def _complete(polygons: list[_Open]) -> Polygons:
    return Polygons(
        values=np.array([polygon.value for polygon in polygons], dtype=np.uint8),
        geometries=np.array([polygon.closed() for polygon in polygons], dtype=np.object_),
    )
