"""Write a synthetic scene, as a user would hold one.

OUT/aerial.tif                            5 bands, uint8, 0.2 m, EPSG:2154
    labels.tif                            1..19, on the same grid
    sentinel2/S2_YYYYMMDD.tif             10 bands, uint16, 10 m, EPSG:32631, nodata 0
              S2_YYYYMMDD_masks.tif       snow and cloud probability, 0..100

Sentinel-2 comes on its own grid, in another CRS.
"""

from pathlib import Path

import numpy as np

from .aerial import AERIAL_M, photograph
from .area import build_area
from .files import AERIAL_BANDS, AERIAL_CRS, new_folder, write_raster
from .place import Place, write_year

SCENE_PX = (1280, 1536)
"""Rows and columns of the aerial image unless told otherwise."""
PLACE = Place(corner=(861_904.6, 6_523_377.2), crs=AERIAL_CRS, s2_crs="EPSG:32631")
STREAM = 1_000_003
"""Keeps a scene's land apart from the areas of a data set of the same seed."""


def write_scene(out: Path, *, seed: int, shape: tuple[int, int] = SCENE_PX) -> Path:
    """Write a synthetic scene.

    Args:
        out: Folder to make; it may exist if it is empty.
        seed: The same seed gives the same files.
        shape: Rows and columns of the aerial image, in pixels of 0.2 m.

    Returns:
        `out`.

    Raises:
        DataError: If `out` holds something or cannot be written.
        ValueError: If a side is below 64 px.
    """
    if min(shape) < 64:
        raise ValueError(f"a scene of {shape[0]} x {shape[1]} px; need 64 px or more on each side")
    rng = np.random.default_rng([seed, STREAM])
    with new_folder(out, layout="scene", seed=seed) as root:
        area = build_area(shape, rng)
        transform = PLACE.transform(AERIAL_M)
        image = photograph(area.fine, rng)
        write_raster(root / "aerial.tif", image, transform, bands=AERIAL_BANDS)
        write_raster(root / "labels.tif", area.fine.cover[None], transform)
        size_m = shape[0] * AERIAL_M, shape[1] * AERIAL_M
        write_year(root / "sentinel2", area, PLACE, size_m, rng)
    return out
