"""The last stage: put tiles together and write whole block rows of every file's maps."""

from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..aerial.resample import Places
from ..output.kinds import DAMAGED, NODATA
from ..output.values import maps_of
from ..tiler import Tile
from .blend import Blender
from .canvas import Canvas, Index
from .jobs import Job, SheetStrip
from .mapset import MapSet
from .overlap import DISAGREEMENT, FIRST, Overlap
from .run import FinishedTile
from .seams import SeamCount, SeamMeter
from .targets import Target
from .tiles import StripEnd

Results = Mapping[str, NDArray[Any]]

QUALITY = "quality"
"""Name of the mask that every canvas holds, written or not."""


class Stitcher(Protocol):
    """Turns the results of tiles into values of the map."""

    def add(self, tile: Tile, results: Results | None, quality: NDArray[np.uint8]) -> None:
        """Take the next tile and its quality; without results it shows nothing.

        With a job whose tiles overlap, some reach into the strip with their halo alone.
        """

    def finish(self) -> SeamCount:
        """Say that all tiles have come, and how far neighbours differ."""


class Cropped:
    """Every tile gives its interior and nothing else."""

    def __init__(self, canvas: Canvas, job: Job, names: Collection[str]) -> None:
        """Write these maps to a canvas."""
        self._canvas, self._names, self._job = canvas, names, job
        self._seams = SeamMeter(job.area.plan, job.cols)

    def add(self, tile: Tile, results: Results | None, quality: NDArray[np.uint8]) -> None:
        """Put the interior of a tile."""
        if results is None:
            return
        values = {name: array[None] for name, array in results.items()}
        if "probabilities" in results:
            values = maps_of(results["probabilities"], self._names)
        self._seams.add(tile, values["classes"][0], quality < DAMAGED)
        if self._job.cols.start <= tile.interior[1].start < self._job.cols.stop:
            part = (slice(None), *tile.source)
            self._canvas.put(*tile.interior, {name: values[name][part] for name in self._names})

    def finish(self) -> SeamCount:
        """Say how far neighbouring tiles differ."""
        return self._seams.count


class Blended:
    """The probabilities of overlapping tiles are blended."""

    def __init__(self, canvas: Canvas, job: Job, names: Collection[str], classes: int) -> None:
        """Write these maps to a canvas."""
        self._canvas, self._names = canvas, names
        self._blender = Blender(job.area.plan, job.cols, classes, rows=job.rows)

    def add(self, tile: Tile, results: Results | None, quality: NDArray[np.uint8]) -> None:
        """Blend a tile and put what is final."""
        if results is None:
            self._blender.skip(tile)
        else:
            self._blender.add(tile, results["probabilities"])
        for rows, cols, probabilities in self._blender.take():
            values = maps_of(probabilities, self._names)
            self._canvas.put(rows, cols, {name: values[name] for name in self._names})

    def finish(self) -> SeamCount:
        """Check that no tile is missing; blended tiles have no seams that can be counted."""
        self._blender.finish()
        return SeamCount()


class StripWriter:
    """Puts the tiles of a strip together and writes what is complete."""

    def __init__(self, job: Job, maps: MapSet) -> None:
        """Begin a strip."""
        self._job, self._maps = job, maps
        own = (QUALITY, DISAGREEMENT)
        names = [name for name in maps.bands if name not in own]
        compares = DISAGREEMENT in maps.bands
        bands = {**maps.bands, QUALITY: 1, **({FIRST: 1} if compares else {})}
        self._canvas = Canvas(job.cols, bands, fill=NODATA)
        self._overlap = Overlap(self._canvas, job) if compares else None
        self._stitcher: Stitcher = (
            Blended(self._canvas, job, names, maps.classes)
            if job.area.blend
            else Cropped(self._canvas, job, names)
        )
        self._waiting = [(strip, deque(strip.missing)) for strip in job.sheets]
        size = job.area.plan.size
        self._nothing = np.full((size, size), NODATA, dtype=np.uint8)

    def add(self, item: FinishedTile) -> Iterator[Target]:
        """Take the next tile.

        Yields:
            Files whose maps are complete with what came before.

        Raises:
            DataError: If the disk does not take them.
        """
        tile, quality = item.prepared.tile, item.prepared.quality
        area = self._job.area
        yield from self._write_before(max(tile.row, 0) if area.overlaps else tile.interior[0].start)
        if quality is None:
            quality = self._nothing
        if self._overlap is not None and item.results is not None:
            self._overlap.add(tile, item.results)
        self._put_quality(tile, quality)
        self._stitcher.add(tile, item.results, quality)

    def finish(self) -> Iterator[Target]:
        """Write what is left; see `add`."""
        yield from self._write_before(self._job.area.plan.shape[0])
        self._maps.seams.append(self._stitcher.finish())

    def _put_quality(self, tile: Tile, quality: NDArray[np.uint8]) -> None:
        """Put the interior of a tile, as far as it lies in the strip."""
        rows, cols = tile.interior
        left, right = max(cols.start, self._job.cols.start), min(cols.stop, self._job.cols.stop)
        if left < right:
            part = quality[None, tile.source[0], left - tile.col : right - tile.col]
            self._canvas.put(rows, slice(left, right), {QUALITY: part})

    def _write_before(self, row: int) -> Iterator[Target]:
        """Write the block rows of all files that lie above a row of the map."""
        wanted = row
        for strip, blocks in self._waiting:
            while blocks and int(strip.block_rows(blocks[0])[-1]) < row:
                if self._write(strip, blocks.popleft()):
                    yield strip.sheet
            if blocks:
                wanted = min(wanted, int(strip.block_rows(blocks[0])[0]))
        self._canvas.forget(wanted)

    def _write(self, strip: SheetStrip, block: int) -> bool:
        values = self._canvas.take(_run(strip.block_rows(block)), _run(strip.taken))
        hidden = values[QUALITY] >= DAMAGED
        if hidden.any():
            for name in values.keys() - {QUALITY}:
                np.copyto(values[name], np.uint8(NODATA), where=hidden)
        written = {name: values[name] for name in self._maps.bands}
        return self._maps.write(strip, block, written)


def write_tiles(
    tiles: Iterable[FinishedTile | StripEnd], maps: MapSet
) -> Generator[Target | None, None, None]:
    """Write the block rows of all maps.

    Yields:
        None after every tile; a file as soon as its maps are complete.

    Raises:
        DataError: If the disk does not take them.
    """
    strip: StripWriter | None = None
    for item in tiles:
        job = item.job if isinstance(item, StripEnd) else item.prepared.job
        strip = strip or StripWriter(job, maps)
        if isinstance(item, StripEnd):
            yield from strip.finish()
            strip = None
        else:
            yield from strip.add(item)
            yield None


def finish_sheets(sheets: Iterable[Target | None], maps: MapSet) -> Generator[None, None, None]:
    """Bring the maps of every complete file into their final form; pass the rest on.

    Raises:
        DataError: If the disk does not take them.
    """
    for sheet in sheets:
        if sheet is None:
            yield
        else:
            maps.finish(sheet)


def _run(index: Places) -> Index:
    """Write consecutive indices as a slice."""
    if isinstance(index, range):
        return slice(index.start, index.stop)
    places = index.array()
    if bool((np.diff(places) == 1).all()):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places
