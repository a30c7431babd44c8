"""Read the attribute table that lies beside a map, as GDAL keeps it."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One value of a map."""

    value: int
    name: str
    rgb: tuple[int, int, int]
    pixels: int
    area_m2: float
    area_ha: float


def read_table(path: Path) -> list[Row]:
    """Read what `NAME.tif.aux.xml` says of `NAME.tif`."""
    root = ET.parse(path.with_name(f"{path.name}.aux.xml")).getroot()
    return [_row([cell.text or "" for cell in row.iter("F")]) for row in root.iter("Row")]


def _row(cells: list[str]) -> Row:
    value, name, red, green, blue, pixels, m2, ha = cells
    rgb = int(red), int(green), int(blue)
    return Row(int(value), name, rgb, int(float(pixels)), float(m2), float(ha))
