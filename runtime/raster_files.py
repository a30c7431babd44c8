"""Which raster files are opened, and what they may lead to: local files of a few formats.

GDAL reads some 150 formats, several of which are lists of other files or of web services. An image
from elsewhere must not choose the reader, nor send this machine to an address, so files are told by
their first bytes, and a virtual raster (VRT) is read for what it names before GDAL sees it:

    GeoTIFF, JPEG 2000, JPEG, PNG, ASCII grid   opened
    VRT                   opened if all that it names are such files on local disks
    anything else         refused
"""

import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from .errors import DataError, brief

FORMATS = "a GeoTIFF, JPEG 2000, JPEG, PNG, Arc/Info ASCII grid or VRT"

DRIVERS: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"ncols", "AAIGrid"),
    (b"<VRTDataset", "VRT"),
)
"""GDAL's drivers by what a file begins with."""

LOCAL_ONLY = {"CPL_VSIL_CURL_ALLOWED_FILENAME": ""}
"""GDAL's setting with which no file is fetched from anywhere: no name is allowed."""

SOURCES = frozenset({"SourceFilename", "SourceDataset"})
"""Elements of a VRT that name a raster."""

MOST_VRT_BYTES = 64 << 20
"""A VRT of 50 000 sheets has half of that."""

MOST_NESTED = 4
"""VRTs within VRTs."""

MOST_BLOCK_BYTES = 2 << 30
"""What GDAL takes in memory to decode one block, which may be a whole strip of a large image."""

_XML = b"<?xml"


def open_raster(path: Path) -> Any:
    """Open a local raster with GDAL.

    Args:
        path: File; see the top for what it may be.

    Returns:
        The open dataset of rasterio.

    Raises:
        DataError: If the file is missing, of another format, leads elsewhere, or has blocks that
            are too large to decode.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there; expected a raster; check the path")
    driver = _driver(path)
    if driver == "VRT":
        status = path.stat()
        _check_vrt(path, (status.st_mtime_ns, status.st_size))
    try:
        with warnings.catch_warnings(), rasterio.Env(**LOCAL_ONLY):
            # What a file without a place needs, its reader knows and says better.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path, driver=driver)
    except RasterioError as error:
        raise DataError(
            f"{path} cannot be opened as a raster ({brief(error)}); expected {FORMATS}; "
            "replace the file"
        ) from error
    try:
        _check_dataset(path, dataset)
    except DataError:
        dataset.close()
        raise
    return dataset


def _driver(path: Path) -> str:
    """Tell a file's format by its first bytes."""
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({brief(error)}); expected {FORMATS}; check its permissions"
        ) from error
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(_XML):
        text = text.partition(b"?>")[2].lstrip()
    for start, driver in DRIVERS:
        if head.startswith(start) or text.startswith(start) or text.lower().startswith(start):
            return driver
    raise DataError(
        f"{path} cannot be opened as a raster (it begins with {head[:8]!r}); expected {FORMATS}; "
        "replace the file, or convert it: gdal_translate"
    )


def _check_dataset(path: Path, dataset: Any) -> None:
    overviews = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    if overviews:
        raise DataError(
            f"{path} names {overviews!r} as its overviews; expected them in the file or in "
            f"{path.name}.ovr; remove the entry OVERVIEW_FILE of its metadata"
        )
    sizes = zip(dataset.block_shapes, dataset.dtypes, strict=True)
    block = max(rows * cols * _item_bytes(dtype) for (rows, cols), dtype in sizes)
    interleaved = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    if block * interleaved > MOST_BLOCK_BYTES:
        rows, cols = dataset.block_shapes[0]
        raise DataError(
            f"{path} is stored in blocks of {rows} x {cols} px, {block * interleaved / 2**30:.1f} "
            f"GiB each; expected {MOST_BLOCK_BYTES / 2**30:g} GiB at most; write it anew in tiles: "
            "gdal_translate -co TILED=YES"
        )


def _item_bytes(dtype: str) -> int:
    """Bytes of a value; 16 for types of GDAL that NumPy does not know."""
    sizes = {"8": 1, "16": 2, "32": 4, "64": 8}
    return sizes.get(dtype.lstrip("uintfloa"), 16)


@lru_cache(maxsize=256)
def _check_vrt(path: Path, version: tuple[int, int]) -> None:
    """Read what a VRT names, and all VRTs within; `version` makes that anew for a changed file."""
    for source in _named_files(path, (path,)):
        if not _is_file(source):
            raise DataError(
                f"{path} names {str(source)[:200]!r}, which is not there; expected a local raster; "
                "mend the VRT"
            )
        _driver(source)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _named_files(path: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    if len(above) > MOST_NESTED:
        names = " > ".join(each.name for each in above)
        raise DataError(
            f"{above[0]} is a VRT of VRTs ({names}); expected {MOST_NESTED} within each other at "
            "most, none within itself; make one VRT of the images: gdalbuildvrt"
        )
    for source in _sources(path):
        yield source
        if _is_file(source) and _driver(source) == "VRT":
            yield from _named_files(source, (*above, source))


def _sources(path: Path) -> set[Path]:
    """Files that a VRT names, itself.

    Raises:
        DataError: If it is too large, no XML, or names something else than files.
    """
    if path.stat().st_size > MOST_VRT_BYTES:
        raise DataError(
            f"{path} has {path.stat().st_size / 2**20:.0f} MiB; expected a VRT of "
            f"{MOST_VRT_BYTES >> 20} MiB at most; make several"
        )
    try:
        content = path.read_bytes()
        if b"<!DOCTYPE" in content:
            raise ValueError("it declares a document type")
        root = ElementTree.fromstring(content)
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as XML ({brief(error)}); expected a VRT of GDAL; make it anew: "
            "gdalbuildvrt"
        ) from error
    found = set()
    for node in _apart_from_metadata(root):
        texts = [node.text or "", *node.attrib.values()]
        for text in texts:
            if "/vsi" in text or "://" in text or text.lstrip().startswith("<"):
                raise DataError(
                    f"{path} leads to {text.strip()[:80]!r}; expected local files alone; fetch "
                    "what it names, and make a VRT of that"
                )
        if node.tag in SOURCES:
            name = (node.text or "").strip()
            relative = node.get("relativeToVRT", "0").strip() not in ("0", "false", "")
            found.add(Path(os.path.normpath(path.parent / name if relative else Path(name))))
    return found


def _apart_from_metadata(node: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Walk through a VRT; its metadata is text for people, which may hold addresses."""
    if node.tag == "Metadata":
        return
    yield node
    for child in node:
        yield from _apart_from_metadata(child)
