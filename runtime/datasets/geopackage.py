"""Look up one column of a GeoPackage, which is an SQLite file; geometry is passed over.

Reference: OGC 12-128r18, GeoPackage Encoding Standard 1.3.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DataError, brief

MOST_STEPS = 50_000_000
"""Instructions of SQLite for one question; 240 000 rows take a million."""


@dataclass(frozen=True)
class PatchColumn:
    """One column of the layer that has it, by the id of a patch.

    Nothing is kept but the place of each row: a column may hold hundreds of megabytes of text. The
    file is opened anew for every question, so that threads and processes share nothing.
    """

    path: Path
    name: str
    """Name of the column."""
    key: str = "patch_id"
    """Name of the column that holds the ids."""

    def get(self, patch_id: str) -> object:
        """Give the value of a patch: text or a number; None where it has none.

        Raises:
            DataError: If the file is damaged, or no layer has the column.
        """
        row = self._rows.get(patch_id)
        if row is None:
            return None
        with self._open() as database:
            found = database.execute(
                f"SELECT {_quoted(self.name)} FROM {_quoted(self._layer)} WHERE rowid = ?", (row,)
            ).fetchone()
        return found[0] if found else None

    def all(self) -> dict[str, object]:
        """Give the values of all patches by id.

        Raises:
            DataError: If the file is damaged, or no layer has the column.
        """
        with self._open() as database:
            return dict(
                database.execute(
                    f"SELECT {_quoted(self.key)}, {_quoted(self.name)} FROM {_quoted(self._layer)}"
                )
            )

    @cached_property
    def _layer(self) -> str:
        """Name of the layer that has both columns.

        It is a table of rows, no view that may not end; `table_info` names no computed columns.
        """
        seen: list[str] = []
        with self._open() as database:
            tables = _tables(database)
            if "gpkg_contents" not in tables:
                raise sqlite3.DatabaseError("it has no table gpkg_contents")
            layers = database.execute("SELECT table_name FROM gpkg_contents").fetchall()
            named = [name for (name,) in layers if isinstance(name, str)]
            for layer in [name for name in named if name.lower() in tables]:
                columns = [
                    row[1] for row in database.execute(f"PRAGMA table_info({_quoted(layer)})")
                ]
                if {self.key, self.name} <= set(columns):
                    return str(layer)
                seen += columns
        raise DataError(
            f"{self.path} has the columns {', '.join(seen) or 'of no layer'}; expected {self.key} "
            f"and {self.name} in one layer; restore the file"
        )

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Row of each patch."""
        with self._open() as database:
            return dict(
                database.execute(f"SELECT {_quoted(self.key)}, rowid FROM {_quoted(self._layer)}")
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for reading; it is not locked, and nothing is written beside it."""
        where = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(where, uri=True)) as database:
                database.set_progress_handler(lambda: 1, MOST_STEPS)
                yield database
        except (sqlite3.Error, ValueError) as error:
            raise DataError(
                f"{self.path} cannot be read as a GeoPackage ({brief(error)}); expected the file "
                "as published; restore it"
            ) from error


def _tables(database: sqlite3.Connection) -> set[str]:
    """Names of the tables that hold rows of their own, in small letters."""
    found = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
    ).fetchall()
    return {name.lower() for (name,) in found if isinstance(name, str)}


def _quoted(name: str) -> str:
    """Write a name of SQL that may hold anything."""
    return '"' + name.replace('"', '""') + '"'
