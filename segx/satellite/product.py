"""One Sentinel-2 Level-2A product: where its bands and masks lie, and what it says of itself."""

import datetime
import re
from dataclasses import dataclass, field

from runtime.errors import BandError, SatelliteError
from runtime.radiometry import Offset, tagged_offset
from runtime.satellite import BANDS

BAND = re.compile(r"(?<![A-Za-z0-9])(B0[2-8]|B8A|B11|B12)(?![A-Za-z0-9])")
"""A band in the name of a file or asset."""
RESOLUTION = re.compile(r"(?<![A-Za-z0-9])R?(10|20|60)m(?![A-Za-z0-9])")
TILE = re.compile(r"(?<![A-Za-z0-9])T(\d{2}[A-Z]{3})(?![A-Za-z0-9])")

OTHER_MASK = re.compile(r"(?<![A-Za-z0-9])MSK(?![A-Za-z0-9])")

CLOUD, SNOW, CLASSES = "cloud", "snow", "classes"
EXTRAS = {
    CLOUD: re.compile(r"(?<![A-Za-z0-9])(CLDPRB|CLD)(?![A-Za-z0-9])"),
    SNOW: re.compile(r"(?<![A-Za-z0-9])(SNWPRB|SNW)(?![A-Za-z0-9])"),
    CLASSES: re.compile(r"(?<![A-Za-z0-9])SCL(?![A-Za-z0-9])"),
}
"""Probabilities of cloud and snow and the scene classification, in names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product, or what was kept of one."""

    name: str
    """Where it lies, for messages."""
    day: datetime.date
    tile: str
    """MGRS tile such as 33UWS; empty where nothing names it."""
    layers: dict[str, str]
    """What GDAL opens for each band, and for `cloud`, `snow` and `classes` where they are there."""
    tags: dict[str, str] = field(default_factory=dict)
    """Baseline, name and offset as the series keeps them (see `runtime.radiometry`)."""

    @property
    def offset(self) -> Offset | None:
        """Radiometric offset by metadata; None where nothing says it."""
        return tagged_offset(self.tags, where=self.name)

    def check_bands(self) -> None:
        """Check that no band is missing.

        Raises:
            BandError: Naming those that are.
        """
        missing = [band for band in BANDS if band not in self.layers]
        if missing:
            raise BandError(
                f"{self.name} lacks {', '.join(missing)}; expected {', '.join(BANDS)} at 10 or "
                "20 m; complete the product, or leave it out"
            )


class Layers:
    """Gathers the layers of a product, of every band the finest."""

    def __init__(self) -> None:
        """Begin with none."""
        self.paths: dict[str, str] = {}
        self._resolution: dict[str, int] = {}

    def add(self, name: str, path: str) -> None:
        """Take a file or asset if its name says what it is; 60 m is too coarse for any band."""
        layer = layer_of(name)
        found = RESOLUTION.search(name.replace("_", " ").replace("/", " "))
        resolution = 0 if found is None else int(found.group(1))
        if layer is None or resolution == 60:
            return
        if layer not in self.paths or resolution < self._resolution[layer]:
            self.paths[layer], self._resolution[layer] = path, resolution


def layer_of(name: str) -> str | None:
    """Tell what a file or asset of this name holds; None for something else."""
    words = name.replace("_", " ")
    for layer, pattern in EXTRAS.items():
        if pattern.search(words):
            return layer
    band = BAND.search(words)
    # Other masks are of one band each, and bear its name.
    return None if band is None or OTHER_MASK.search(words) else band.group(1)


def tile_of(name: str) -> str:
    """Read the MGRS tile from a name; empty without one."""
    found = TILE.search(name.replace("_", " "))
    return "" if found is None else found.group(1)


def choose(products: list[Product]) -> tuple[dict[datetime.date, list[Product]], list[Product]]:
    """Keep one product per day and tile, that of the latest baseline.

    Returns:
        Products by day, in order of time, and those that are left out.

    Raises:
        SatelliteError: If products of one day that are kept differ in their offset.
    """
    ranked = sorted(products, key=lambda item: (item.day, item.tile, _rank(item)), reverse=True)
    chosen: dict[tuple[datetime.date, str], Product] = {}
    left_out = []
    for product in ranked:
        first = chosen.setdefault((product.day, product.tile), product)
        if first is not product:
            left_out.append(product)
    days: dict[datetime.date, list[Product]] = {}
    for (day, _), product in sorted(chosen.items()):
        days.setdefault(day, []).append(product)
    for day, of_day in days.items():
        if len({item.offset for item in of_day}) > 1:
            raise SatelliteError(
                f"{', '.join(item.name for item in of_day)} are of {day} and differ in their "
                "radiometric offset; expected one processing baseline per day; leave one out"
            )
    return days, left_out


def _rank(product: Product) -> tuple[str, str]:
    return product.tags.get("PROCESSING_BASELINE", ""), product.name
