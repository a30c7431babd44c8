"""The classes of the synthetic world, with the values that FLAIR stores on disk."""

from enum import IntEnum


class Cover(IntEnum):
    """Land cover as FLAIR's label files hold it, 1 to 19."""

    BUILDING = 1
    PERVIOUS = 2
    IMPERVIOUS = 3
    BARE_SOIL = 4
    WATER = 5
    CONIFEROUS = 6
    DECIDUOUS = 7
    BRUSHWOOD = 8
    VINEYARD = 9
    HERBACEOUS = 10
    AGRICULTURAL = 11
    PLOWED = 12
    SWIMMING_POOL = 13
    SNOW = 14
    CLEAR_CUT = 15
    MIXED = 16
    LIGNEOUS = 17
    GREENHOUSE = 18
    OTHER = 19


COVERS = 20
"""Length of a table that is indexed by `Cover`; entry 0 is unused."""

SEASON_PAIRS: tuple[tuple[Cover, Cover], ...] = (
    (Cover.AGRICULTURAL, Cover.HERBACEOUS),
    (Cover.PLOWED, Cover.BARE_SOIL),
)
"""Pairs painted by one rule in the aerial image, height included; only their seasons differ."""

DETAIL_PAIRS: tuple[tuple[Cover, Cover], ...] = (
    (Cover.VINEYARD, Cover.BRUSHWOOD),
    (Cover.IMPERVIOUS, Cover.BUILDING),
)
"""Pairs with one spectrum all year round; only texture, shape or height at 0.2 m differ."""
