"""Share a run out into strips, each with the block rows that it still has to write."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..aerial.extents import Extents
from ..aerial.mosaic import AerialFile
from ..aerial.resample import Places
from ..output.kinds import BLOCK
from ..raster import reflected
from ..tiler import Tile
from .survey import Area
from .targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetStrip:
    """What a strip has to write of the maps of one file."""

    sheet: Target
    rows: Places
    """Row of the tile grid for each row of the file."""
    taken: Places
    """Column of the tile grid for each column of the file that lies in the strip."""
    cols: slice
    """Columns of the file that lie in the strip."""
    missing: tuple[int, ...]
    """Block rows whose columns in the strip are not on disk yet."""

    def block_rows(self, block: int) -> Places:
        """Rows of the tile grid that a block row of the file takes its values from."""
        return self.rows[block * BLOCK : (block + 1) * BLOCK]

    @property
    def pixels(self) -> int:
        """Pixels of the file that are still to be written."""
        rows = sum(len(self.block_rows(block)) for block in self.missing)
        return rows * len(self.taken)

    def spans(self) -> tuple[slice, ...]:
        """Rows of the tile grid that are still wanted, as runs without gaps."""
        found: list[slice] = []
        for block in self.missing:
            rows = self.block_rows(block)
            start, stop = rows[0], rows[-1] + 1
            if found and start <= found[-1].stop:
                found[-1] = slice(found[-1].start, stop)
            else:
                found.append(slice(start, stop))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One strip of one area."""

    area: Area
    cols: slice
    """Columns of the tile grid that the strip covers."""
    sheets: tuple[SheetStrip, ...]

    @property
    def rows(self) -> slice:
        """Rows of the tile grid between the first and the last that are still wanted."""
        spans = [span for item in self.sheets for span in item.spans()]
        return slice(min(span.start for span in spans), max(span.stop for span in spans))

    @property
    def read_cols(self) -> slice:
        """Columns of the tile grid that tiles of the strip are made from, mirrored ones too."""
        plan = self.area.plan
        top = slice(0, 1)
        found = [
            reflected(tile.col, plan.size, plan.shape[1])
            for tile in self.area.tiles(top, self.cols)
        ]
        return slice(
            min(int(cols.min()) for cols in found), max(int(cols.max()) for cols in found) + 1
        )

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles that something missing is made from, row-major.

        Where whole tiles count they lean on each other: all between the first and the last are
        needed.
        """
        tiles = self.area.tiles(self.rows, self.cols)
        return tiles if self.area.overlaps else _meeting(tiles, self._missing())

    @property
    def tile_count(self) -> int:
        """Number of those tiles; where none leans on another, found without going through them."""
        if self.area.overlaps:
            return sum(1 for _ in self.tiles())
        return self.area.plan.meeting(Extents.of(self._missing()))

    def _missing(self) -> list[tuple[slice, slice]]:
        """Windows of the tile grid that are still wanted."""
        return [(rows, _span(item.taken)) for item in self.sheets for rows in item.spans()]


def count_tiles(area: Area) -> int:
    """Number of an area's tiles that a run from the beginning runs, if all hold data."""
    return area.plan.meeting(Extents.of([_place(area, file) for file in area.mosaic.files]))


def _place(area: Area, file: AerialFile) -> tuple[slice, slice]:
    """Window of the tile grid that a file's maps take their values from."""
    return _span(area.tile_grid.rows_of(file)), _span(area.tile_grid.cols_of(file))


def _span(places: Places) -> slice:
    return slice(places[0], places[-1] + 1)


def _meeting(tiles: Iterator[Tile], places: Sequence[tuple[slice, slice]]) -> Iterator[Tile]:
    """Yield the tiles whose interiors meet one of the places, of row-major ones."""
    top, beside = None, places
    for tile in tiles:
        rows, cols = tile.interior
        if rows.start != top:
            top = rows.start
            beside = [place for place in places if _meet(place[0], rows)]
        if any(_meet(place[1], cols) for place in beside):
            yield tile


def _meet(first: slice, second: slice) -> bool:
    return bool(first.start < second.stop and second.start < first.stop)


def make_jobs(
    areas: Sequence[Area], sheets: Sequence[Sequence[Target]], strip_tiles: int
) -> list[Job]:
    """Cut areas into strips; strips whose files are all written are left out.

    Args:
        areas: What is to be mapped.
        sheets: Maps of the files of each area, in the order of its files.
        strip_tiles: Columns of tiles in a strip.
    """
    jobs = []
    for area, made in zip(areas, sheets, strict=True):
        places = [
            (sheet, area.tile_grid.rows_of(file), area.tile_grid.cols_of(file))
            for file, sheet in zip(area.mosaic.files, made, strict=True)
            if not sheet.finished
        ]
        extents = Extents.of([(_span(rows), _span(cols)) for _, rows, cols in places])
        height = slice(0, area.plan.shape[0])
        for cols in area.plan.strips(strip_tiles):
            near = extents.overlapping(height, cols)
            strips = [_strip(cols, *places[index]) for index in near]
            wanted = tuple(strip for strip in strips if strip is not None)
            if wanted:
                jobs.append(Job(area=area, cols=cols, sheets=wanted))
    return jobs


def _strip(cols: slice, sheet: Target, rows: Places, across: Places) -> SheetStrip | None:
    start, stop = (bisect_left(across, place) for place in (cols.start, cols.stop))
    missing = sheet.missing(slice(start, stop)) if start < stop else ()
    if not missing:
        return None
    return SheetStrip(
        sheet=sheet,
        rows=rows,
        taken=across[start:stop],
        cols=slice(start, stop),
        missing=missing,
    )
