"""Huge scenes that take no room: an aerial file over and over, as GDAL's virtual rasters.

vrt       one virtual raster
mosaic    a folder of them, cut at every so many pixels, as aerial surveys are delivered
tif       one real file, tiled and compressed
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from rasterio.windows import Window

from runtime.grid import Grid
from tools.bench_peers.raster import BLOCK, make_raster, open_raster

KINDS = ("vrt", "mosaic", "tif")
TYPES = {"uint8": "Byte", "uint16": "UInt16"}


def make_scene(folder: Path, aerial: Path, side: int, *, kind: str, cut: int) -> Path:
    """Make a square scene.

    Args:
        folder: Where its files go; what is there is removed.
        aerial: The file that is repeated.
        side: Side of the scene, in pixels.
        kind: One of `KINDS`.
        cut: Side of the files of a mosaic, in pixels.

    Returns:
        What `segx infer` takes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if kind == "tif":
        return make_raster(folder / "aerial.tif", side, aerial)
    if kind == "vrt":
        return _write(folder / "aerial.vrt", aerial, Window(0, 0, side, side))
    for row in range(0, side, cut):
        for col in range(0, side, cut):
            window = Window(col, row, min(cut, side - col), min(cut, side - row))
            # GDAL looks at what is in a file; `segx infer` looks for *.tif in a folder.
            _write(folder / f"tile_{row:06}_{col:06}.tif", aerial, window)
    return folder


def _write(path: Path, aerial: Path, window: Window) -> Path:
    with open_raster(aerial) as source:
        root = Xml.Element("VRTDataset", _sides("raster{}Size", window.width, window.height))
        Xml.SubElement(root, "SRS").text = source.crs.to_wkt()
        grid = Grid(source.shape, source.transform, source.crs)
        place = grid.crop(window.row_off, window.col_off, window.height, window.width).transform
        Xml.SubElement(root, "GeoTransform").text = ", ".join(map(repr, place.to_gdal()))
        for band in range(1, source.count + 1):
            _add_band(root, source, band, window)
    Xml.ElementTree(root).write(path, encoding="utf-8")
    return path


def _add_band(root: Xml.Element, source: Any, band: int, window: Window) -> None:
    kind = TYPES[source.dtypes[band - 1]]
    blocks = _sides("block{}Size", BLOCK, BLOCK)
    element = Xml.SubElement(root, "VRTRasterBand", {"dataType": kind, "band": str(band), **blocks})
    Xml.SubElement(element, "Description").text = source.descriptions[band - 1]
    own = _sides("Raster{}Size", source.width, source.height) | {"DataType": kind}
    height, width = source.block_shapes[band - 1]
    own |= _sides("Block{}Size", width, height)
    for taken, put in repeats(window, source.height, source.width):
        part = Xml.SubElement(element, "SimpleSource")
        name = Xml.SubElement(part, "SourceFilename", {"relativeToVRT": "0", "shared": "1"})
        name.text = str(Path(source.name).resolve())
        Xml.SubElement(part, "SourceBand").text = str(band)
        Xml.SubElement(part, "SourceProperties", own)
        Xml.SubElement(part, "SrcRect", _box(taken))
        Xml.SubElement(part, "DstRect", _box(put))


def repeats(window: Window, height: int, width: int) -> Iterator[tuple[Window, Window]]:
    """Say what of a window comes from where, of a file that is repeated side by side.

    Args:
        window: Place on the endless raster of repetitions.
        height: Rows of the file.
        width: Columns of the file.

    Yields:
        Windows of the file, and where each goes, counted from the window's own corner.
    """
    for top, rows, put_row in _runs(window.row_off, window.height, height):
        for left, cols, put_col in _runs(window.col_off, window.width, width):
            yield Window(left, top, cols, rows), Window(put_col, put_row, cols, rows)


def _runs(start: int, length: int, period: int) -> Iterator[tuple[int, int, int]]:
    """First position in the file, length and first position in the window of every run."""
    done = 0
    while done < length:
        first = (start + done) % period
        run = min(period - first, length - done)
        yield first, run, done
        done += run


def _sides(name: str, width: int, height: int) -> dict[str, str]:
    return {name.format("X"): str(width), name.format("Y"): str(height)}


def _box(window: Window) -> dict[str, str]:
    names = {"xOff": "col_off", "yOff": "row_off", "xSize": "width", "ySize": "height"}
    return {name: str(getattr(window, key)) for name, key in names.items()}
