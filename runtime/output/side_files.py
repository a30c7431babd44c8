"""Files beside a map of classes, from which a GIS takes names, colours, counts and areas.

    NAME.tif.aux.xml    attribute table, for QGIS and whatever else reads through GDAL
    NAME.tif.vat.dbf    the same table, for ArcGIS
    NAME.qml            style: QGIS takes the file of the map's name by itself

Names of columns and codes of their meaning are those of GDAL's raster attribute tables; a DBF names
its columns in at most ten capitals.

Reference: GDAL data model, raster attribute table, https://gdal.org/user/raster_data_model.html.
"""

import struct
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..classes import LandCoverClass
from ..grid import Grid

M2_PER_HA = 10_000
_INTEGER, _REAL, _TEXT = range(3)
"""GDAL's types of columns."""
_COLUMNS = (
    ("Value", _INTEGER, 5),
    ("Class_Name", _TEXT, 2),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
    # As a number with a point: whole ones end at 2^31 there.
    ("Count", _REAL, 1),
    ("Area_m2", _REAL, 0),
    ("Area_ha", _REAL, 0),
)
"""Name, type and meaning of each column."""
_WIDTHS = {_INTEGER: (10, 0), _REAL: (20, 2), _TEXT: (64, 0)}
"""Characters and digits behind the point, in a DBF."""
_ANSI = "cp1252"
_DAY = (70, 1, 1)
"""A DBF names the day of its last change; with this one, the same map always has the same file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One value of a map."""

    value: int
    kind: LandCoverClass
    pixels: int
    area_m2: float
    """On the plane of the map's CRS."""

    @property
    def cells(self) -> tuple[int | float | str, ...]:
        """What stands in the columns."""
        m2, ha = round(self.area_m2, 4), round(self.area_m2 / M2_PER_HA, 8)
        return self.value, self.kind.name, *self.kind.rgb, self.pixels, m2, ha


def count_table(
    classes: Sequence[LandCoverClass], counts: NDArray[np.int64], grid: Grid
) -> list[TableRow]:
    """Make the attribute table of a map.

    Args:
        classes: What each value means, from 0 on.
        counts: Pixels of each value, shape (256,).
        grid: Grid of the map.
    """
    pixel_m2 = grid.resolution_m**2
    return [
        TableRow(value=value, kind=kind, pixels=int(count), area_m2=int(count) * pixel_m2)
        for value, (kind, count) in enumerate(zip(classes, counts[: len(classes)], strict=True))
    ]


def side_names(name: str) -> tuple[str, str, str]:
    """Names of the files beside a map, whose own is NAME.tif."""
    return f"{name}.tif.aux.xml", f"{name}.tif.vat.dbf", f"{name}.qml"


def side_files(name: str, table: Sequence[TableRow]) -> dict[str, bytes]:
    """Make what the files beside a map hold, by name."""
    contents = _pam(table), _dbf(table), raster_style([row.kind for row in table])
    return dict(zip(side_names(name), contents, strict=True))


def raster_style(classes: Sequence[LandCoverClass]) -> bytes:
    """Make a QGIS style that paints each value of a raster in its colour, under its name."""
    root = ET.Element("qgis", version="3.22", styleCategories="Symbology")
    renderer = ET.SubElement(
        ET.SubElement(root, "pipe"),
        "rasterrenderer",
        {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""},
    )
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for value, item in enumerate(classes):
        ET.SubElement(
            palette,
            "paletteEntry",
            {"value": str(value), "color": item.color, "label": item.name, "alpha": "255"},
        )
    ET.SubElement(root, "blendMode").text = "0"
    return _xml(root)


def _pam(table: Sequence[TableRow]) -> bytes:
    """Write the table as GDAL keeps what a file itself has no place for."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    node = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, meaning) in enumerate(_COLUMNS):
        column = ET.SubElement(node, "FieldDefn", index=str(index))
        for key, text in (("Name", name), ("Type", str(kind)), ("Usage", str(meaning))):
            ET.SubElement(column, key).text = text
    for index, row in enumerate(table):
        line = ET.SubElement(node, "Row", index=str(index))
        for cell in row.cells:
            ET.SubElement(line, "F").text = str(cell)
    return _xml(root)


def _dbf(table: Sequence[TableRow]) -> bytes:
    """Write the table as dBASE III."""
    columns = [
        (name.upper(), "C" if kind == _TEXT else "N", *_WIDTHS[kind]) for name, kind, _ in _COLUMNS
    ]
    heads = [
        struct.pack("<11sc4xBB14x", name.encode(), kind.encode(), width, digits)
        for name, kind, width, digits in columns
    ]
    length = 1 + sum(width for _, _, width, _ in columns)
    start = 32 + 32 * len(heads) + 1
    language = 0x57
    head = struct.pack(
        "<4BLHH17xB2x",
        *(3, *_DAY, len(table), start, length, language),
    )
    lines = [
        b" "
        + b"".join(
            _dbf_cell(cell, width, digits)
            for cell, (_, _, width, digits) in zip(row.cells, columns, strict=True)
        )
        for row in table
    ]
    return b"".join([head, *heads, b"\r", *lines, b"\x1a"])


def _dbf_cell(cell: int | float | str, width: int, digits: int) -> bytes:
    if isinstance(cell, str):
        return cell.encode(_ANSI, "replace")[:width].ljust(width)
    return f"{cell:{width}.{digits}f}".encode()


def _xml(root: ET.Element) -> bytes:
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text
