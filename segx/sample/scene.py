"""Write a synthetic scene, as a user would hold one.

OUT/aerial.tif                            5 bands, uint8, 0.2 m, EPSG:2154
    labels.tif                            1..19, on the same grid
    sentinel2/S2_YYYYMMDD.tif             10 bands, uint16, 10 m, EPSG:32631, nodata 0
              S2_YYYYMMDD_masks.tif       snow and cloud probability, 0..100

Sentinel-2 comes on its own grid, in another CRS, at least `S2_MARGIN_M` beyond the aerial image.
"""

from pathlib import Path

import numpy as np
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray

from .aerial import AERIAL_M, photograph
from .area import build_area
from .files import AERIAL_BANDS, AERIAL_CRS, new_folder, write_raster
from .satellite import PIXEL_M, Axes, Series, simulate
from .spectra import BANDS

SCENE_PX = (1280, 1536)
"""Rows and columns of the aerial image unless told otherwise."""
CORNER = (861_904.6, 6_523_377.2)
"""x and y of the aerial image's north-western corner, in EPSG:2154."""
STREAM = 1_000_003
"""Keeps a scene's land apart from the areas of a data set of the same seed."""
S2_CRS = "EPSG:32631"
S2_MARGIN_M = 260.0
MASK_BANDS = ("snow_probability", "cloud_probability")


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
        transform = Affine(AERIAL_M, 0.0, CORNER[0], 0.0, -AERIAL_M, CORNER[1])
        image = photograph(area.fine, rng)
        write_raster(root / "aerial.tif", image, transform, bands=AERIAL_BANDS)
        write_raster(root / "labels.tif", area.fine.cover[None], transform)
        satellite, size = _satellite_grid(shape)
        series = simulate(area, size, _Locator(satellite), rng)
        _write_series(root / "sentinel2", satellite, series)
    return out


class _Locator:
    """Finds places of the Sentinel-2 grid on the area, across the two CRS."""

    def __init__(self, transform: Affine) -> None:
        self.transform = transform

    def __call__(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Axes:
        x = self.transform.c + PIXEL_M * cols
        y = self.transform.f - PIXEL_M * rows
        moved = rasterio.warp.transform(S2_CRS, AERIAL_CRS, x.ravel(), y.ravel())
        east = np.reshape(moved[0], rows.shape) - CORNER[0]
        return CORNER[1] - np.reshape(moved[1], rows.shape), east


def _satellite_grid(shape: tuple[int, int]) -> tuple[Affine, tuple[int, int]]:
    """Place the Sentinel-2 grid: whole multiples of 10 m in its CRS, around the aerial image."""
    right, bottom = CORNER[0] + shape[1] * AERIAL_M, CORNER[1] - shape[0] * AERIAL_M
    footprint = rasterio.warp.transform_bounds(
        AERIAL_CRS, S2_CRS, CORNER[0], bottom, right, CORNER[1]
    )
    left, low = (np.floor((edge - S2_MARGIN_M) / PIXEL_M) * PIXEL_M for edge in footprint[:2])
    right, high = (np.ceil((edge + S2_MARGIN_M) / PIXEL_M) * PIXEL_M for edge in footprint[2:])
    size = round((high - low) / PIXEL_M), round((right - left) / PIXEL_M)
    return Affine(PIXEL_M, 0.0, float(left), 0.0, -PIXEL_M, float(high)), size


def _write_series(folder: Path, transform: Affine, series: Series) -> None:
    folder.mkdir()
    for index, day in enumerate(series.days):
        stem = f"S2_{day:%Y%m%d}"
        write_raster(
            folder / f"{stem}.tif",
            series.dn[index],
            transform,
            bands=BANDS,
            crs=S2_CRS,
            nodata=0,
        )
        masks = folder / f"{stem}_masks.tif"
        write_raster(masks, series.cover[index], transform, bands=MASK_BANDS, crs=S2_CRS)
