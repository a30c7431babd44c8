"""What is fuzzed: each way in which a file from elsewhere gets in, and files that are whole.

A target reads one damaged file. It may do that, or raise a `SegxError` of one line.
"""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from runtime.bundle import read_manifest
from runtime.datasets.flair import FlairTree
from runtime.datasets.folder_settings import read_settings
from runtime.datasets.geopackage import PatchColumn
from runtime.errors import BundleError, DataError, SatelliteError, brief
from runtime.files import read_text
from runtime.manifest import MANIFEST_NAME
from runtime.numpy_files import UNREADABLE, map_array, read_arrays
from runtime.onnx_scan import check_onnx
from runtime.output.journal import read_journal
from runtime.products import parse_products
from runtime.raster import RasterReader
from segx.bundles import TOY
from segx.satellite.stac_items import item_file
from trainkit.checkpoint import FORMAT_VERSION, read_info
from trainkit.config import load

MOST_PX = 1 << 20
"""Pixels of a raster that a target reads."""

MOST_NPZ = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A way in."""

    seeds: Callable[[Path], list[bytes]]
    """Gives whole files; it may prepare others beside them in the folder given."""
    name: str
    """Name of the damaged file in that folder, which `read` gets."""
    read: Callable[[Path], object]


def _texts(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [text.encode() for text in texts]


def _toy(pattern: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [path.read_bytes() for path in sorted(TOY.glob(pattern))]


def _presets(folder: Path) -> list[bytes]:
    import trainkit

    return [path.read_bytes() for path in sorted(Path(trainkit.__path__[0]).glob("presets/*.toml"))]


def _npys(folder: Path) -> list[bytes]:
    found = []
    for array in (np.zeros((2, 10, 4, 4), np.uint16), np.arange(6.0), np.ones((), bool)):
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return found


def _npzs(folder: Path) -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, aerial=np.zeros((1, 3, 8, 8), np.uint8), days=np.ones(3))
        found.append(stream.getvalue())
    return found


def _geotiffs(folder: Path) -> list[bytes]:
    place = Affine(0.2, 0, 7e5, 0, -0.2, 6.6e6)
    pixels = np.arange(4 * 48 * 40).astype(np.uint8).reshape(4, 48, 40)
    kinds: tuple[dict[str, object], ...] = (
        {},
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate", "predictor": 2},
        {"compress": "lzw", "interleave": "pixel", "nodata": 7, "BIGTIFF": "YES"},
    )
    found = []
    for number, options in enumerate(kinds):
        path = folder / f"whole{number}.tif"
        with rasterio.open(
            path, "w", "GTiff", 40, 48, 4, "EPSG:2154", place, "uint8", **options
        ) as target:
            target.write(pixels)
            target.update_tags(1, NAME="red")
        found.append(path.read_bytes())
    return found


def _vrts(folder: Path) -> list[bytes]:
    for number, content in enumerate(_geotiffs(folder)):
        (folder / f"part{number}.tif").write_bytes(content)
    head = (
        '<VRTDataset rasterXSize="40" rasterYSize="48"><SRS>EPSG:2154</SRS>'
        "<GeoTransform>7e5,0.2,0,6.6e6,0,-0.2</GeoTransform>"
    )
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><NoDataValue>7</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">part{band - 1}.tif</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    return [f"{head}{bands}</VRTDataset>".encode()]


def _flair_tree(folder: Path) -> list[bytes]:
    from segx.sample import write_flair2

    root = folder / "flair2"
    shutil.rmtree(root, ignore_errors=True)
    write_flair2(root, seed=1, areas=2, patches_per_side=1)
    (found,) = root.rglob("*centroids*.json")
    found.rename(folder / "centroids.json")
    found.symlink_to(folder / "centroids.json")
    return [(folder / "centroids.json").read_bytes()]


def _geopackages(folder: Path) -> list[bytes]:
    import sqlite3
    from contextlib import closing

    path = folder / "whole.gpkg"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE gpkg_contents (table_name TEXT)")
        database.execute("INSERT INTO gpkg_contents VALUES ('dates')")
        database.execute("CREATE TABLE dates (patch_id TEXT, acquisition_dates TEXT)")
        database.execute("INSERT INTO dates VALUES ('D1_A_1_1', '{\"0\": \"20210301\"}')")
    return [path.read_bytes()]


STAC_ITEM = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "S2A_31UDQ_20210301_0_L2A",
    "properties": {"datetime": "2021-03-01T10:50:31Z", "s2:processing_baseline": "04.00"},
    "assets": {"B02": {"href": "item.json"}, "SCL": {"href": "item.json"}},
}

CHECKPOINT = {
    "format_version": FORMAT_VERSION,
    "created": "2026-01-01T00:00:00Z",
    "segx_version": "0.1.0",
    "config": "tiny",
    "classes": [{"name": "water", "color": "#0000ff"}, {"name": "land", "color": "#00ff00"}],
    "branches": ["aerial", "satellite"],
    "fusion_weights": [[0.5, 0.5], [0.5, 0.5]],
    "steps": {"aerial": 3},
    "parameters": 10,
    "files": {"model.safetensors": "00"},
    "toy": False,
    "provenance": {"data": "a"},
    "metrics": {},
}

FOLDER = """resolution_m = 0.2
ignore = [255]
bands = ["red", "green", "blue"]
[[classes]]
name = "water"
color = "#0000ff"
value = 0
[[classes]]
name = "land"
color = "#00ff00"
scored = false
"""


def _manifest(path: Path) -> None:
    read_manifest(path.parent)


def _products(path: Path) -> None:
    parse_products(read_text(path, expected="products"), where=path.name)


def _npy(path: Path) -> None:
    try:
        np.asarray(map_array(path)).sum()
    except UNREADABLE as error:
        raise SatelliteError(brief(error)) from error


def _npz(path: Path) -> None:
    try:
        read_arrays(path, most_bytes=MOST_NPZ)
    except UNREADABLE as error:
        raise BundleError(brief(error)) from error


def _raster(path: Path) -> None:
    with RasterReader(path) as reader:
        rows, cols = reader.info.grid.shape
        side = int((MOST_PX / reader.info.count) ** 0.5)
        reader.read_valid(0, 0, min(rows, side), min(cols, side))


def _flair(path: Path) -> None:
    tree = FlairTree(path.parent / "flair2")
    tree.centroid(next(iter(tree.patches)))


def _geopackage(path: Path) -> None:
    PatchColumn(path, key="patch_id", name="acquisition_dates").get("D1_A_1_1")


def _journal(path: Path) -> None:
    try:
        read_journal(path)
    except OSError as error:
        raise DataError(brief(error)) from error


TARGETS = {
    "manifest": Target(seeds=_toy("manifest.json"), name=MANIFEST_NAME, read=_manifest),
    "config": Target(seeds=_presets, name="config.toml", read=load),
    "folder-settings": Target(
        seeds=_texts(FOLDER),
        name="dataset.toml",
        read=lambda path: read_settings(path.parent),
    ),
    "products": Target(
        seeds=_texts("S2A_MSIL2A_20210301T105031_N0400_R051_T31UDQ_20210301T132142\n" * 3),
        name="products.txt",
        read=_products,
    ),
    "centroids": Target(seeds=_flair_tree, name="centroids.json", read=_flair),
    "npy": Target(seeds=_npys, name="a.npy", read=_npy),
    "npz": Target(seeds=_npzs, name="a.npz", read=_npz),
    "geotiff": Target(seeds=_geotiffs, name="a.tif", read=_raster),
    "vrt": Target(seeds=_vrts, name="a.vrt", read=_raster),
    "onnx": Target(seeds=_toy("*.onnx"), name="a.onnx", read=check_onnx),
    "geopackage": Target(seeds=_geopackages, name="a.gpkg", read=_geopackage),
    "journal": Target(
        seeds=_texts(
            '{"journal": 1, "identity": {"a": 1}}\n'
            '{"map": 0, "block": 0, "cols": [0, 512], "crc": 1}\n'
            '{"finished": "a", "files": {"a.tif": 3}}\n'
        ),
        name="journal.jsonl",
        read=_journal,
    ),
    "stac-item": Target(
        seeds=_texts(json.dumps(STAC_ITEM)),
        name="item.json",
        read=lambda path: item_file(path, path.parent),
    ),
    "checkpoint": Target(
        seeds=_texts(json.dumps(CHECKPOINT)),
        name="checkpoint.json",
        read=lambda path: read_info(path.parent),
    ),
}
