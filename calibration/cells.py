"""What aerial and satellite images of one place must agree on, cell by cell of Sentinel-2.

    aerial tile, 0.2 m           mean of each 10 m cell  -> NDVI and visible brightness
    satellite window, 10 m       cells under the tile    -> the same, mean of the usable months

What is green from the air is green from orbit, and what is bright is bright, whatever the day.
Without red and NIR on both sides, such as in RGB images, brightness alone is compared.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.manifest import AerialSpec
from runtime.satellite import SatelliteInput, SatelliteSpec

RED, NIR = ("red", "B04"), ("nir", "B08")
"""Names of a band in aerial images and in Sentinel-2 series."""
VISIBLE = (RED, ("green", "B03"), ("blue", "B02"))

FEWEST_CELLS = 2
"""Cells along a side of a tile below which it shows no pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGrid:
    """The cells that lie whole under a tile, and the bands that both sides have."""

    edges: NDArray[np.intp]
    """Edges of the cells along a side of the tile, in pixels, shape (cells + 1,)."""
    cells: slice
    """Place of these cells along a side of the satellite window."""
    aerial: tuple[int, ...]
    """Channels of the visible bands, red first; before them NIR where vegetation is compared."""
    satellite: tuple[int, ...]
    """Bands of the same names."""
    vegetation: bool
    """Whether NDVI is compared, and not brightness alone."""

    @property
    def compared(self) -> str:
        """What is compared, in words."""
        return "vegetation and brightness" if self.vegetation else "brightness"

    def signatures(
        self, tile: NDArray[np.uint8], satellite: SatelliteInput
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute NDVI, if compared, and visible brightness, from the air and from orbit.

        Args:
            tile: Aerial pixels, the bands that the grid was made for, shape (C, H, W).
            satellite: Has a usable month.

        Returns:
            Two arrays of shape (signatures, cells, cells), 2 signatures with NDVI, else 1;
            brightness in units of the source.
        """
        return self._from_air(tile), self._from_orbit(satellite)

    def _from_air(self, tile: NDArray[np.uint8]) -> NDArray[np.float32]:
        inner = slice(int(self.edges[0]), int(self.edges[-1]))
        starts, sizes = self.edges[:-1] - self.edges[0], np.diff(self.edges)
        pixels = tile[list(self.aerial), inner, inner]
        rows = np.add.reduceat(pixels, starts, axis=1, dtype=np.uint32)
        sums = np.add.reduceat(rows, starts, axis=2)
        return self._signature((sums / np.outer(sizes, sizes)).astype(np.float32))

    def _from_orbit(self, satellite: SatelliteInput) -> NDArray[np.float32]:
        usable = satellite.series[satellite.date_mask > 0]
        bands = usable[:, list(self.satellite), self.cells, self.cells]
        months = np.stack([self._signature(month) for month in bands])
        means: NDArray[np.float32] = months.mean(axis=0)
        return means

    def _signature(self, bands: NDArray[np.float32]) -> NDArray[np.float32]:
        """NDVI, 0 where it is dark, and mean of the visible bands; of bands in the grid's order."""
        if not self.vegetation:
            brightness: NDArray[np.float32] = bands.mean(axis=0, keepdims=True)
            return brightness
        nir, red = bands[0], bands[1]
        total = nir + red
        ndvi = np.divide(nir - red, total, out=np.zeros_like(total), where=total > 0)
        return np.stack([ndvi, bands[1:].mean(axis=0)])


def cells_under(aerial: AerialSpec, satellite: SatelliteSpec) -> CellGrid | str:
    """Find the cells under a tile, whose centre is that of the satellite window.

    Returns:
        The grid, or in words why there is none.
    """
    shared = [
        pair for pair in (NIR, *VISIBLE) if pair[0] in aerial.bands and pair[1] in satellite.bands
    ]
    vegetation = {RED, NIR} <= set(shared)
    if not vegetation:
        shared = [pair for pair in shared if pair != NIR]
    if not shared:
        return "no visible band is among both the aerial and the satellite bands of the model"
    side_m = aerial.tile_size * aerial.resolution_m
    count = min(int(side_m / satellite.cell_m + 1e-6), satellite.window)
    # An odd number of cells has its middle cell at the centre, an even one an edge.
    count -= (satellite.window - count) % 2
    if count < FEWEST_CELLS:
        return f"a tile of {side_m:.0f} m covers fewer than {FEWEST_CELLS} x {FEWEST_CELLS} cells"
    offsets_m = (np.arange(count + 1) - count / 2) * satellite.cell_m
    edges = np.rint(aerial.tile_size / 2 + offsets_m / aerial.resolution_m).astype(np.intp)
    first = (satellite.window - count) // 2
    return CellGrid(
        edges=np.clip(edges, 0, aerial.tile_size),
        cells=slice(first, first + count),
        aerial=tuple(aerial.bands.index(name) for name, _ in shared),
        satellite=tuple(satellite.bands.index(name) for _, name in shared),
        vegetation=vegetation,
    )
