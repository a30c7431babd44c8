"""How each class reflects through the year, seen by Sentinel-2.

A class is green vegetation over a background; its green cover rises and falls with the seasons. The
pairs of `classes.DETAIL_PAIRS` share one row each; the pairs of `classes.SEASON_PAIRS` share colour
in July, when the aerial image is taken, and part in other months.
"""

import numpy as np
from numpy.typing import NDArray

from .classes import COVERS, Cover

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Bands in file order."""

_MATTER = {
    "leaves": (0.026, 0.056, 0.032, 0.088, 0.27, 0.35, 0.385, 0.40, 0.19, 0.095),
    "needles": (0.020, 0.036, 0.025, 0.058, 0.165, 0.21, 0.235, 0.245, 0.115, 0.058),
    "straw": (0.062, 0.088, 0.112, 0.15, 0.195, 0.22, 0.245, 0.265, 0.30, 0.215),
    "litter": (0.038, 0.054, 0.066, 0.095, 0.13, 0.15, 0.165, 0.18, 0.215, 0.15),
    "soil": (0.075, 0.102, 0.132, 0.158, 0.18, 0.197, 0.217, 0.235, 0.305, 0.265),
    "gravel": (0.105, 0.132, 0.158, 0.178, 0.195, 0.208, 0.222, 0.235, 0.285, 0.255),
    "stone": (0.105, 0.122, 0.138, 0.155, 0.168, 0.178, 0.188, 0.195, 0.225, 0.2),
    "water": (0.05, 0.055, 0.036, 0.03, 0.022, 0.02, 0.018, 0.016, 0.01, 0.008),
    "pool": (0.12, 0.15, 0.11, 0.07, 0.045, 0.04, 0.035, 0.03, 0.02, 0.015),
    "glass": (0.17, 0.19, 0.2, 0.21, 0.225, 0.235, 0.24, 0.245, 0.24, 0.2),
}
"""Reflectance of pure matter, 0 to 1, per band."""

_EVERGREEN = (62, 62, 64, 68, 72, 75, 75, 74, 72, 68, 64, 62)
_GRASS = (50, 50, 56, 66, 74, 70, 54, 46, 50, 56, 56, 52)
_CROP = (10, 13, 26, 50, 76, 80, 54, 20, 11, 10, 10, 10)
_TREES = (16, 16, 22, 46, 74, 82, 82, 78, 68, 46, 22, 16)
_BUSHES = (34, 34, 38, 46, 56, 62, 60, 56, 52, 46, 38, 34)
_CATCH_CROP = (46, 50, 58, 60, 42, 16, 7, 6, 8, 16, 32, 42)
_BARE = (9, 9, 10, 11, 11, 9, 7, 6, 7, 8, 9, 9)
_WEEDS = (12, 12, 15, 18, 20, 18, 14, 11, 12, 14, 14, 12)
_NONE = (0,) * 12
_TOWN = (6, 6, 7, 9, 11, 11, 9, 8, 8, 8, 7, 6)

_CLASSES: dict[Cover, tuple[str, str, tuple[int, ...]]] = {
    Cover.BUILDING: ("leaves", "stone", _TOWN),
    Cover.PERVIOUS: ("leaves", "gravel", _WEEDS),
    Cover.IMPERVIOUS: ("leaves", "stone", _TOWN),
    Cover.BARE_SOIL: ("leaves", "soil", _BARE),
    Cover.WATER: ("leaves", "water", _NONE),
    Cover.CONIFEROUS: ("needles", "litter", _EVERGREEN),
    Cover.DECIDUOUS: ("leaves", "litter", _TREES),
    Cover.BRUSHWOOD: ("leaves", "straw", _BUSHES),
    Cover.VINEYARD: ("leaves", "straw", _BUSHES),
    Cover.HERBACEOUS: ("leaves", "straw", _GRASS),
    Cover.AGRICULTURAL: ("leaves", "straw", _CROP),
    Cover.PLOWED: ("leaves", "soil", _CATCH_CROP),
    Cover.SWIMMING_POOL: ("leaves", "pool", _NONE),
    Cover.CLEAR_CUT: ("leaves", "litter", _WEEDS),
    Cover.GREENHOUSE: ("leaves", "glass", _NONE),
}
"""Green matter, background, and percent of green cover in the middle of each month."""


def tables() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Spectra and seasons by class.

    Returns:
        Reflectance of the green matter and of the background, both of shape (COVERS, bands), and
        green cover 0 to 1 in the middle of each month, shape (COVERS, 12).
    """
    green = np.zeros((COVERS, len(BANDS)), dtype=np.float32)
    back = np.zeros((COVERS, len(BANDS)), dtype=np.float32)
    season = np.zeros((COVERS, 12), dtype=np.float32)
    for cover, (leaf, ground, months) in _CLASSES.items():
        green[cover], back[cover] = _MATTER[leaf], _MATTER[ground]
        season[cover] = np.array(months) / 100
    return green, back, season


def green_cover(season: NDArray[np.float32], days: NDArray[np.float32]) -> NDArray[np.float32]:
    """Green cover of one class on given days, between the months' middles, around the year.

    Args:
        season: Cover in the middle of each month, shape (12,).
        days: Days of the year, of any shape; those before January or after December wrap.

    Returns:
        Green cover, 0 to 1, in the shape of `days`.
    """
    months = (np.asarray(days) - 15.2) / (365.25 / 12)
    before = np.floor(months).astype(np.intp)
    share = (months - before).astype(np.float32)
    cover: NDArray[np.float32] = (
        season[before % 12] * (1 - share) + season[(before + 1) % 12] * share
    )
    return cover
