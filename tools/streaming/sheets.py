"""Thousands of aerial files side by side, as surveys are delivered.

full     cut from a scene that is mirrored over and over, with its series around all of them
empty    headers alone, a few kilobytes whatever the side: a country that can be planned
"""

import math
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import rasterio
from affine import Affine

from runtime.grid import Grid
from runtime.raster import reflected
from runtime.scene import SCENE_AERIAL
from tools.bench_peers.raster import BLOCK, open_raster

from .large import make_series


def make_sheets(scene: Path, folder: Path, *, count: int, side: int, empty: bool = False) -> Path:
    """Write files side by side in rows of as many as there are rows.

    Args:
        scene: Folder with an aerial raster and, if the model takes one, a series.
        folder: Where the files go; what is there is removed.
        count: Files.
        side: Side of a file, in pixels.
        empty: Write headers without pixels.

    Returns:
        `folder`, which `segx infer` takes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open_raster(scene / SCENE_AERIAL) as source:
        pixels = None if empty else source.read()
        first = Grid(source.shape, source.transform, source.crs)
        names, kind = source.descriptions, source.dtypes[0]
    profile = {
        "driver": "GTiff",
        "count": len(names),
        "height": side,
        "width": side,
        "dtype": kind,
        "crs": first.crs,
        "photometric": "minisblack",
        "alpha": "unspecified",
        "SPARSE_OK": empty,
        **({"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK} if side > BLOCK else {}),
    }
    header = b""
    across = math.ceil(math.sqrt(count))
    for name, row, col in side_by_side(count, side):
        place = first.crop(row, col, side, side).transform
        path = folder / name
        if header:
            path.write_bytes(header.replace(_corner(first.transform), _corner(place)))
            continue
        with rasterio.open(path, "w", transform=place, **profile) as target:
            target.descriptions = names
            if pixels is not None:
                rows, cols = (
                    reflected(start, side, size)
                    for start, size in zip((row, col), pixels.shape[1:], strict=True)
                )
                target.write(pixels[:, rows][:, :, cols])
        if empty:
            header = path.read_bytes()
    if not empty:
        make_series(scene, folder, first.crop(0, 0, -(-count // across) * side, across * side))
    return folder


def side_by_side(count: int, side: int) -> Iterator[tuple[str, int, int]]:
    """Lay files out in rows of as many as there are rows; yield name, first row and column."""
    across = math.ceil(math.sqrt(count))
    for down, right in (divmod(number, across) for number in range(count)):
        yield f"sheet_{down:04}_{right:04}.tif", down * side, right * side


def _corner(transform: Affine) -> bytes:
    """Coordinates of a corner as a header holds them; all else in two headers is the same."""
    return struct.pack("<2d", transform.c, transform.f)
