"""Put an area on the Earth: the aerial image in one CRS, Sentinel-2 on its own grid in another.

The Sentinel-2 grid lies at whole multiples of 10 m, at least `S2_MARGIN_M` beyond the aerial image.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray

from .area import Area
from .files import write_raster
from .satellite import PIXEL_M, Axes, Series, simulate
from .spectra import BANDS

S2_MARGIN_M = 260.0
MASK_BANDS = ("snow_probability", "cloud_probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an aerial image lies."""

    corner: tuple[float, float]
    """x and y of its north-western corner, in `crs`."""
    crs: str
    s2_crs: str
    """CRS of the Sentinel-2 grid."""

    def transform(self, resolution_m: float) -> Affine:
        """From (column, row) of the aerial image, in pixel edges, to (x, y)."""
        return Affine(resolution_m, 0.0, self.corner[0], 0.0, -resolution_m, self.corner[1])

    def s2_grid(self, size_m: tuple[float, float]) -> tuple[Affine, tuple[int, int]]:
        """Lay the Sentinel-2 grid around an aerial image.

        Args:
            size_m: Height and width of the aerial image, in metres.

        Returns:
            Transform and shape (rows, columns) of the grid.
        """
        right, bottom = self.corner[0] + size_m[1], self.corner[1] - size_m[0]
        footprint = rasterio.warp.transform_bounds(
            self.crs, self.s2_crs, self.corner[0], bottom, right, self.corner[1]
        )
        left, low = (np.floor((edge - S2_MARGIN_M) / PIXEL_M) * PIXEL_M for edge in footprint[:2])
        right, high = (np.ceil((edge + S2_MARGIN_M) / PIXEL_M) * PIXEL_M for edge in footprint[2:])
        size = round((high - low) / PIXEL_M), round((right - left) / PIXEL_M)
        return Affine(PIXEL_M, 0.0, float(left), 0.0, -PIXEL_M, float(high)), size


@dataclass(frozen=True, slots=True, kw_only=True)
class _Locator:
    """Finds places of a Sentinel-2 grid on the area, across the two CRS."""

    place: Place
    transform: Affine

    def __call__(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Axes:
        x = self.transform.c + PIXEL_M * cols
        y = self.transform.f - PIXEL_M * rows
        moved = rasterio.warp.transform(self.place.s2_crs, self.place.crs, x.ravel(), y.ravel())
        east = np.reshape(moved[0], rows.shape) - self.place.corner[0]
        return self.place.corner[1] - np.reshape(moved[1], rows.shape), east


def write_year(
    folder: Path, area: Area, place: Place, size_m: tuple[float, float], rng: np.random.Generator
) -> None:
    """Simulate a year of Sentinel-2 over an area and write it as `S2_YYYYMMDD.tif` with masks.

    Args:
        folder: Folder to make.
        area: The painted area.
        place: Where it lies.
        size_m: Height and width of the aerial image, in metres.
        rng: Source of weather and variation.
    """
    transform, size = place.s2_grid(size_m)
    series = simulate(area, size, _Locator(place=place, transform=transform), rng)
    folder.mkdir(parents=True)
    _write(folder, transform, series, place.s2_crs)


def _write(folder: Path, transform: Affine, series: Series, crs: str) -> None:
    for index, day in enumerate(series.days):
        stem = f"S2_{day:%Y%m%d}"
        write_raster(
            folder / f"{stem}.tif", series.dn[index], transform, bands=BANDS, crs=crs, nodata=0
        )
        masks = folder / f"{stem}_masks.tif"
        write_raster(masks, series.cover[index], transform, bands=MASK_BANDS, crs=crs)
