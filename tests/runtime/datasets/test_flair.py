import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from runtime.datasets.flair import CLASSES, FlairTree, class_indices
from runtime.errors import DataError, SatelliteError
from runtime.raster import RasterReader
from runtime.satellite import SatelliteSpec

SPEC = SatelliteSpec()
REAL_TREE = Path(__file__).parents[3].parent / "shared" / "data" / "flair2-d034"

AddArea = Callable[..., Path]


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


# Labels


def test_labels_1_to_19_become_13_classes_and_0_is_ignored() -> None:
    values = np.arange(20, dtype=np.uint8)
    expected = [255, *range(12), *[12] * 7]
    assert class_indices(values, where="x").tolist() == expected
    assert class_indices(values, where="x").dtype == np.uint8


@given(
    values=hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int64]),
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
        elements=st.integers(0, 19),
    )
)
def test_labels_of_any_integer_type_are_taken_and_not_changed(values: NDArray[Any]) -> None:
    before = values.copy()
    values.setflags(write=False)
    expected = np.where(values == 0, 255, np.minimum(values, 13) - 1)
    assert np.array_equal(class_indices(values, where="x"), expected)
    assert np.array_equal(values, before)


@pytest.mark.parametrize(("value", "dtype"), [(20, "u1"), (255, "u1"), (257, "u2"), (-1, "i2")])
def test_a_label_that_does_not_exist_is_named(value: int, dtype: str) -> None:
    with pytest.raises(DataError, match=f"x holds the label {value}; expected 1 to 19; give"):
        class_indices(np.array([3, value], dtype=dtype), where="x")


def test_labels_that_are_no_integers_are_refused() -> None:
    with pytest.raises(DataError, match="x is of type float32; expected uint8"):
        class_indices(np.ones(3, dtype=np.float32), where="x")


def test_the_first_twelve_classes_are_scored() -> None:
    assert [c.scored for c in CLASSES] == [True] * 12 + [False]
    assert CLASSES[0].rgb == (0xDB, 0x0E, 0x9A)
    assert (CLASSES[9].name, CLASSES[12].name) == ("herbaceous vegetation", "other")


# Packagings


@pytest.mark.parametrize("packaging", ["challenge", "toy", "newer"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_packaging_is_read_alike(add_area: AddArea, packaging: str, split: str) -> None:
    options = {"packaging": packaging, "split": split}
    root = add_area({"IMG_000826": [33, 24]}, domain="D006_2020", **options)
    tree = FlairTree(root)
    patch = tree.patches["IMG_000826"]
    assert (patch.area, patch.domain, patch.zone) == ("D006_2020/Z10_AU", "D006_2020", "Z10_AU")
    assert patch.is_test == (split == "test")
    sample = tree.read("IMG_000826", SPEC)
    band, row, col = np.ogrid[:5, :512, :512]
    assert np.array_equal(
        sample.aerial, (826 * 7 + band * 50 + row // 8 + col // 32).astype(np.int64) % 256
    )
    assert sample.labels is not None
    labels = (np.arange(512) // 20 + 826) % 19 + 1
    assert np.array_equal(sample.labels[3:], np.tile(np.minimum(labels, 13) - 1, (509, 1)))
    assert (sample.labels[:3] == 255).all()
    assert sample.satellite is not None
    assert sample.satellite.series.shape == (12, 10, 40, 40)
    assert tree.stack("IMG_000826").offsets == (0, 0, 1000)


@pytest.mark.parametrize("packaging", ["challenge", "toy", "newer"])
def test_training_and_test_folders_live_side_by_side(add_area: AddArea, packaging: str) -> None:
    add_area({"IMG_000001": [20, 20]}, packaging=packaging, domain="D006_2020")
    add_area({"IMG_000002": [20, 20]}, packaging=packaging, domain="D004_2021")
    root = add_area({"IMG_000003": [20, 20]}, packaging=packaging, split="test", domain="D085_2019")
    tree = FlairTree(root)
    assert tree.splits == {
        "train": ("IMG_000001",),
        "val": ("IMG_000002",),
        "test": ("IMG_000003",),
    }
    assert tree.groups()["IMG_000003"] == "D085_2019/Z10_AU"


def test_the_first_challenges_test_patches_are_a_split_of_their_own(add_area: AddArea) -> None:
    """They have no series, and only a model that takes one misses it."""
    for number, domain in ((1, "D006_2020"), (2, "D004_2021")):
        add_area({f"IMG_00000{number}": [20, 20]}, packaging="newer", domain=domain)
    add_area({"IMG_000003": [20, 20]}, packaging="newer", split="test", domain="D022_2021")
    root = add_area(
        {"IMG_000004": [20, 20]},
        packaging="newer",
        split="test-1",
        domain="D012_2019",
        satellite=False,
    )
    tree = FlairTree(root)
    assert tree.splits == {
        "train": ("IMG_000001",),
        "val": ("IMG_000002",),
        "test": ("IMG_000003",),
        "test-1": ("IMG_000004",),
    }
    sample = tree.read("IMG_000004", None)
    assert sample.labels is not None
    with pytest.raises(SatelliteError, match="IMG_000004 of D012_2019/Z10_AU has no Sentinel-2"):
        tree.read("IMG_000004", SPEC)
    (root / "splits.json").write_text('{"mine": ["IMG_000004"]}')
    assert FlairTree(root).splits == {"mine": ("IMG_000004",)}


@pytest.mark.parametrize("layout", ["flat", "sen"])
def test_the_newer_packaging_may_hold_its_series_elsewhere_below_sentinel(
    add_area: AddArea, layout: str
) -> None:
    for number, zone in enumerate(["Z1_NN", "Z11_NN"], start=1):
        root = add_area({f"IMG_00000{number}": [20, 20]}, packaging="newer", zone=zone)
        folder = root / "data" / "train-val" / "D004_2021" / "sentinel" / zone
        target = folder.parent if layout == "flat" else folder / "sen"
        target.mkdir(exist_ok=True)
        for file in list(folder.glob("SEN2*")):
            file.rename(target / file.name)
    tree = FlairTree(root)
    one, other = (tree.stack(f"IMG_00000{number}") for number in (1, 2))
    assert not np.array_equal(one.dn, other.dn)
    assert isinstance(one.dn, np.memmap)
    assert str(one.dn.filename).endswith("Z1_NN_data.npy")


def test_a_folder_whose_name_merely_contains_test_is_no_test_folder(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20]})
    (root / "latest").mkdir()
    os.rename(root / "flair_aerial_train", root / "latest" / "flair_aerial_train")
    assert not FlairTree(root).patches["IMG_000001"].is_test


def test_folders_of_other_names_are_areas_of_their_own(add_area: AddArea) -> None:
    for number, zone in enumerate(["north", "south"], start=1):
        root = add_area({f"IMG_00000{number}": [20, 20]}, domain="d", zone=zone)
    tree = FlairTree(root)
    assert len(set(tree.groups().values())) == 2
    assert not np.array_equal(tree.stack("IMG_000001").dn, tree.stack("IMG_000002").dn)


def test_an_empty_folder_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no IMG_.* expected a FLAIR #2 tree; check"):
        FlairTree(tmp_path)


def test_a_patch_that_is_there_twice_is_named_with_both_places(add_area: AddArea) -> None:
    add_area({"IMG_000001": [20, 20]}, zone="Z1_NN")
    root = add_area({"IMG_000001": [20, 20]}, zone="Z2_NN")
    with pytest.raises(DataError, match=r"IMG_000001.tif twice \(.*Z1_NN.* and .*Z2_NN"):
        FlairTree(root)


# Series and centroids


def test_a_centroid_is_row_then_column(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [38, 22]})
    tree = FlairTree(root)
    assert tree.centroid("IMG_000001") == (38.0, 22.0)
    stack = tree.stack("IMG_000001")
    found = tree.satellite_input("IMG_000001", SPEC)
    # April holds the first two dates, August the third, which carries the offset.
    box = stack.dn[:, :, 18:58, 2:42].astype(np.float64)
    np.testing.assert_allclose(found.series[3], box[:2].mean(axis=0) / 1e4, atol=1e-6)
    np.testing.assert_allclose(found.series[7], (box[2] - 1000) / 1e4, atol=1e-6)
    assert np.flatnonzero(found.date_mask).tolist() == [3, 7]


def test_an_area_is_opened_once_for_all_its_patches(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20], "IMG_000002": [30, 25]})
    add_area({"IMG_000003": [20, 20]}, zone="Z11_AU")
    tree = FlairTree(root)
    assert tree.stack("IMG_000001") is tree.stack("IMG_000002")
    assert tree.stack("IMG_000003") is not tree.stack("IMG_000001")


def test_reading_changes_no_file(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20]})
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    FlairTree(root).read("IMG_000001", SPEC)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == files


def test_without_a_satellite_spec_no_series_is_needed(add_area: AddArea) -> None:
    tree = FlairTree(add_area({"IMG_000001": [20, 20]}, satellite=False))
    assert tree.read("IMG_000001", None).satellite is None
    with pytest.raises(SatelliteError, match="IMG_000001 of D004_2021/Z10_AU has no Sentinel-2"):
        tree.read("IMG_000001", SPEC)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        *(f'{{"IMG_000001.tif": {v}}}' for v in ("[1]", '["a", 1]', "[NaN, 1]", "3", "[true, 1]")),
    ],
)
def test_a_patch_without_a_usable_centroid_is_named(add_area: AddArea, text: str) -> None:
    root = add_area({"IMG_000001": [20, 20]})
    (root / "flair-2_centroids_sp_to_patch.json").write_text(text)
    with pytest.raises(SatelliteError, match=r"places IMG_000001.tif at .*; expected \[row, col\]"):
        FlairTree(root).read("IMG_000001", SPEC)


def test_a_centroid_too_large_for_a_float_is_refused(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [10**400, 20]})
    with pytest.raises(SatelliteError, match=r"places IMG_000001.tif"):
        FlairTree(root).centroid("IMG_000001")


def test_a_missing_centroids_file_is_named(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20]})
    (root / "flair-2_centroids_sp_to_patch.json").unlink()
    with pytest.raises(SatelliteError, match=r"has no .*centroids_sp_to_patch.json; .* unpack"):
        FlairTree(root).centroid("IMG_000001")


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000])
def test_a_damaged_centroids_file_is_named(add_area: AddArea, text: str) -> None:
    root = add_area({"IMG_000001": [20, 20]})
    (root / "flair-2_centroids_sp_to_patch.json").write_text(text)
    with pytest.raises(DataError, match=r"centroids_sp_to_patch.json (cannot be read|holds no)"):
        FlairTree(root).centroid("IMG_000001")


# Splits


def test_an_unknown_patch_or_split_is_named(add_area: AddArea) -> None:
    add_area({"IMG_000001": [20, 20]}, zone="Z1_NN")
    tree = FlairTree(add_area({"IMG_000002": [20, 20]}, zone="Z2_NN"))
    with pytest.raises(DataError, match="has no patch 'IMG_9'"):
        tree.read("IMG_9", None)
    with pytest.raises(DataError, match=r"has no split 'test'; it has .*train \(1\).*; choose one"):
        tree.ids("test")
    assert len(tree.ids("train")) == len(tree.ids("val")) == 1


def test_splits_json_beside_the_data_decides(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20], "IMG_000002": [30, 25]})
    write_json(root / "splits.json", {"train": ["IMG_000002"], "scene": ["IMG_000001.tif"]})
    tree = FlairTree(root)
    assert tree.ids("scene") == ("IMG_000001",)
    with pytest.raises(DataError, match="has no split 'val'"):
        tree.ids("val")


def test_the_fingerprint_changes_with_sizes_names_and_centroids(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20]})
    first = FlairTree(root).fingerprint()
    assert FlairTree(root).fingerprint() == first
    write_json(root / "flair-2_centroids_sp_to_patch.json", {"IMG_000001.tif": [20, 21]})
    moved = FlairTree(root).fingerprint()
    (products,) = root.rglob("*products.txt")
    products.write_text(products.read_text() + "\n")
    assert len({first, moved, FlairTree(root).fingerprint()}) == 3


def test_a_tree_without_series_has_a_fingerprint_without_centroids(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20]}, satellite=False)
    (root / "flair-2_centroids_sp_to_patch.json").unlink()
    assert len(FlairTree(root).fingerprint()) == 64


@pytest.mark.skipif(not REAL_TREE.is_dir(), reason=f"{REAL_TREE} is absent")
def test_a_real_tree_places_its_patches_as_their_georeference_does() -> None:
    tree = FlairTree(REAL_TREE)
    by_area: dict[str, list[str]] = {}
    for patch_id, area in tree.groups().items():
        by_area.setdefault(area, []).append(patch_id)
    for ids in by_area.values():
        first, last = ids[0], ids[-1]
        (x0, y0), (x1, y1) = tree.position(first), tree.position(last)
        (row0, col0), (row1, col1) = tree.centroid(first), tree.centroid(last)
        assert (row1 - row0, col1 - col0) == pytest.approx(((y0 - y1) / 10, (x1 - x0) / 10), abs=1)
    sample = tree.read(next(iter(tree.patches)), SPEC)
    assert sample.satellite is not None
    assert sample.labels is not None
    assert sample.labels.max() < len(CLASSES)
    with RasterReader(tree.patches[sample.id].image) as reader:
        assert reader.info.grid.resolution_m == pytest.approx(0.2)


def test_the_files_of_a_patchs_series_are_those_of_its_zone(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20], "IMG_000002": [30, 25]})
    add_area({"IMG_000003": [20, 20]}, zone="Z11_AU")
    add_area({"IMG_000004": [20, 20]}, zone="Z12_AU", satellite=False)
    tree = FlairTree(root)
    names = [path.name for path in tree.series_files("IMG_000003")]
    assert names == [
        "SEN2_sp_D004_2021-Z11_AU_data.npy",
        "SEN2_sp_D004_2021-Z11_AU_masks.npy",
        "SEN2_sp_D004_2021-Z11_AU_products.txt",
        "flair-2_centroids_sp_to_patch.json",
    ]
    assert all(path.is_file() for path in tree.series_files("IMG_000003"))
    assert tree.series_files("IMG_000001") == tree.series_files("IMG_000002")
    assert tree.series_files("IMG_000004") == ()
