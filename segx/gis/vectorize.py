"""Write the polygons of a finished map into a GeoPackage beside it."""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.features import sieve
from rasterio.io import DatasetReader
from rasterio.windows import Window

from runtime.classes import LandCoverClass
from runtime.errors import DataError, brief
from runtime.grid import Grid
from runtime.output.disk import unwritable
from runtime.output.kinds import BLOCK, NODATA

from .geopackage import FAILURES, GeoPackage
from .polygons import Geometries, Polygons, polygons_of

STRIP_PX = 4_000_000
"""Pixels whose polygons are looked for at once, at most; 512 rows where that is less."""
_ROUNDING = 1e-6
"""Pixels by which a least area may miss a whole number of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorOptions:
    """What is done to polygons."""

    min_area_m2: float = 0.0
    """Smaller areas become part of their largest neighbour."""
    simplify_m: float = 0.0
    """Corners go where the triangle that they stand for is smaller than the square of this."""

    @property
    def tags(self) -> dict[str, str]:
        """What was done, for the metadata."""
        return {
            "SEGX_VECTOR_MIN_AREA": f"{self.min_area_m2:g} m2",
            "SEGX_VECTOR_SIMPLIFY": f"{self.simplify_m:g} m",
        }


def vectorize(path: Path, folder: Path, options: VectorOptions) -> Path:
    """Write the areas of one class of a map as polygons: NAME.tif becomes NAME.gpkg.

    The file appears under its name when it is complete. Memory does not grow with the map but with
    its largest polygons; where corners are simplified, with all of them.

    Args:
        path: A finished map of classes.
        folder: Where unfinished files are kept.
        options: What is done to polygons.

    Returns:
        The GeoPackage.

    Raises:
        DataError: If the map cannot be read, or the disk does not take the polygons.
    """
    target = path.with_suffix(".gpkg")
    part = folder / f"{target.stem}.part.gpkg"
    try:
        with rasterio.open(path) as dataset:
            grid = Grid(dataset.shape, dataset.transform, dataset.crs)
            metadata = {**dataset.tags(), **options.tags}
            file = GeoPackage(part, grid, _legend(dataset), metadata)
            with _strips(dataset, grid, options, folder) as strips:
                for batch in _simplified(polygons_of(strips), grid, options):
                    file.add(batch)
        file.finish()
        os.replace(part, target)
    except RasterioError as error:
        raise DataError(
            f"{path} cannot be read ({brief(error)}); expected the map that was just written; run "
            "the same command again with --restart"
        ) from error
    except FAILURES as error:
        raise unwritable(target, error) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _legend(dataset: DatasetReader) -> list[LandCoverClass]:
    """Names and colours of a map's classes, as it holds them."""
    names, colors = dataset.tags(1), dataset.colormap(1)
    count = sum(key.startswith("CLASS_") for key in names)
    return [
        LandCoverClass(
            name=names[f"CLASS_{index}"], color="#{:02x}{:02x}{:02x}".format(*colors[index][:3])
        )
        for index in range(count)
    ]


@contextmanager
def _strips(
    dataset: DatasetReader, grid: Grid, options: VectorOptions, folder: Path
) -> Iterator[Iterator[NDArray[np.uint8]]]:
    """Give the rows of a map, with areas that are too small gone."""
    smallest = math.ceil(options.min_area_m2 / grid.resolution_m**2 - _ROUNDING)
    if smallest <= 1:
        yield (values for _, values in _read(dataset))
        return
    paths = [folder / f"{name}.sieve" for name in ("classes", "mask", "sieved")]
    try:
        classes, mask, sieved = (
            np.memmap(path, dtype=np.uint8, mode="w+", shape=grid.shape) for path in paths
        )
        for rows, values in _read(dataset):
            classes[rows], mask[rows] = values, values != NODATA
        sieve(classes, min(smallest, classes.size), out=sieved, mask=mask, connectivity=4)
        yield (np.array(sieved[rows]) for rows in _row_runs(grid.shape))
        del classes, mask, sieved
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _read(dataset: DatasetReader) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    for rows in _row_runs(dataset.shape):
        window = Window(0, rows.start, dataset.width, rows.stop - rows.start)
        yield rows, dataset.read(1, window=window)


def _row_runs(shape: tuple[int, int]) -> Iterator[slice]:
    """Cut the rows of a map into runs of few enough pixels."""
    height, width = shape
    step = min(max(STRIP_PX // width, 1), BLOCK)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _simplified(
    batches: Iterable[Polygons], grid: Grid, options: VectorOptions
) -> Iterable[Polygons]:
    """Take corners away, for neighbours alike, so that neither gaps nor overlaps arise.

    All polygons are looked at together then. The border of what is mapped stays as it is.
    """
    if not options.simplify_m:
        return batches
    found = list(batches)
    geometries: Geometries = np.concatenate([batch.geometries for batch in found])
    # Neighbours must share all corners along a common side, those of a third polygon included.
    every = shapely.transform(shapely.segmentize(geometries, 1.0), np.rint)
    simpler = shapely.coverage_simplify(
        every, options.simplify_m / grid.resolution_m, simplify_boundary=False
    )
    values = np.concatenate([batch.values for batch in found])
    return [Polygons(values=values, geometries=shapely.simplify(simpler, 0))]
