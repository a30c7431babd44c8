"""What the camera sees of each class, before colour: grass, soil, roofs, crowns."""

from enum import IntEnum

import numpy as np

from .classes import COVERS, Cover


class Surface(IntEnum):
    """What the aerial camera sees; finer than a class, and shared by the season pairs."""

    GRASS = 0
    SOIL = 1
    ASPHALT = 2
    PAVING = 3
    GRAVEL = 4
    TILES = 5
    FLAT_ROOF = 6
    SCRUB = 7
    FLOOR = 8
    WATER = 9
    POOL = 10
    GLASS = 11
    VINE = 12
    BROADLEAF = 13
    NEEDLE = 14
    SHRUB = 15
    STUMPS = 16
    PAINT = 17
    CAR = 18


SURFACE_OF = np.zeros(COVERS, dtype=np.uint8)
"""Surface of a parcel by its cover, before anything stands on it."""
for _cover, _surface in (
    (Cover.PERVIOUS, Surface.GRAVEL),
    (Cover.IMPERVIOUS, Surface.PAVING),
    (Cover.BARE_SOIL, Surface.SOIL),
    (Cover.PLOWED, Surface.SOIL),
    (Cover.HERBACEOUS, Surface.GRASS),
    (Cover.AGRICULTURAL, Surface.GRASS),
    (Cover.CONIFEROUS, Surface.FLOOR),
    (Cover.DECIDUOUS, Surface.FLOOR),
    (Cover.BRUSHWOOD, Surface.SCRUB),
    (Cover.VINEYARD, Surface.SOIL),
    (Cover.CLEAR_CUT, Surface.STUMPS),
    (Cover.WATER, Surface.WATER),
):
    SURFACE_OF[_cover] = _surface
