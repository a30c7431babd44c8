"""Join aerial files that lie on one pixel lattice, so that context crosses their borders.

    files of one folder, one series, one lattice     -> one mosaic per group that touches
    a file on another lattice, or mapped by itself   -> a mosaic of one file

Rows and columns of a mosaic count from the corner of its files' bounding box. Where files overlap,
the first by name that holds data at a pixel gives it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from ..errors import BandError
from ..grid import ALIGNMENT_TOLERANCE_PX, Grid
from ..raster import RasterInfo, RasterReader
from ..scene import SatelliteSource, Scene, are_names
from .extents import Extents

MOST_BLOCK_ROWS = 2048
"""Higher blocks are read in parts; some files are one block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AerialFile:
    """A file and its place in a mosaic."""

    path: Path
    info: RasterInfo
    row: int
    """Row of the mosaic that its first row lies on."""
    col: int
    """Column of the mosaic that its first column lies on."""
    assume_crs: str | None = None
    """CRS of a file that has none."""

    def open(self) -> RasterReader:
        """Open the file."""
        return RasterReader(self.path, assume_crs=self.assume_crs)

    @property
    def rows(self) -> slice:
        """Rows of the mosaic that it covers."""
        return slice(self.row, self.row + self.info.grid.shape[0])

    @property
    def cols(self) -> slice:
        """Columns of the mosaic that it covers."""
        return slice(self.col, self.col + self.info.grid.shape[1])

    @property
    def block_rows(self) -> int:
        """Rows that are read at once: those of a block, or fewer where that is too much."""
        return min(self.info.block_height, MOST_BLOCK_ROWS)

    def block_end(self, row: int) -> int:
        """Row of the mosaic where the block ends that holds one of the file's rows."""
        step = self.block_rows
        end: int = min(self.row + ((row - self.row) // step + 1) * step, self.rows.stop)
        return end


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """Aerial files on one pixel lattice."""

    grid: Grid
    """Their bounding box."""
    files: tuple[AerialFile, ...]
    """By name: the order of preference where they overlap."""
    satellite: SatelliteSource | None
    """The series that belongs to all of them."""
    _extents: Extents = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the files by place."""
        places = Extents.of([(file.rows, file.cols) for file in self.files])
        object.__setattr__(self, "_extents", places)

    @property
    def name(self) -> str:
        """The file's stem, or how many files there are."""
        return self.files[0].path.stem if len(self.files) == 1 else f"{len(self.files)} files"

    def files_in(self, rows: slice, cols: slice) -> tuple[AerialFile, ...]:
        """Files that cover a pixel of a window, in order of preference."""
        return tuple(self.files[index] for index in self._extents.overlapping(rows, cols))

    @property
    def block_rows(self) -> int:
        """Most rows that are read at once, so that blocks are read whole."""
        return max(file.block_rows for file in self.files)

    def block_end(self, row: int, cols: slice) -> int:
        """Where the row of blocks ends that holds a row, at most `block_rows` further on.

        Where files with other blocks lie side by side, the last end counts.

        Args:
            row: Row of the mosaic.
            cols: Columns that are read.
        """
        most = min(row + self.block_rows, self.grid.shape[0])
        here = self.files_in(slice(row, row + 1), cols)
        if here:
            return min(max(file.block_end(row) for file in here), most)
        return min([most, *(file.row for file in self.files_in(slice(row, most), cols))])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A scene and its header."""

    scene: Scene
    info: RasterInfo


_Placed = tuple[_Found, int, int]
"""A scene with its row and column on the lattice of another one."""


def join(scenes: Sequence[Scene], *, reach: int) -> list[Mosaic]:
    """Join scenes of one series and one pixel lattice that touch; read every header once.

    Args:
        scenes: What to map; those marked `alone` are not joined.
        reach: Files with a gap of at most so many pixels touch.

    Returns:
        Mosaics in the order of the first scene of each.

    Raises:
        DataError: If a file is missing or no raster.
        GridError: If it has no place on the ground.
        BandError: If files that touch hold different bands.
    """
    found = _headers(scenes)
    mosaics = []
    for group in _by_series(found):
        for lattice in _by_lattice(group):
            places = Extents.of([_place(*item) for item in lattice])
            mosaics += [
                _mosaic([lattice[index] for index in members])
                for members in places.components(reach)
            ]
    mosaics += [_mosaic([(item, 0, 0)]) for item in found if item.scene.alone]
    order = {id(item.info): index for index, item in enumerate(found)}
    return sorted(mosaics, key=lambda mosaic: min(order[id(file.info)] for file in mosaic.files))


def _headers(scenes: Sequence[Scene]) -> list[_Found]:
    """Read every header; what thousands of them say alike is kept once."""
    kept: dict[Any, Any] = {}
    found = []
    for scene in scenes:
        with scene.open() as reader:
            info = reader.info
        bands = kept.setdefault(info.bands, info.bands)
        tags = kept.setdefault(frozenset(info.tags.items()), info.tags)
        # A CRS holds 0.8 kB more once it is written out, as it is into every map.
        grid = replace(info.grid, crs=kept.setdefault(info.grid.crs.wkt, info.grid.crs))
        found.append(_Found(scene=scene, info=replace(info, grid=grid, bands=bands, tags=tags)))
    return found


def _place(found: _Found, row: int, col: int) -> tuple[slice, slice]:
    height, width = found.info.grid.shape
    return slice(row, row + height), slice(col, col + width)


def _mosaic(members: Sequence[_Placed]) -> Mosaic:
    """Put files together that lie on the lattice of the first."""
    members = sorted(members, key=lambda item: (item[0].scene.aerial.name, item[0].scene.aerial))
    _refuse_other_bands([found.info for found, _, _ in members])
    first, row, col = members[0]
    places = [_place(*item) for item in members]
    top, left = (min(place[axis].start for place in places) for axis in (0, 1))
    bottom, right = (max(place[axis].stop for place in places) for axis in (0, 1))
    return Mosaic(
        grid=first.info.grid.crop(top - row, left - col, bottom - top, right - left),
        files=tuple(
            AerialFile(
                path=found.scene.aerial,
                info=found.info,
                row=row - top,
                col=col - left,
                assume_crs=found.scene.assume_crs,
            )
            for found, row, col in members
        ),
        satellite=first.scene.satellite,
    )


def _refuse_other_bands(infos: Sequence[RasterInfo]) -> None:
    """Refuse files that cannot be read as one; a file whose bands have no names may join."""
    kinds: dict[tuple[object, ...], RasterInfo] = {}
    for info in infos:
        kinds.setdefault((info.count, info.dtype, info.bands), info)
    named = next((info for info in kinds.values() if _names(info)), infos[0])
    for info in kinds.values():
        same = (info.count, info.dtype) == (named.count, named.dtype)
        if not same or (_names(info) and _names(info) != _names(named)):
            raise BandError(
                f"{info.path} holds {_shown(info)} and touches {named.path}, which holds "
                f"{_shown(named)}; expected the same bands in all files of a mosaic; rewrite one, "
                "or infer them from different folders"
            )


def _names(info: RasterInfo) -> tuple[str, ...]:
    names = tuple(name.lower() for name in info.bands)
    return names if are_names(names) else ()


def _shown(info: RasterInfo) -> str:
    return f"{', '.join(_names(info)) or f'{info.count} unnamed bands'} ({info.dtype})"


def _by_series(found: Sequence[_Found]) -> Iterator[list[_Found]]:
    """Group scenes that may be joined: those of one series and one CRS."""
    known: list[CRS] = []
    groups: dict[tuple[int, int], list[_Found]] = {}
    for item in found:
        if item.scene.alone:
            continue
        crs = item.info.grid.crs
        if crs not in known:
            known.append(crs)
        groups.setdefault((id(item.scene.satellite), known.index(crs)), []).append(item)
    yield from groups.values()


def _by_lattice(group: Sequence[_Found]) -> Iterator[list[_Placed]]:
    """Group scenes by pixel lattice, and place each on that of its group's first."""
    transforms = np.array([item.info.grid.transform[:6] for item in group])
    shapes = np.array([item.info.grid.shape for item in group])
    left = np.arange(len(group))
    while len(left):
        first = transforms[left[0]]
        offsets = _offsets(first, transforms[left])
        places = np.rint(offsets)
        drift = np.abs(offsets - places).max(axis=1)
        on_it: NDArray[np.bool_] = drift <= ALIGNMENT_TOLERANCE_PX
        near = np.flatnonzero(on_it)
        on_it[near] = _stay(first, transforms[left[near]], shapes[left[near]], places[near])
        # Whatever rounding makes of it: the loop has to end.
        on_it[0] = True
        yield [
            (group[index], int(row), int(col))
            for index, (row, col) in zip(left[on_it], places[on_it], strict=True)
        ]
        left = left[~on_it]


def _stay(
    first: NDArray[np.float64],
    transforms: NDArray[np.float64],
    shapes: NDArray[np.int64],
    places: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which grids, whose corners lie on a lattice, stay on it up to their far ends."""
    stay = np.ones(len(shapes), dtype=np.bool_)
    for axis in (0, 1):
        far = np.zeros_like(shapes)
        far[:, axis] = shapes[:, axis]
        drift = _offsets(first, transforms, far) - places - far
        stay &= np.abs(drift).max(axis=1) <= ALIGNMENT_TOLERANCE_PX
    return stay


def _offsets(
    first: NDArray[np.float64],
    transforms: NDArray[np.float64],
    corners: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Row and column on a first grid of each grid's corner, or of a (row, column) of it.

    Like `Grid.offset_of`, of many grids at once.
    """
    x, y = transforms[:, 2] - first[2], transforms[:, 5] - first[5]
    if corners is not None:
        rows, cols = corners.T
        x = x + transforms[:, 0] * cols + transforms[:, 1] * rows
        y = y + transforms[:, 3] * cols + transforms[:, 4] * rows
    a, b, _, d, e, _ = first
    area = a * e - b * d
    return np.stack([(a * y - d * x) / area, (e * x - b * y) / area], axis=1)
