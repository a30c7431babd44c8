"""Read STAC items of Sentinel-2 Level-2A, as files on disk or from a catalogue.

Assets are known by their key (`B02`, `B02_10m`, `blue`, `SCL`, `scl`, `cloud`), as the public
catalogues have them. Earth Search takes the offset off and says so
(`earthsearch:boa_offset_applied`); where it says that it did not, it did so for some items all the
same, and nothing of the item decides. Of other catalogues the processing baseline does.
"""

import datetime
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import SatelliteError
from runtime.jsonfile import read_json
from runtime.radiometry import BASELINE_TAG, OFFSET_TAG, PRODUCT_TAG, tagged_offset

from .product import Layers, Product, layer_of

COMMON = {
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "swir16": "B11",
    "swir22": "B12",
    "scl": "SCL",
    "cloud": "CLDPRB",
    "snow": "SNWPRB",
}
"""Common names of assets."""

MOST_BYTES = 16 * 2**20
_BASELINE = re.compile(r"\d{2}\.\d{2}")

Locate = Callable[[str], str | None]
"""From the address of an asset to what GDAL opens; None for one that is passed over."""


def item_file(path: Path, root: Path) -> Product | None:
    """Read a STAC item on disk; None for another JSON file.

    Raises:
        SatelliteError: If it is one and an asset is not on disk below `root`, or it lacks a date.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        return None
    expected = "a STAC item; restore it or leave it out"
    item = read_json(path, expected=expected, error=SatelliteError)
    if not isinstance(item, Mapping) or item.get("type") != "Feature" or "assets" not in item:
        return None

    def locate(href: str) -> str:
        if "://" in href or href.startswith("/vsi"):
            raise SatelliteError(
                f"{path} has the asset {href[:80]!r}, which is not on disk; expected files beside "
                "the item; fetch them first, or use `segx satellite AERIAL --year Y`"
            )
        target = (path.parent / href).resolve()
        if not target.is_relative_to(root.resolve()):
            raise SatelliteError(
                f"{path} has the asset {href[:80]!r}, which lies outside {root}; expected files "
                "below it; move them there"
            )
        return str(target)

    return item_product(item, str(path), locate)


def item_product(item: Mapping[str, Any], where: str, locate: Locate) -> Product:
    """Turn a STAC item into a product.

    Args:
        item: The item.
        where: Its name for messages.
        locate: Says what GDAL opens for an asset.

    Raises:
        SatelliteError: If it names no day, or no asset has an address.
    """
    properties = item.get("properties")
    said: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    try:
        day = datetime.date.fromisoformat(str(said.get("datetime"))[:10])
    except ValueError as error:
        raise SatelliteError(
            f"{where} has the datetime {str(said.get('datetime'))[:30]!r}; expected one such as "
            "2021-06-19T10:00:31Z; mend the item"
        ) from error
    layers, assets = Layers(), item.get("assets")
    for key, asset in assets.items() if isinstance(assets, Mapping) else ():
        href = asset.get("href") if isinstance(asset, Mapping) else None
        name = COMMON.get(str(key).lower(), str(key))
        if isinstance(href, str) and href and layer_of(name) is not None:
            path = locate(href)
            if path is not None:
                layers.add(name, path)
    return Product(
        name=where, day=day, tile=_tile(said), layers=layers.paths, tags=_tags(item, said, where)
    )


def _tile(said: Mapping[str, Any]) -> str:
    tile = str(said.get("s2:mgrs_tile") or said.get("grid:code") or "")
    return tile.removeprefix("MGRS-").removeprefix("T")


def _tags(item: Mapping[str, Any], said: Mapping[str, Any], where: str) -> dict[str, str]:
    """Keep what tells the radiometric offset; nothing where that may be wrong."""
    baseline = said.get("s2:processing_baseline") or said.get("processing:version")
    name = said.get("s2:product_uri") or item.get("id")
    tags = {PRODUCT_TAG: str(name)} if name else {}
    if _BASELINE.fullmatch(str(baseline)):
        tags[BASELINE_TAG] = str(baseline)
    applied = said.get("earthsearch:boa_offset_applied")
    if applied is True:
        return tags | {OFFSET_TAG: "0"}
    offset = tagged_offset(tags, where=where)
    is_doubtful = applied is False and offset is not None and offset.dn > 0
    return {} if is_doubtful else tags
