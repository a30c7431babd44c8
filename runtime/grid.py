"""Pixel grids on the ground, and how two of them relate.

Positions on a grid are counted in pixel edges: row 0.0 is the top edge of the first row and row 0.5
its centre. Rows come before columns everywhere; only x and y of a CRS are in the other order.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from .errors import GridError

ALIGNMENT_TOLERANCE_PX = 0.01
"""Two grids are one lattice when their pixels differ by less than this."""

Coordinate = TypeVar("Coordinate", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True)
class Grid:
    """A raster's place on the ground."""

    shape: tuple[int, int]
    """Height and width, in pixels."""
    transform: Affine
    """From (column, row) in pixel edges to (x, y) in the CRS."""
    crs: CRS

    @property
    def resolution_m(self) -> float:
        """Side of a pixel in metres (the geometric mean of both sides)."""
        area = abs(self.transform.determinant)
        _, factor = self.crs.linear_units_factor if self.crs.is_projected else ("", math.nan)
        return math.sqrt(area) * factor

    @property
    def area_km2(self) -> float:
        """Area of all pixels in square kilometres."""
        return self.shape[0] * self.shape[1] * self.resolution_m**2 / 1e6

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the raster, (x, y) in CRS units."""
        return _apply(self.transform, self.shape[1] / 2, self.shape[0] / 2)

    def crop(self, row: int, col: int, height: int, width: int) -> "Grid":
        """Return the grid of a window; it may reach beyond this grid."""
        a, b, _, d, e, _ = self.transform[:6]
        x, y = _apply(self.transform, col, row)
        return Grid((height, width), Affine(a, b, x, d, e, y), self.crs)

    def offset_of(self, other: "Grid") -> tuple[int, int] | None:
        """Row and column of another grid's first pixel here; None if it is on another lattice."""
        if self.crs != other.crs:
            return None
        height, width = other.shape
        inverse = ~self.transform
        found = []
        for corner in ((0, 0), (width, 0), (0, height)):
            col, row = _apply(inverse, *_apply(other.transform, *corner))
            found.append((row - corner[1], col - corner[0]))
        row, col = round(found[0][0]), round(found[0][1])
        if max(max(abs(r - row), abs(c - col)) for r, c in found) > ALIGNMENT_TOLERANCE_PX:
            return None
        return row, col

    def cells_around(
        self, row: float, col: float, *, size: int, cell_m: float, target: "Grid"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Find where the cells of a window centred here lie on another grid.

        The window is aligned to this grid's axes and centred on (row, col). Its cells are `cell_m`
        metres wide on the ground.

        Args:
            row: Row of the centre on this grid, in pixel edges.
            col: Column of the centre on this grid, in pixel edges.
            size: Cells on each side of the window.
            cell_m: Side of a cell, in metres.
            target: The grid that holds the data.

        Returns:
            Row and column of each cell's centre on `target`, in pixel centres, shape (size, size).

        Raises:
            GridError: If this grid is not in metres, or the two CRS cannot be related.
        """
        cells = (np.arange(size, dtype=np.float64) + 0.5 - size / 2.0) * cell_m
        if self.crs == target.crs:
            target_rows, target_cols = self._places(row, col, cells, target)
        else:
            # Three by three points fix a quadratic surface, from which a projection departs by
            # less than a micrometre within a window; all cells would take ten times as long.
            half = size * cell_m / 2.0
            nodes = self._places(row, col, np.array([-half, 0.0, half]), target)
            shares = _quadratic(cells / half)
            target_rows, target_cols = (shares @ values @ shares.T for values in nodes)
        return target_rows - 0.5, target_cols - 0.5

    def _places(
        self, row: float, col: float, metres: NDArray[np.float64], target: "Grid"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and columns on another grid of places so many metres from one here, both ways."""
        height_m, width_m = self._pixel_m()
        rows, cols = np.meshgrid(row + metres / height_m, col + metres / width_m, indexing="ij")
        xs, ys = _apply(self.transform, cols, rows)
        if self.crs != target.crs:
            xs, ys = _transform(self.crs, target.crs, xs, ys)
        target_cols, target_rows = _apply(~target.transform, xs, ys)
        return target_rows, target_cols

    def _pixel_m(self) -> tuple[float, float]:
        """Height and width of a pixel in metres."""
        if not self.crs.is_projected:
            raise GridError(
                f"the raster is in {_named(self.crs)}, which does not count in metres; expected a "
                "projected CRS; reproject it"
            )
        _, factor = self.crs.linear_units_factor
        t = self.transform
        return math.hypot(t.b, t.e) * factor, math.hypot(t.a, t.d) * factor

    def overlaps(self, other: "Grid") -> bool:
        """Tell whether any ground is common to both grids' bounding boxes.

        Raises:
            GridError: If the two CRS cannot be related.
        """
        left, bottom, right, top = self.bounds
        theirs = other.bounds
        if self.crs != other.crs:
            try:
                theirs = rasterio.warp.transform_bounds(other.crs, self.crs, *theirs)
            except (CRSError, RasterioError, CPLE_BaseError) as error:
                raise _unrelated(other.crs, self.crs) from error
        return bool(
            theirs[0] < right and left < theirs[2] and theirs[1] < top and bottom < theirs[3]
        )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest and largest x and y: (left, bottom, right, top), in CRS units."""
        height, width = self.shape
        corners = [
            _apply(self.transform, *point)
            for point in ((0, 0), (width, 0), (0, height), (width, height))
        ]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def _apply(transform: Affine, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
    """Map points; written out because affine 2 has only `*` for it and affine 3 warns of that."""
    a, b, c, d, e, f = transform[:6]
    return x * a + y * b + c, x * d + y * e + f


def _quadratic(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the values at -1, 0 and 1 in the parabola through them, shape (places, 3)."""
    return np.stack(
        [places * (places - 1.0) / 2.0, 1.0 - places**2, places * (places + 1.0) / 2.0], axis=1
    )


def _named(crs: CRS) -> str:
    """Short name of a CRS, whose full text may be a page."""
    text = str(crs)
    return text if len(text) <= 60 else text[:57] + "..."


def _transform(
    source: CRS, target: CRS, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        moved = rasterio.warp.transform(source, target, xs.ravel(), ys.ravel())
    except (CRSError, RasterioError, CPLE_BaseError) as error:
        raise _unrelated(source, target) from error
    if not np.isfinite(moved).all():
        raise _unrelated(source, target)
    return np.reshape(moved[0], xs.shape), np.reshape(moved[1], ys.shape)


def _unrelated(source: CRS, target: CRS) -> GridError:
    return GridError(
        f"{_named(source)} cannot be transformed to {_named(target)} here; expected two related "
        "coordinate reference systems; reproject one input"
    )
