"""FLAIR-HUB as published, in small: names, pixels and GeoPackages of three patches."""

import contextlib
import json
import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

A, B, C = "D012-2019_AF-S1-27_5-10", "D012-2019_UU-S2-3_0-1", "D068-2021_AA-S1-1_2-2"
PLACES = {A: (650_000.0, 6_400_000.0), B: (651_024.4, 6_399_897.6), C: (1_021_000.2, 6_750_000.0)}
"""x and y of each patch's north-western corner."""
DAYS = ("20190104", "20190418", "20190419", "20191122")


def aerial_of(patch: str) -> NDArray[np.uint8]:
    band, row, col = np.ogrid[:4, :512, :512]
    return np.asarray((len(patch) + band * 60 + row // 7 + col // 11) % 256, dtype=np.uint8)


def heights_of() -> NDArray[np.float32]:
    """Terrain that rises to the east; above it heights that grow to the south by 0.2 m a row."""
    row, col = np.ogrid[:512, :512]
    terrain = 300.0 + 0.05 * col + 0.0 * row
    return np.stack([terrain + 0.2 * (row - 3), terrain]).astype(np.float32)


def series_of() -> NDArray[np.uint16]:
    """Numbers that tell date, band, row and column apart, shape (dates, 10, 10, 10)."""
    date, band, row, col = np.ogrid[: len(DAYS), :10, :10, :10]
    return np.asarray(1000 * (date + 1) + 100 * band + 10 * row + col, dtype=np.uint16)


def path_of(root: Path, patch: str, modality: str) -> Path:
    domain, area, place = patch.split("_")
    folder = f"{domain}_{modality}"
    return root / folder / area / f"{folder}_{area}_{place}.tif"


def write_table(path: Path, column: str, values: dict[str, str | None]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE gpkg_contents (table_name TEXT)")
        database.execute("INSERT INTO gpkg_contents VALUES ('layer')")
        database.execute(f"CREATE TABLE layer (fid INTEGER PRIMARY KEY, patch_id, {column})")
        database.executemany(
            f"INSERT INTO layer (patch_id, {column}) VALUES (?, ?)", list(values.items())
        )


def write_dates(root: Path, values: dict[str, str | None]) -> None:
    path = root / "GLOBAL_ALL_MTD" / "GLOBAL_SENTINEL2_MTD_DATES.gpkg"
    write_table(path, "acquisition_dates", values)


def write_splits(root: Path, values: dict[str, str | None]) -> None:
    path = root / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg"
    write_table(path, "split_flairchallenge", values)


def listed(days: tuple[str, ...] = DAYS) -> str:
    return json.dumps({str(index): day for index, day in enumerate(days)})
