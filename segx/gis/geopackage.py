"""Write polygons of land-cover classes into a GeoPackage, batch by batch.

It holds one layer, `landcover`, the style that QGIS takes for it, and what made it, as metadata.

Reference: OGC GeoPackage 1.3; the table `layer_styles` is that of QGIS.
"""

import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyogrio.raw import write

from runtime.classes import LandCoverClass
from runtime.grid import Grid

from .polygons import Polygons

LAYER = "landcover"
FIELDS = ("class", "class_name", "area_m2")
FAILURES = (DataSourceError, DataLayerError, sqlite3.Error, OSError)
"""What writing raises when the disk does not take it."""
_STYLES = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""


class GeoPackage:
    """A GeoPackage on its way."""

    def __init__(
        self,
        path: Path,
        grid: Grid,
        classes: Sequence[LandCoverClass],
        metadata: Mapping[str, str],
    ) -> None:
        """Begin a file; one that is there is replaced.

        Args:
            path: The file.
            grid: Grid of the map whose pixels the corners are.
            classes: What each class index means.
            metadata: What made the map.

        Raises:
            OSError: If it cannot be written; `FAILURES` lists what else is raised then.
        """
        self._path, self._grid, self._classes = path, grid, classes
        self._names = np.array([item.name for item in classes], dtype=np.object_)
        path.unlink(missing_ok=True)
        nothing = np.array([], dtype=np.object_)
        self._write(nothing, np.array([], dtype=np.uint8), np.array([]), metadata=dict(metadata))

    def add(self, polygons: Polygons) -> None:
        """Add polygons, with their areas on the plane of the CRS.

        Raises:
            OSError: If the disk does not take them; `FAILURES` lists what else is raised then.
        """
        if not len(polygons.values):
            return
        a, b, c, d, e, f = self._grid.transform[:6]
        matrix, corner = np.array([[a, d], [b, e]]), np.array([c, f])
        areas = shapely.area(polygons.geometries) * self._grid.resolution_m**2
        placed = shapely.transform(polygons.geometries, lambda points: points @ matrix + corner)
        self._write(shapely.to_wkb(placed), polygons.values, areas)

    def finish(self) -> None:
        """Add the style.

        Raises:
            OSError: If the disk does not take it; `FAILURES` lists what else is raised then.
        """
        with closing(sqlite3.connect(self._path)) as file, file:
            file.execute(_STYLES)
            file.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
                "VALUES ('layer_styles', 'attributes', 'layer_styles')"
            )
            file.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
                "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description) "
                "VALUES ('', '', ?, 'geom', ?, ?, '', 1, 'Colours of the classes')",
                (LAYER, LAYER, vector_style(self._classes)),
            )

    def _write(
        self,
        geometry: NDArray[np.object_],
        values: NDArray[np.uint8],
        areas: NDArray[np.float64],
        metadata: dict[str, str] | None = None,
    ) -> None:
        write(
            self._path,
            geometry,
            [values.astype(np.int32), self._names[values], areas],
            FIELDS,
            layer=LAYER,
            driver="GPKG",
            geometry_type="Polygon",
            crs=self._grid.crs.to_wkt(),
            append=metadata is None,
            dataset_metadata=metadata,
        )


def vector_style(classes: Sequence[LandCoverClass]) -> str:
    """Make a QGIS style that fills polygons in the colour of their class, without an outline."""
    root = ET.Element("qgis", version="3.22", styleCategories="Symbology")
    renderer = ET.SubElement(
        root,
        "renderer-v2",
        {"type": "categorizedSymbol", "attr": FIELDS[0], "enableorderby": "0", "forceraster": "0"},
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for index, item in enumerate(classes):
        number = str(index)
        category = {"value": number, "type": "long", "symbol": number, "label": item.name}
        ET.SubElement(categories, "category", {**category, "render": "true"})
        symbol = ET.SubElement(
            symbols, "symbol", {"type": "fill", "name": number, "alpha": "1", "clip_to_extent": "1"}
        )
        layer = ET.SubElement(
            symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"}
        )
        options = ET.SubElement(layer, "Option", type="Map")
        for name, value in (
            ("color", ",".join(map(str, (*item.rgb, 255)))),
            ("style", "solid"),
            ("outline_style", "no"),
        ):
            ET.SubElement(options, "Option", name=name, type="QString", value=value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")
