"""A large scene made of a small one: imagery and Sentinel-2 series mirrored over and over."""

import math
from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.warp import transform_bounds

from runtime.grid import Grid
from runtime.raster import reflected
from runtime.scene import SATELLITE_FOLDER, SCENE_AERIAL
from tools.bench_peers.raster import make_raster, open_raster

MARGIN = 40
"""Cells that a series reaches beyond the imagery at least: the windows of tiles at its border."""

Box = tuple[int, int, int, int]
"""First row, first column, rows and columns."""


def make_large(scene: Path, side: int, out: Path) -> Path:
    """Write a square scene made of another one.

    Args:
        scene: Folder with an aerial raster and, if the model takes one, a series.
        side: Side of the new one, in pixels.
        out: Its folder.

    Returns:
        `out`.
    """
    aerial = make_raster(out / SCENE_AERIAL, side, scene / SCENE_AERIAL)
    with open_raster(aerial) as opened:
        ground = Grid(opened.shape, opened.transform, opened.crs)
    make_series(scene, out, ground)
    return out


def make_series(scene: Path, out: Path, ground: Grid) -> None:
    """Write the series of a scene, if it has one, so that it covers other ground.

    Args:
        scene: Folder with the series that is mirrored.
        out: Folder of the new scene.
        ground: What is to be covered, in any CRS.
    """
    for path in sorted((scene / SATELLITE_FOLDER).glob("S2_*.tif")):
        _write_mirrored(path, out / SATELLITE_FOLDER / path.name, ground)


def _write_mirrored(path: Path, target: Path, ground: Grid) -> None:
    with open_raster(path) as source:
        top, left, height, width = covering(source, ground)
        rows, cols = (
            reflected(start, length, size)
            for start, length, size in ((top, height, source.height), (left, width, source.width))
        )
        pixels: NDArray[Any] = source.read()[:, rows][:, :, cols]
        grid = Grid(source.shape, source.transform, source.crs)
        profile = dict(source.profile)
        profile |= {
            "height": height,
            "width": width,
            "transform": grid.crop(top, left, height, width).transform,
        }
        tags, names = source.tags(), source.descriptions
    target.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(target, "w", **profile) as written:
        written.write(pixels)
        written.update_tags(**tags)
        for band, name in enumerate(names, start=1):
            written.set_band_description(band, name)


def covering(source: Any, ground: Grid) -> Box:
    """Box on a raster's lattice that covers other ground and a margin.

    Args:
        source: The raster, opened; its rows run along one axis of its CRS.
        ground: What is to be covered, in any CRS.
    """
    bounds = transform_bounds(ground.crs, source.crs, *ground.bounds)
    place = source.transform
    cols = [(x - place.c) / place.a for x in bounds[::2]]
    rows = [(y - place.f) / place.e for y in bounds[1::2]]
    top, left = (math.floor(min(values)) - MARGIN for values in (rows, cols))
    bottom, right = (math.ceil(max(values)) + MARGIN for values in (rows, cols))
    return top, left, bottom - top, right - left
