"""Write a GeoPackage of one layer: squares on the ground and columns of text.

It holds the tables that the standard demands of a file with vector features, and no index.

Reference: OGC 12-128r18, GeoPackage Encoding Standard 1.3.
"""

import sqlite3
import struct
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rasterio.crs import CRS

APPLICATION_ID = 0x47504B47
"""`GPKG` in ASCII; marks the file."""
VERSION = 10300
CHANGED = "2021-01-01T00:00:00.000Z"
"""Time of the last change: fixed, so that a seed gives the same bytes."""

Bounds = tuple[float, float, float, float]
"""Smallest and largest x and y: (left, bottom, right, top)."""

_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (
    srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (
    table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
    description TEXT DEFAULT '',
    last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
    min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
    CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (
    table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL,
    srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
    CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
    CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
    CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A square on the ground and what is said of it."""

    bounds: Bounds
    values: Mapping[str, str | None]
    """Text by name of the column; the same columns for all features of a layer."""


def write_layer(path: Path, features: list[Feature], *, epsg: int) -> None:
    """Write features as the one layer of a new GeoPackage; the layer is named like the file.

    Args:
        path: The file; its folder must exist.
        features: One or more.
        epsg: CRS of the bounds.
    """
    columns = list(features[0].values)
    lefts, bottoms, rights, tops = zip(*(feature.bounds for feature in features), strict=True)
    extent = min(lefts), min(bottoms), max(rights), max(tops)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.executescript(_TABLES)
        database.executemany(
            "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)",
            [
                ("Undefined Cartesian", -1, "NONE", -1, "undefined"),
                ("Undefined geographic", 0, "NONE", 0, "undefined"),
                *(
                    ("EPSG", code, "EPSG", code, CRS.from_epsg(code).to_wkt())
                    for code in (4326, epsg)
                ),
            ],
        )
        database.execute(
            "INSERT INTO gpkg_contents VALUES (?, 'features', ?, '', ?, ?, ?, ?, ?, ?)",
            (path.stem, path.stem, CHANGED, *extent, epsg),
        )
        database.execute(
            "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'POLYGON', ?, 0, 0)",
            (path.stem, epsg),
        )
        texts = "".join(f', "{name}" TEXT' for name in columns)
        database.execute(
            f'CREATE TABLE "{path.stem}" '
            f"(fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POLYGON{texts})"
        )
        places = ", ".join("?" * (len(columns) + 1))
        names = "".join(f', "{name}"' for name in columns)
        database.executemany(
            f'INSERT INTO "{path.stem}" (geom{names}) VALUES ({places})',
            [
                (_square(item.bounds, epsg), *(item.values[name] for name in columns))
                for item in features
            ],
        )


def _square(bounds: Bounds, epsg: int) -> bytes:
    """Write a square as the standard's binary: a header without envelope, then a WKB polygon."""
    left, bottom, right, top = bounds
    ring = (left, bottom, right, bottom, right, top, left, top, left, bottom)
    header = struct.pack("<2sBBi", b"GP", 0, 1, epsg)
    return header + struct.pack("<BIII10d", 1, 3, 1, 5, *ring)
