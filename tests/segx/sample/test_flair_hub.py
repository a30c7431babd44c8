import contextlib
import hashlib
import re
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio

from runtime.dataset import open_dataset
from runtime.datasets.flair import CLASSES
from runtime.datasets.flair_hub import FlairHub
from runtime.satellite import SatelliteSpec
from segx import __version__
from segx.sample import summarise, write_flair_hub
from segx.sample.aerial import photograph
from segx.sample.area import build_area
from segx.sample.flair_hub import COSIA_OF, STREAM
from segx.sample.satellite import simulate

SEED = 4
GEOPACKAGES = ("GLOBAL_SENTINEL2_MTD_DATES", "GLOBAL_ALL_MTD_SPLIT")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub") / "tree"
    return write_flair_hub(out, seed=SEED, patches_per_side=2)


def files(tree: Path, modality: str) -> list[Path]:
    return sorted(tree.glob(f"*_{modality}/*/*.tif"))


def test_files_are_as_published(tree: Path) -> None:
    expected = {
        "AERIAL_RGBI": (4, "uint8", 512, 0.2),
        "DEM_ELEV": (2, "float32", 512, 0.2),
        "AERIAL_LABEL-COSIA": (1, "uint8", 512, 0.2),
        "SENTINEL2_TS": (None, "uint16", 10, 10.24),
        "SENTINEL2_MSK-SC": (None, "uint16", 10, 10.24),
    }
    bounds: dict[str, set[tuple[float, ...]]] = {}
    for modality, (count, dtype, side, resolution) in expected.items():
        found = files(tree, modality)
        assert len(found) == 8
        for path in found:
            domain, place = path.parts[-3].split("_")[0], path.stem.rsplit("_", 1)[1]
            assert path.name == f"{domain}_{modality}_{path.parent.name}_{place}.tif"
            with rasterio.open(path) as source:
                assert source.count == count or (count is None and source.count > 30)
                assert set(source.dtypes) == {dtype}
                assert source.shape == (side, side)
                assert source.res == pytest.approx((resolution, resolution))
                assert source.crs.to_epsg() == 2154
                assert source.tags()["SEGX_SAMPLE"] == __version__
                edges = tuple(round(edge, 2) for edge in source.bounds)
                bounds.setdefault(f"{domain}_{path.parent.name}_{place}", set()).add(edges)
    assert len(bounds) == 8
    assert all(len(edges) == 1 for edges in bounds.values()), "all files of a patch on one ground"


def test_what_was_painted_is_read_back(tree: Path) -> None:
    """Image, heights, classes and reflectance of the first area, patch by patch."""
    rng = np.random.default_rng([SEED, STREAM, 0])
    area = build_area((1024, 1024), rng)
    image = photograph(area.fine, rng)
    series = simulate(area, (20, 20), lambda rows, cols: (rows * 10.24, cols * 10.24), rng)
    dataset = FlairHub(tree)
    assert dataset.bands == ("red", "green", "blue", "nir", "elevation")
    spec = SatelliteSpec(window=10, cell_m=10.24)
    for row in (0, 1):
        for col in (0, 1):
            patch = f"D098-2021_AF-S1-1_{row}-{col}"
            sample = dataset.read(patch, spec)
            part = (slice(row * 512, row * 512 + 512), slice(col * 512, col * 512 + 512))
            np.testing.assert_array_equal(sample.aerial, image[(slice(None), *part)])
            assert sample.labels is not None
            np.testing.assert_array_equal(
                sample.labels, np.minimum(area.fine.cover[part], len(CLASSES)) - 1
            )
            assert sample.satellite is not None
            cells = (slice(row * 10, row * 10 + 10), slice(col * 10, col * 10 + 10))
            for month in np.flatnonzero(sample.satellite.date_mask):
                days = [d for d in sample.satellite.dates_used if d.month == month + 1]
                dn = [series.dn[series.days.index(day)][(..., *cells)] for day in days]
                np.testing.assert_allclose(
                    sample.satellite.series[month], np.mean(dn, axis=0) / 1e4, rtol=1e-5
                )


def test_every_painted_class_has_a_value_of_its_own() -> None:
    assert sorted(COSIA_OF[1:].tolist()) == list(range(19))


def test_splits_are_those_of_the_geopackage(tree: Path) -> None:
    dataset = open_dataset(tree)
    assert isinstance(dataset, FlairHub)
    assert {split: len(ids) for split, ids in dataset.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }
    assert all(name.startswith("D098-2021_AF-S1-1_") for name in dataset.ids("train"))
    assert set(dataset.groups().values()) == {"D098-2021/AF-S1-1", "D099-2021/AF-S1-2"}


@pytest.mark.parametrize("name", GEOPACKAGES)
def test_metadata_is_a_geopackage(name: str, tree: Path) -> None:
    """What the standard demands: marks, tables, reference systems, and places that are true."""
    path = tree / "GLOBAL_ALL_MTD" / f"{name}.gpkg"
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
        assert database.execute("PRAGMA user_version").fetchone()[0] >= 10200
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        systems = dict(database.execute("SELECT srs_id, definition FROM gpkg_spatial_ref_sys"))
        assert {-1, 0, 4326, 2154} <= systems.keys()
        assert "Lambert-93" in systems[2154]
        (content,) = database.execute("SELECT * FROM gpkg_contents").fetchall()
        assert content[:2] == (name, "features")
        geometry = database.execute("SELECT * FROM gpkg_geometry_columns").fetchall()
        assert geometry == [(name, "geom", "POLYGON", 2154, 0, 0)]
        rows = dict(database.execute(f'SELECT patch_id, geom FROM "{name}"'))
    assert len(rows) == 8
    for patch, blob in rows.items():
        domain, place = patch.split("_", 1)
        (image,) = tree.rglob(f"{domain}_AERIAL_RGBI_{place}.tif")
        with rasterio.open(image) as source:
            left, bottom, right, top = source.bounds
        assert struct.unpack("<2sBBi", blob[:8]) == (b"GP", 0, 1, 2154)
        assert struct.unpack("<BIII", blob[8:21]) == (1, 3, 1, 5)
        ring = np.frombuffer(blob[21:]).reshape(5, 2)
        np.testing.assert_allclose(ring.min(axis=0), (left, bottom), atol=1e-6)
        np.testing.assert_allclose(ring.max(axis=0), (right, top), atol=1e-6)


def test_the_summary_counts_patches_splits_dates_and_classes(tree: Path) -> None:
    summary = summarise(tree)
    assert re.fullmatch(
        r"8 patches of 512 px \(train 4, val 2, test 2\), \d\d to \d\d Sentinel-2 dates each",
        summary.contents,
    )
    assert sum(share for _, share in summary.shares) == pytest.approx(1)
    dataset = FlairHub(tree)
    labels = [dataset.read(patch, None).labels for patch in dataset.patches]
    buildings = np.mean([found == 0 for found in labels])
    assert dict(summary.shares)["building"] == pytest.approx(buildings)


def test_a_seed_gives_the_same_files(tree: Path, tmp_path: Path) -> None:
    def hashes(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*_*.*")
        }

    seen: list[tuple[int, int]] = []
    again = write_flair_hub(
        tmp_path / "again",
        seed=SEED,
        patches_per_side=2,
        on_area=lambda done, total: seen.append((done, total)),
    )
    assert hashes(again) == hashes(tree)
    assert seen == [(1, 2), (2, 2)]


def test_areas_too_small_for_validation_and_test_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="areas of 1 x 1 patches; need 2 x 2"):
        write_flair_hub(tmp_path / "out", seed=0, patches_per_side=1)
    assert list(tmp_path.iterdir()) == []
