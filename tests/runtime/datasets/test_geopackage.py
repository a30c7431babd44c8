import contextlib
import sqlite3
from pathlib import Path

import pytest

from runtime.datasets.geopackage import PatchColumn
from runtime.errors import DataError


def write(path: Path, *statements: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
    return path


CONTENTS = "CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT)"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two layers, of which the second has the column; its name needs quotes."""
    return write(
        tmp_path / "some file #1.gpkg",
        CONTENTS,
        "INSERT INTO gpkg_contents VALUES ('first', 'features'), ('a \"b\"', 'features')",
        "CREATE TABLE first (fid INTEGER PRIMARY KEY, patch_id TEXT)",
        'CREATE TABLE "a ""b""" (fid INTEGER PRIMARY KEY, geom BLOB, patch_id TEXT, value TEXT)',
        "INSERT INTO \"a \"\"b\"\"\" VALUES (7, x'47', 'one', '1'), (3, NULL, 'two', NULL)",
    )


def test_a_value_is_found_by_patch(package: Path) -> None:
    column = PatchColumn(package, "value")
    assert column.get("one") == "1"
    assert column.get("two") is None
    assert column.get("three") is None
    assert column.all() == {"one": "1", "two": None}


def test_the_file_is_neither_changed_nor_joined_by_others(package: Path) -> None:
    before = package.read_bytes()
    package.chmod(0o400)
    PatchColumn(package, "value").get("one")
    assert package.read_bytes() == before
    assert list(package.parent.iterdir()) == [package]


def test_a_column_that_no_layer_has_is_named(package: Path) -> None:
    with pytest.raises(
        DataError, match="expected patch_id and dates in one layer; restore"
    ) as info:
        PatchColumn(package, "dates").get("one")
    assert "has the columns fid, patch_id, fid, geom, patch_id, value; " in str(info.value)


@pytest.mark.parametrize("damage", ["no database", "empty", "no layers", "cut short", "gone"])
def test_what_is_no_geopackage_is_one_line(damage: str, package: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.gpkg"
    if damage == "no database":
        path.write_bytes(b"PK" * 5000)
    elif damage == "cut short":
        path.write_bytes(package.read_bytes()[:5000])
    elif damage == "no layers":
        write(path, CONTENTS)
    elif damage == "empty":
        path.touch()
    with pytest.raises(DataError) as info:
        PatchColumn(path, "value").get("one")
    message = str(info.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert message.count(";") >= 2
