"""Which raster files are opened, and what they may lead to: local files of a few formats.

GDAL reads some 150 formats, several of which are lists of other files or of web services. An image
from elsewhere must not choose the reader, nor send this machine to an address, so files are told by
their first bytes, and all that they lead to is looked at in the same way before GDAL reads it:

    GeoTIFF, JPEG 2000, JPEG, PNG, ASCII grid   opened
    VRT                   opened if all that it names are such files on local disks
    anything else         refused
    .msk and .ovr beside  opened if they are GeoTIFFs
"""

import warnings
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from .errors import DataError, brief
from .virtual_rasters import named_files

FORMATS = "a GeoTIFF, JPEG 2000, JPEG, PNG, Arc/Info ASCII grid or VRT"

STARTS: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"ncols", "AAIGrid"),
)
"""GDAL's drivers by what a file begins with."""

DRIVERS = frozenset({"VRT", *(driver for _, driver in STARTS)})

LOCAL_ONLY = {"CPL_VSIL_CURL_ALLOWED_FILENAME": ""}
"""GDAL's setting with which no file is fetched from anywhere: no name is allowed."""

EXACT_NAMES = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
"""With which GDAL looks for files beside an image by the names that are looked at here."""

NOTHING_BESIDE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

SIDE_IMAGES = (".msk", ".MSK", ".ovr", ".OVR")
"""Endings of images that GDAL takes for the mask or the overviews of another one."""

MOST_NESTED = 4
"""VRTs within VRTs."""

MOST_SIDE_PX = 10_000_000
"""Pixels on a side; France at 0.2 m has half of that."""

MOST_BLOCK_BYTES = 2 << 30
"""What GDAL takes in memory to decode one block, which may be a whole strip of a large image."""

_HEAD_BYTES = 2048
"""GDAL tells formats by the first 1024."""


def open_raster(path: Path, *, drivers: Collection[str] = DRIVERS) -> Any:
    """Open a local raster with GDAL.

    Args:
        path: File; see the top for what it may be.
        drivers: Those of GDAL's that may open it.

    Returns:
        The open dataset of rasterio.

    Raises:
        DataError: If the file is missing, of another format, leads elsewhere, has blocks that are
            too large to decode, or sides beyond all measure.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there; expected a raster; check the path")
    driver = _driver(path)
    if driver not in drivers:
        raise DataError(
            f"{path} is read by GDAL's driver {driver}; expected {' or '.join(sorted(drivers))}; "
            "convert it: gdal_translate"
        )
    if driver == "VRT":
        _check_vrt(path, _version(path))
    return _open(path, driver)


def open_named(name: str, driver: str, *, local: bool) -> Any:
    """Open a raster by a name that only GDAL knows, and nothing that lies beside it.

    Args:
        name: Such as `/vsizip/{FILE}/MEMBER`.
        driver: GDAL's driver.
        local: Whether nothing may be fetched from elsewhere.

    Raises:
        DataError: As `open_raster`.
    """
    return _opened(name, driver, NOTHING_BESIDE | (LOCAL_ONLY if local else {}))


def _open(path: Path, driver: str) -> Any:
    """Open a file whose format is known, after the images that GDAL takes from beside it."""
    for ending in SIDE_IMAGES:
        side = path.with_name(path.name + ending)
        if _is_file(side):
            found = _driver(side)
            if found != "GTiff":
                raise DataError(
                    f"{side} is read by GDAL's driver {found}; expected a GeoTIFF, as masks and "
                    "overviews of an image are; remove it, or make it anew: gdaladdo -ro"
                )
            _open(side, found).close()
    for side in (path.with_suffix(".aux"), path.with_name(path.name + ".aux")):
        if _is_file(side) and _poses_as_vrt(_head(side)):
            raise DataError(
                f"{side} holds a VRT; expected statistics of {path.name}; remove it, as it was "
                "made to mislead"
            )
    return _opened(path, driver, LOCAL_ONLY | EXACT_NAMES)


def _opened(name: Path | str, driver: str, settings: dict[str, str]) -> Any:
    try:
        with warnings.catch_warnings(), rasterio.Env(**settings):
            # What a file without a place needs, its reader knows and says better.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(name, driver=driver)
    except RasterioError as error:
        raise DataError(
            f"{name} cannot be opened as a raster ({brief(error)}); expected {FORMATS}; "
            "replace the file"
        ) from error
    try:
        _check_dataset(name, dataset)
    except DataError:
        dataset.close()
        raise
    return dataset


def _driver(path: Path) -> str:
    """Tell a file's format by its first bytes."""
    head = _head(path)
    if _poses_as_vrt(head):
        return "VRT"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, driver in STARTS:
        if head.startswith(start) or text.startswith(start):
            return driver
    raise DataError(
        f"{path} cannot be opened as a raster (it begins with {head[:8]!r}); expected {FORMATS}; "
        "replace the file, or convert it: gdal_translate"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({brief(error)}); expected {FORMATS}; check its permissions"
        ) from error


def _poses_as_vrt(head: bytes) -> bool:
    """Whether GDAL would take a file for a VRT, which it does whatever stands before."""
    return b"<VRTDataset" in head.partition(b"\0")[0]


def _check_dataset(name: Path | str, dataset: Any) -> None:
    if max(dataset.shape) > MOST_SIDE_PX:
        raise DataError(
            f"{name} says it has {dataset.height} x {dataset.width} px; expected {MOST_SIDE_PX} on "
            "a side at most; replace the file, or cut it: gdal_translate -srcwin"
        )
    overviews = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    if overviews:
        raise DataError(
            f"{name} names {overviews!r} as its overviews; expected them in the file or in "
            f"{Path(name).name}.ovr; remove the entry OVERVIEW_FILE of its metadata"
        )
    sizes = zip(dataset.block_shapes, dataset.dtypes, strict=True)
    block = max(rows * cols * _item_bytes(dtype) for (rows, cols), dtype in sizes)
    interleaved = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    if block * interleaved > MOST_BLOCK_BYTES:
        rows, cols = dataset.block_shapes[0]
        raise DataError(
            f"{name} is stored in blocks of {rows} x {cols} px, {block * interleaved / 2**30:.1f} "
            f"GiB each; expected {MOST_BLOCK_BYTES / 2**30:g} GiB at most; write it anew in tiles: "
            "gdal_translate -co TILED=YES"
        )


def _item_bytes(dtype: str) -> int:
    """Bytes of a value; 16 for types of GDAL that NumPy does not know."""
    sizes = {"8": 1, "16": 2, "32": 4, "64": 8}
    return sizes.get(dtype.lstrip("uintfloa"), 16)


def _version(path: Path) -> tuple[int, int]:
    """What changes when a file is changed."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4096)
def _check_vrt(path: Path, version: tuple[int, int]) -> None:
    """Look at all that a VRT names, and all VRTs within; `version` does so anew for a changed one.

    Raises:
        DataError: If one is missing, or not to be opened.
    """
    reached: dict[Path, int] = {}
    _check_sources(path, (path,), reached)


def _check_sources(path: Path, above: tuple[Path, ...], reached: dict[Path, int]) -> None:
    if len(above) > MOST_NESTED:
        names = " > ".join(each.name for each in above)
        raise DataError(
            f"{above[0]} is a VRT of VRTs ({names}); expected {MOST_NESTED} within each other at "
            "most, none within itself; make one VRT of the images: gdalbuildvrt"
        )
    for source in named_files(path):
        if reached.get(source, 0) >= len(above):
            continue
        reached[source] = len(above)
        if not _is_file(source):
            raise DataError(
                f"{path} names {str(source)[:200]!r}, which is not there; expected a local raster; "
                "mend the VRT"
            )
        if _driver(source) == "VRT":
            _check_sources(source, (*above, source), reached)
        else:
            _check_source(source, _version(source))


@lru_cache(maxsize=4096)
def _check_source(path: Path, version: tuple[int, int]) -> None:
    _open(path, _driver(path)).close()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
