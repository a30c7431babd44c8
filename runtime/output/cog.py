"""Bring a map's raw file into its final form: a Cloud Optimized GeoTIFF.

GDAL's COG driver copies from virtual rasters (VRT) that describe the raw file: one for the map and
one for each overview, so nothing is computed again.
"""

import threading
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..grid import Grid
from ..heap import trim
from .disk import sync
from .kinds import BLOCK, NODATA, MapKind, MapTags
from .spool import Level, Spool

CACHE_BYTES = 16 * 2**20
"""Bound of GDAL's block cache during a copy; it holds for the whole process."""
FAILURES = (RasterioError, CPLE_BaseError, OSError)
"""What a copy that fails raises."""
_DEFLATE = {
    "mode": {"LEVEL": 5, "PREDICTOR": "NO"},
    "average": {"LEVEL": 1, "PREDICTOR": "YES"},
}
"""From level 1 to 5 class maps shrink by 30 %, probabilities by 5 %; differences of neighbours take
27 % off probabilities and nothing off class maps."""


def write_cog(spool: Spool, grid: Grid, kind: MapKind, tags: MapTags, target: Path) -> None:
    """Copy a complete map into a Cloud Optimized GeoTIFF and wait until the disk holds it.

    Args:
        spool: The map and its overviews.
        grid: Grid of the map.
        kind: What it holds.
        tags: Its tags.
        target: The file to write; what it held before is lost.

    Raises:
        RasterioError: If it cannot be written; `FAILURES` lists what else is raised then.
    """
    # GDAL keeps, for each thread, the name of every virtual raster that it has looked into.
    name = f"view-{threading.get_native_id()}"
    views = [spool.path.with_name(f"{name}.{number}.vrt") for number in range(len(spool.levels))]
    try:
        for view, level in zip(views[1:], spool.levels[1:], strict=True):
            _save(view, _view(spool, level))
        _save(views[0], _map_view(spool, grid, kind, tags, views[1:]))
        target.unlink(missing_ok=True)
        trim()
        # rasterio takes the number as bytes, other than GDAL; nothing beside the map is listed.
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            rasterio.shutil.copy(
                str(views[0]),
                str(target),
                driver="COG",
                COMPRESS="DEFLATE",
                **_DEFLATE[kind.overviews],
                NUM_THREADS="ALL_CPUS",
                BLOCKSIZE=BLOCK,
                OVERVIEWS="FORCE_USE_EXISTING",
                BIGTIFF="IF_SAFER",
            )
            _check(target, spool)
        sync(target)
    finally:
        for view in views:
            view.unlink(missing_ok=True)


def _check(target: Path, spool: Spool) -> None:
    """Read the copy's last block: GDAL writes a file's end on closing and hides errors then."""
    with rasterio.open(target) as copy:
        row, col = ((size - 1) // BLOCK * BLOCK for size in copy.shape)
        copy.read(window=Window(col, row, copy.width - col, copy.height - row))
        if len(copy.overviews(1)) != len(spool.levels) - 1:
            raise RasterioError(f"GDAL left out overviews of {target.name}")


def _map_view(
    spool: Spool, grid: Grid, kind: MapKind, tags: MapTags, overviews: Sequence[Path]
) -> ET.Element:
    """Describe the map with its place, tags, colours and overviews."""
    view = _view(spool, spool.levels[0])
    a, b, c, d, e, f = grid.transform[:6]
    _add(view, "SRS", grid.crs.to_wkt())
    _add(view, "GeoTransform", ", ".join(repr(float(value)) for value in (c, a, b, f, d, e)))
    _add_tags(view, tags.file)
    for number, (band, text) in enumerate(zip(view.iter("VRTRasterBand"), kind.bands, strict=True)):
        _add(band, "Description", text)
        if number == 0:
            _add_tags(band, kind.band_tags or tags.band)
        if kind.classes:
            _add_colors(band, [item.rgb for item in kind.classes])
        for overview in overviews:
            node = ET.SubElement(band, "Overview")
            _add(node, "SourceFilename", overview.name, relativeToVRT="1")
            _add(node, "SourceBand", str(number + 1))
    return view


def _view(spool: Spool, level: Level) -> ET.Element:
    """Describe where the bands of the map or an overview lie in the raw file."""
    height, width = level.shape
    view = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    for number in range(spool.bands):
        band = ET.SubElement(
            view,
            "VRTRasterBand",
            dataType="Byte",
            band=str(number + 1),
            subClass="VRTRawRasterBand",
        )
        _add(band, "NoDataValue", str(NODATA))
        _add(band, "SourceFilename", spool.path.name, relativeToVRT="1")
        _add(band, "ImageOffset", str(level.offset + number * width))
        _add(band, "PixelOffset", "1")
        _add(band, "LineOffset", str(spool.bands * width))
    return view


def _add_colors(band: ET.Element, colors: Sequence[tuple[int, int, int]]) -> None:
    _add(band, "ColorInterp", "Palette")
    table = ET.SubElement(band, "ColorTable")
    for red, green, blue in colors:
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4="255")


def _add_tags(parent: ET.Element, tags: Mapping[str, str]) -> None:
    node = ET.SubElement(parent, "Metadata")
    for key, text in tags.items():
        _add(node, "MDI", text, key=key)


def _add(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text


def _save(path: Path, view: ET.Element) -> None:
    path.write_text(ET.tostring(view, encoding="unicode"), encoding="utf-8")
