"""Read where things lie in a `.SAFE` product, in a folder or still in its zip.

NAME.SAFE/MTD_MSIL2A.xml                                    baseline, name, offset
    GRANULE/L2A_*/IMG_DATA/R10m/*_B02_10m.jp2               B02 B03 B04 B08
                           R20m/*_B05_20m.jp2               B05 B06 B07 B8A B11 B12
                           R20m/*_SCL_20m.jp2               scene classification
                  QI_DATA/MSK_CLDPRB_20m.jp2, MSK_SNWPRB_20m.jp2

Files may be GeoTIFFs in place of JPEG 2000. A zip is read in place; nothing is unpacked.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from runtime.errors import SatelliteError, brief
from runtime.products import parse_product
from runtime.radiometry import BASELINE_TAG, OFFSET_TAG, PRODUCT_TAG

from .product import Layers, Product, tile_of

METADATA = "MTD_MSIL2A.xml"
MOST_METADATA = 16 * 2**20
"""Bytes of metadata that are read at most."""
MOST_ENTRIES = 100_000
IMAGES = (".jp2", ".tif", ".tiff")

_BASELINE = re.compile(r"<PROCESSING_BASELINE>\s*(\d\d\.\d\d)\s*<")
_OFFSET = re.compile(r"<BOA_ADD_OFFSET[^<>]*>\s*(-?\d+)\s*<")
_SCALE = re.compile(r"<BOA_QUANTIFICATION_VALUE[^<>]*>\s*(\d+)\s*<")


def safe_folder(root: Path) -> Product:
    """Read a `.SAFE` folder.

    Raises:
        SatelliteError: If it is no Level-2A product, or its metadata cannot be understood.
    """
    images = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGES)
    files = {path.relative_to(root).as_posix(): str(path) for path in images}
    metadata = root / METADATA
    text = ""
    if metadata.is_file():
        try:
            with metadata.open("rb") as file:
                text = file.read(MOST_METADATA).decode("utf-8", errors="replace")
        except OSError as error:
            raise SatelliteError(
                f"{metadata} cannot be read ({brief(error)}); restore it"
            ) from error
    return _product(root.name, str(root), files, text)


def safe_zip(path: Path) -> list[Product]:
    """Read the `.SAFE` products in a zip; none where it holds something else.

    Raises:
        SatelliteError: If it is no zip, is damaged, or holds names that leave it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) > MOST_ENTRIES:
                raise SatelliteError(
                    f"{path} holds {len(names)} files; expected a Sentinel-2 product; leave it out"
                )
            _check_names(path, names)
            return [
                _product(
                    PurePosixPath(root).name,
                    f"{path}/{root}",
                    {
                        name[len(root) + 1 :]: f"/vsizip/{{{path}}}/{name}"
                        for name in sorted(names)
                        if name.startswith(root + "/") and name.lower().endswith(IMAGES)
                    },
                    _read_text(archive, f"{root}/{METADATA}", names),
                )
                for root in _roots(names)
            ]
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise SatelliteError(
            f"{path} cannot be read as a zip ({brief(error)}); expected a whole Sentinel-2 "
            "product; fetch it again"
        ) from error


def _roots(names: Iterable[str]) -> list[str]:
    roots = set()
    for name in names:
        parts = PurePosixPath(name).parts
        for depth, part in enumerate(parts[:-1], start=1):
            if part.upper().endswith(".SAFE"):
                roots.add("/".join(parts[:depth]))
    return sorted(roots)


def _check_names(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name:
            raise SatelliteError(
                f"{path} holds the name {name[:60]!r}, which leaves it; expected names below "
                "NAME.SAFE/; do not use this file"
            )


def _read_text(archive: zipfile.ZipFile, name: str, names: Iterable[str]) -> str:
    if name not in names:
        return ""
    with archive.open(name) as file:
        return file.read(MOST_METADATA).decode("utf-8", errors="replace")


def _product(name: str, where: str, files: dict[str, str], metadata: str) -> Product:
    if "MSIL1C" in name:
        raise SatelliteError(
            f"{where} is a Level-1C product, without atmospheric correction; expected Level-2A "
            "(MSIL2A); fetch that"
        )
    day, _ = parse_product(name, where=where)
    layers = Layers()
    for inner, path in files.items():
        if "/IMG_DATA/" in f"/{inner}" or "/QI_DATA/" in f"/{inner}":
            # The granule's folder names a tile and a day, and no band; only the last parts count.
            layers.add("/".join(PurePosixPath(inner).parts[-2:]), path)
    return Product(
        name=where,
        day=day,
        tile=tile_of(name),
        layers=layers.paths,
        tags=_tags(metadata, where) | {PRODUCT_TAG: name},
    )


def _tags(metadata: str, where: str) -> dict[str, str]:
    """Read baseline and offset; the offset per band decides where metadata hold it."""
    scale = _SCALE.search(metadata)
    if scale is not None and int(scale.group(1)) != 10_000:
        raise SatelliteError(
            f"{where} counts {scale.group(1)} digital numbers per unit of reflectance; expected "
            "10000; use another product"
        )
    tags = {}
    baseline = _BASELINE.search(metadata)
    if baseline is not None:
        tags[BASELINE_TAG] = baseline.group(1)
    offsets = set(_OFFSET.findall(metadata))
    if offsets:
        if offsets not in ({"0"}, {"-1000"}):
            raise SatelliteError(
                f"{where} has the offsets {', '.join(sorted(offsets))}; expected -1000 or 0 for "
                "all bands; use another product"
            )
        tags[OFFSET_TAG] = "1000" if offsets == {"-1000"} else "0"
    return tags
