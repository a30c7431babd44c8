"""Give the elevation band of a model where aerial files lack it.

    --elevation zero       0 everywhere
    --elevation FILE       heights above the ground, from one band of any grid and CRS
    --elevation DSM,DTM    the surface less the terrain, from two such files

The code is FLAIR's: 1 unit is 0.2 m, 255 is 51 m and all above. A single file of uint8 holds that
code; any other type, and both files of a pair, hold metres, after the scale and offset that each
states.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError
from ..grid import Grid
from .heights import HeightFile

ELEVATION = "elevation"
"""Name of the band, as models and files spell it."""
ZERO = "zero"
"""Value of `--elevation` for 0 everywhere."""

UNITS_PER_M = 5
CHUNK = 256
"""Side of the squares that are resampled at once, in pixels, at most."""
CACHE_BYTES = 32 * 2**20
"""Most bytes of resampled squares that are kept."""

_SOURCE_SIDE = 1024
"""Most pixels of an elevation file on a side that one square is made of."""
_SAMPLES = 4
"""Places along each axis at which heights are looked at before a run."""
_HIGHEST_M = 51.0
"""What the largest code stands for."""
_LOWEST_M = -1.0
"""A surface lower than this below the terrain is not explained by noise."""

Codes = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""FLAIR's code of heights, and which pixels hold one; shape (rows, columns) each."""


class Elevation(Protocol):
    """An elevation band on the grid of a mosaic; for one thread."""

    @property
    def text(self) -> str:
        """What the band is made of, for report and tags."""

    def read(self, rows: slice, cols: slice) -> Codes:
        """Read a window that lies on the mosaic."""

    def close(self) -> None:
        """Close the files behind it."""


def open_elevation(choice: str, grid: Grid, *, assume_crs: str | None = None) -> Elevation:
    """Open what `--elevation` names.

    Args:
        choice: `zero`, the path of a raster, or the paths of two with a comma between.
        grid: Grid of the mosaic.
        assume_crs: CRS of files that have none or an unnamed local one.

    Raises:
        ConfigError: If more than two files are named, or one of two is left out.
        DataError: If a file is missing, damaged, or holds no heights above the ground.
        BandError: If it has several bands, or counts in another unit than metres.
        GridError: If it lies elsewhere.
    """
    if choice == ZERO:
        return ZeroElevation()
    return RasterElevation(elevation_paths(choice), grid, assume_crs=assume_crs)


def elevation_paths(choice: str | None) -> tuple[Path, ...]:
    """Files that `--elevation` names; a name with a comma in it is taken for one if it is there.

    Raises:
        ConfigError: If more than two files are named, or one of two is left out.
    """
    if choice in (None, ZERO):
        return ()
    whole, parts = Path(choice), [part.strip() for part in choice.split(",")]
    if whole.is_file() or len(parts) == 1:
        return (whole,)
    if len(parts) > 2 or not all(parts):
        raise ConfigError(
            f"--elevation {choice} names {len(parts)} files; expected FILE, DSM,DTM or zero; "
            "correct --elevation"
        )
    return tuple(map(Path, parts))


class ZeroElevation:
    """Flat ground without anything on it."""

    @property
    def text(self) -> str:
        """What the band is made of."""
        return "zero everywhere"

    def read(self, rows: slice, cols: slice) -> Codes:
        """Give zeros that are valid."""
        shape = rows.stop - rows.start, cols.stop - cols.start
        return np.zeros(shape, dtype=np.uint8), np.ones(shape, dtype=np.bool_)

    def close(self) -> None:
        """Do nothing."""


class RasterElevation:
    """Heights from one raster, or from a surface and a terrain, on the grid of a mosaic.

    They are resampled bilinearly in squares that lie on the mosaic's grid, whatever window is read:
    a pixel is the same in all of them. The squares last used are kept.
    """

    def __init__(self, paths: Sequence[Path], grid: Grid, *, assume_crs: str | None = None) -> None:
        """Open rasters; see `open_elevation`.

        Args:
            paths: A file of heights above the ground, or a surface and a terrain model.
            grid: Grid of the mosaic.
            assume_crs: CRS of files that have none or an unnamed local one.
        """
        self._files: list[HeightFile] = []
        self._grid = grid
        self._chunks: OrderedDict[tuple[int, int], Codes] = OrderedDict()
        try:
            for path in paths:
                self._files.append(
                    HeightFile(path, grid, uint8_is_code=len(paths) == 1, assume_crs=assume_crs)
                )
            self._is_code = self._files[0].is_code
            self._side = min(self._chunk_side(file) for file in self._files)
            self._check_heights()
        except DataError:
            self.close()
            raise

    @property
    def text(self) -> str:
        """What the band is made of."""
        names = " less ".join(file.path.name for file in self._files)
        stored = "as stored" if self._is_code else f"metres x {UNITS_PER_M}"
        resampled = any(file.resampled for file in self._files)
        return f"{names}, {stored}{', resampled bilinearly' if resampled else ''}"

    def read(self, rows: slice, cols: slice) -> Codes:
        """Read a window that lies on the mosaic.

        Raises:
            DataError: If a file is damaged there.
        """
        shape = rows.stop - rows.start, cols.stop - cols.start
        codes, valid = np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.bool_)
        side = self._side
        for row in range(rows.start // side, -(-rows.stop // side)):
            for col in range(cols.start // side, -(-cols.stop // side)):
                found = self._chunk(row, col)
                to_rows, from_rows = _common(rows, row * side, side)
                to_cols, from_cols = _common(cols, col * side, side)
                codes[to_rows, to_cols] = found[0][from_rows, from_cols]
                valid[to_rows, to_cols] = found[1][from_rows, from_cols]
        return codes, valid

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _chunk_side(self, file: HeightFile) -> int:
        """Side of the squares: smaller ones where many pixels of a file go into one."""
        height, width = self._grid.shape
        rows, cols = file.positions(self._grid.crop(height // 2, width // 2, CHUNK, CHUNK))
        side, source = CHUNK, max(rows.stop - rows.start, cols.stop - cols.start)
        while side > 1 and source > _SOURCE_SIDE:
            side, source = side // 2, source // 2
        return side

    def _heights(self, target: Grid) -> NDArray[np.float32]:
        """Metres above the ground on a part of the mosaic's grid; the code where it is stored."""
        heights, *terrain = (file.warp(target) for file in self._files)
        return heights - terrain[0] if terrain else heights

    def _check_heights(self) -> None:
        """Refuse what are no heights above the ground, and would be cut to the ends of the code."""
        if self._is_code:
            return
        height, width = self._grid.shape
        size = min(8, height, width)
        rows = np.linspace(0, height - size, _SAMPLES).astype(int)
        cols = np.linspace(0, width - size, _SAMPLES).astype(int)
        crops = [self._grid.crop(row, col, size, size) for row in rows for col in cols]
        heights = np.concatenate([self._heights(crop).ravel() for crop in crops])
        heights = heights[np.isfinite(heights)]
        if heights.size:
            self._check_median(float(np.median(heights)))

    def _check_median(self, median: float) -> None:
        surface = self._files[0].path
        if len(self._files) == 1:
            if median > _HIGHEST_M:
                raise DataError(
                    f"{surface} says {median:.0f} m for most of the ground; expected heights above "
                    "the ground, not above the sea; give the terrain too: --elevation DSM,DTM"
                )
        elif not _LOWEST_M <= median <= _HIGHEST_M:
            raise DataError(
                f"{surface} less {self._files[1].path} is {median:.0f} m for most of the ground; "
                f"expected {_LOWEST_M:.0f} to {_HIGHEST_M:.0f} m; name the surface first and the "
                "terrain second, both above one vertical datum"
            )

    def _chunk(self, row: int, col: int) -> Codes:
        """One square of the mosaic's grid; row and column count squares."""
        key = row, col
        if key not in self._chunks:
            side = self._side
            while len(self._chunks) >= CACHE_BYTES // (2 * side**2):
                self._chunks.popitem(last=False)
            heights = self._heights(self._grid.crop(row * side, col * side, side, side))
            self._chunks[key] = coded(heights if self._is_code else heights * UNITS_PER_M)
        self._chunks.move_to_end(key)
        return self._chunks[key]


def coded(heights: NDArray[np.float32]) -> Codes:
    """Round heights, in units of the code, to whole ones from 0 to 255; NaN becomes 0."""
    valid: NDArray[np.bool_] = np.isfinite(heights)
    known = np.where(valid, heights, np.float32(0.0))
    return np.clip(np.floor(known + np.float32(0.5)), 0, 255).astype(np.uint8), valid


def _common(wanted: slice, start: int, side: int) -> tuple[slice, slice]:
    """What a square covers of a run: counted in the run, and in the square."""
    first, last = max(wanted.start, start), min(wanted.stop, start + side)
    return (
        slice(first - wanted.start, last - wanted.start),
        slice(first - start, last - start),
    )
