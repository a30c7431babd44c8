"""Bring files of one band each together as products: all of one day and tile in one folder.

    T33UWS_20210619T100031_B02_10m.jp2      the day and the band in the name
    2021-06-19/B02.tif                      or the day in the name of the folder

`SCL`, `MSK_CLDPRB` and `MSK_SNWPRB` are taken where they are there.
"""

import datetime
import re
from pathlib import Path

from runtime.errors import SatelliteError
from runtime.products import parse_day, product_baseline
from runtime.radiometry import PRODUCT_TAG

from .product import Layers, Product, layer_of, tile_of
from .safe import IMAGES

_DAY = re.compile(r"(?<!\d)(20\d{2})-?(\d{2})-?(\d{2})(?!\d)")


def band_products(root: Path, files: list[Path]) -> list[Product]:
    """Group files of one band each.

    Args:
        root: Folder that was named.
        files: What lies below it and belongs to nothing else.

    Raises:
        SatelliteError: If a file of a band names no day.
    """
    groups: dict[tuple[Path, datetime.date, str], Layers] = {}
    for path in files:
        if path.suffix.lower() not in IMAGES or layer_of(path.name) is None:
            continue
        inner = path.relative_to(root).as_posix()
        found = _DAY.search(path.name) or _DAY.search(inner)
        if found is None:
            raise SatelliteError(
                f"{path} names a band and no day; expected YYYYMMDD in the name of the file or of "
                "its folder; rename it"
            )
        day = parse_day("".join(found.groups()), where=str(path))
        resolution = path.parent.name in ("R10m", "R20m", "R60m")
        folder = path.parent.parent if resolution else path.parent
        key = (folder, day, tile_of(path.name) or tile_of(folder.name))
        name = f"{path.parent.name}/{path.name}" if resolution else path.name
        groups.setdefault(key, Layers()).add(name, str(path))
    return [
        Product(
            name=f"{folder} of {day}", day=day, tile=tile, layers=layers.paths, tags=_tags(folder)
        )
        for (folder, day, tile), layers in groups.items()
    ]


def _tags(folder: Path) -> dict[str, str]:
    """Keep the name of the product where the folder has it."""
    return {} if product_baseline(folder.name) is None else {PRODUCT_TAG: folder.name}
