"""Data sets that were made to harm are refused when they are looked at or mapped."""

import pickle
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from runtime.datasets.geopackage import PatchColumn
from runtime.errors import DataError

from .conftest import Refuse, Runs


class Attack(NamedTuple):
    """What a file holds, and what is said of it."""

    content: bytes
    said: str


def npy(shape: str, data: bytes = bytes(10), *, kind: str = "'<u2'") -> bytes:
    return header(f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}") + data


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


DEEP = b"[" * 50_000 + b"]" * 50_000
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)

SERIES = {
    "an array of objects": Attack(
        npy("(1,)", pickle.dumps(Runs()), kind="'|O'"), "it holds values of type object"
    ),
    "an array larger than its file": Attack(
        npy("(40, 10, 1000000, 1000000)"), "it has 10 bytes for the shape (40, 10, 1000000"
    ),
    "an array of negative shape": Attack(npy("(-1, -5)"), "it has 10 bytes for the shape (-1, -5)"),
    "a header that is code": Attack(
        header("__import__('os').mkdir('was-run')"), "its header cannot be understood"
    ),
    "HDF5 in place of an array": Attack(HDF5, "the magic string is not correct"),
}
"""In place of `SEN2_*_data.npy`."""

PRODUCTS = {
    "names of products beyond all measure": Attack(b"S2A_" * (17 << 18), "it has 17 MiB"),
    "names of products that steer a terminal": Attack(
        b"\x1b[2J\x1b]0;x\x07", "expected a Sentinel"
    ),
}
"""In place of `SEN2_*_products.txt`."""

SPLITS = {
    "a list of splits nested too deep": Attack(DEEP, "splits.json cannot be read as JSON"),
    "a list of splits of other files": Attack(
        b'{"train": ["../../secret", "/etc/passwd"]}', "../../secret"
    ),
}

SETTINGS = {
    "settings nested too deep": Attack(b"a = " + DEEP, "dataset.toml is not TOML"),
    "settings with absurd labels": Attack(
        b"[[classes]]\nname='a'\ncolor='#000000'\nvalue=99999999999\n"
        b"[[classes]]\nname='b'\ncolor='#000001'\n",
        "a label value is not 0 to 65535",
    ),
}


@pytest.fixture
def tree(small_flair2: Path, tmp_path: Path) -> Path:
    """A copy of the small FLAIR #2 tree, to be changed."""
    return Path(shutil.copytree(small_flair2, tmp_path / "tree"))


@pytest.mark.parametrize("name", [*SERIES, *PRODUCTS])
def test_a_series_is_refused_when_it_is_mapped(
    name: str, tree: Path, tiny_bundle: Path, refuse: Refuse
) -> None:
    attack = (SERIES | PRODUCTS)[name]
    for path in tree.rglob("*data.npy" if name in SERIES else "*products.txt"):
        path.write_bytes(attack.content)
    assert attack.said in refuse("infer", tree, "--bundle", tiny_bundle, "--out", "maps")
    assert not Path("was-run").exists()


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_refused_when_they_are_looked_at(name: str, tree: Path, refuse: Refuse) -> None:
    (tree / "splits.json").write_bytes(SPLITS[name].content)
    assert SPLITS[name].said in refuse("data", "check", tree)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_refused_when_they_are_looked_at(
    name: str, tmp_path: Path, tiny_scene: Path, refuse: Refuse
) -> None:
    for folder, file in (("images", "aerial.tif"), ("labels", "labels.tif")):
        (tmp_path / "set" / folder).mkdir(parents=True)
        shutil.copy(tiny_scene / file, tmp_path / "set" / folder / "a.tif")
    (tmp_path / "set" / "dataset.toml").write_bytes(SETTINGS[name].content)
    assert SETTINGS[name].said in refuse("data", "check", tmp_path / "set")


def test_hdf5_used_as_a_date_is_refused(
    tiny_scene: Path, tiny_bundle: Path, tmp_path: Path, refuse: Refuse
) -> None:
    scene = Path(shutil.copytree(tiny_scene, tmp_path / "scene"))
    (scene / "sentinel2" / "S2_20210420.tif").write_bytes(HDF5)
    message = refuse("infer", scene, "--bundle", tiny_bundle, "--out", "maps")
    assert "S2_20210420.tif cannot be opened as a raster (it begins with b'\\x89HDF" in message


ENDLESS = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
    "SELECT n AS table_name, n AS patch_id, n AS dates FROM c"
)
LISTED = (
    "CREATE TABLE gpkg_contents (table_name TEXT)",
    "INSERT INTO gpkg_contents VALUES ('layer')",
)

GEOPACKAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "a view without end": ((*LISTED, f"CREATE VIEW layer AS {ENDLESS}"), "of no layer; expected"),
    "a list of layers without end": (
        (f"CREATE VIEW gpkg_contents AS {ENDLESS}",),
        "it has no table gpkg_contents",
    ),
    "a column that is computed": (
        (
            *LISTED,
            "CREATE TABLE layer (patch_id TEXT, dates TEXT AS (hex(zeroblob(400000000))))",
            "INSERT INTO layer VALUES ('a')",
        ),
        "expected patch_id and dates in one layer",
    ),
    "a view that is called a table": (
        (
            *LISTED,
            f"CREATE VIEW layer AS {ENDLESS}",
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET type = 'table', rootpage = 2 WHERE name = 'layer'",
        ),
        "cannot be read as a GeoPackage",
    ),
    "a name that is SQL": (
        (
            LISTED[0],
            "INSERT INTO gpkg_contents VALUES ('x\"; DROP TABLE layer; --')",
            "CREATE TABLE layer (patch_id TEXT, dates TEXT)",
        ),
        "of no layer; expected",
    ),
}


@pytest.mark.parametrize("name", GEOPACKAGES)
def test_a_geopackage_is_refused(name: str, tmp_path: Path) -> None:
    statements, said = GEOPACKAGES[name]
    path = tmp_path / "a.gpkg"
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
    before = path.read_bytes()
    with pytest.raises(DataError) as refused:
        PatchColumn(path, "dates").get("a")
    assert said in str(refused.value)
    assert str(refused.value).count(";") >= 2
    assert path.read_bytes() == before


def test_a_trigger_never_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    with closing(sqlite3.connect(path)) as database, database:
        for statement in (
            *LISTED,
            "CREATE TABLE layer (patch_id TEXT, dates TEXT)",
            "INSERT INTO layer VALUES ('a', 'b')",
            "CREATE TRIGGER harm AFTER INSERT ON layer BEGIN DELETE FROM layer; END",
        ):
            database.execute(statement)
    before = path.read_bytes()
    assert PatchColumn(path, "dates").get("a") == "b"
    assert path.read_bytes() == before


def test_the_tree_that_is_changed_is_whole(
    tree: Path, tiny_bundle: Path, segx: Callable[..., object]
) -> None:
    result = segx("infer", tree, "--bundle", tiny_bundle, "--out", "maps", "--dry-run")
    assert getattr(result, "code", None) == 0
    assert np.load(next(tree.rglob("*data.npy")), mmap_mode="r").ndim == 4
