"""What a look through a data set says of each layout, whole and damaged."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from potsdam_tree import classes_of, colors_of, pixels_of, write

from runtime.check.check import check_dataset
from runtime.check.findings import DataCheck
from runtime.dataset import open_dataset
from runtime.datasets.flair import FlairTree
from runtime.metrics import IGNORE_INDEX

Add = Callable[..., Path]
Write = Callable[..., Path]


def look(root: Path, tile: int = 128) -> DataCheck:
    return check_dataset(open_dataset(root, tile=tile))


def lines(found: DataCheck, kind: str) -> list[str]:
    return [finding.text for finding in found.findings if finding.kind == kind]


@pytest.fixture
def landcover(write_aerial: Write, write_series: Write, tmp_path: Path) -> Path:
    """Four images of 2 x 1 tiles and a rest, without lists, with one series for all."""
    for number in range(4):
        place = {"crs": "EPSG:2154", "bands": ()}
        image = np.full((3, 530, 1030), number, np.uint8)
        mask = np.zeros((1, 530, 1030), np.uint8)
        mask[:, :, 600:] = number + 1
        write_aerial(tmp_path / "images" / f"s{number}.tif", image, **place)
        write_aerial(tmp_path / "masks" / f"s{number}.tif", mask, **place)
    write_series(tmp_path / "sentinel2")
    return tmp_path


# What is counted


def test_patches_classes_and_dates_are_counted(landcover: Path) -> None:
    told: list[tuple[int, int]] = []
    dataset = open_dataset(landcover)
    found = check_dataset(dataset, on_patch=lambda done, total: told.append((done, total)))
    assert told == [(done, 8) for done in range(1, 9)]
    assert (found.layout, found.areas, found.unused) == ("LandCover.ai v1", 4, 0)
    assert sum(count.patches for count in found.splits) == 8
    assert all(count.patches == count.labelled for count in found.splits)
    assert found.crs == ("EPSG:2154",)
    assert found.resolution_m == pytest.approx((0.2, 0.2))
    pixels = np.zeros(IGNORE_INDEX + 1, dtype=np.int64)
    for patch_id in dataset.groups():
        labels = dataset.read(patch_id, None).labels
        assert labels is not None
        pixels += np.bincount(labels.ravel(), minlength=len(pixels))
    expected = [count / pixels.sum() for count in pixels[:5]]
    assert [share for _, share in found.shares] == pytest.approx(expected)
    assert found.ignored == 0
    assert found.whole
    coverage = found.satellite
    assert coverage is not None
    assert (coverage.series, coverage.dates) == (1, (4, 4))
    assert coverage.per_month == (1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0)
    assert (str(coverage.first), str(coverage.last)) == ("2021-01-15", "2021-08-10")


def test_the_clear_share_is_that_of_pixels_that_show_the_ground(
    landcover: Path, write_series: Write, write_aerial: Write
) -> None:
    dn = np.full((2, 10, 40, 40), 500, np.uint16)
    dn[0, :, :10] = 0
    shutil.rmtree(landcover / "sentinel2")
    write_series(landcover / "sentinel2", days=("20210501", "20210511"), dn=dn)
    cover = np.zeros((2, 40, 40), np.uint8)
    cover[0, 20:30] = 50
    cover[1, 25:35] = 80
    with rasterio.open(landcover / "sentinel2" / "S2_20210511.tif") as source:
        place = {"crs": source.crs, "transform": source.transform}
    write_aerial(landcover / "sentinel2" / "S2_20210511_masks.tif", cover, bands=(), **place)
    coverage = look(landcover).satellite
    assert coverage is not None
    assert coverage.clear_share[4] == pytest.approx((30 / 40 + 25 / 40) / 2)
    assert all(math.isnan(share) for month, share in enumerate(coverage.clear_share) if month != 4)


def test_patches_that_no_split_names_are_counted(landcover: Path) -> None:
    (landcover / "splits.json").write_text(json.dumps({"train": ["s0"], "val": ["s1_0"]}))
    found = look(landcover)
    assert found.unused == 8 - 3
    assert found.whole


# What is damaged or missing


def test_a_damaged_image_and_damaged_labels_are_named(landcover: Path) -> None:
    for file, bands in (("images/s0.tif", 3), ("masks/s1.tif", 1)):
        path = write(landcover / file, np.zeros((bands, 530, 1030), np.uint8))
        path.write_bytes(path.read_bytes()[: -530 * 500])
    found = look(landcover)
    damaged = lines(found, "damaged")
    assert len(damaged) == 3
    assert "images/s0.tif cannot be read at rows 529 to 530" in damaged[0]
    assert all("masks/s1.tif cannot be read at rows 0 to 512" in line for line in damaged[1:])
    assert not found.whole
    assert sum(count.patches - count.labelled for count in found.splits) == 2


def test_no_more_than_a_few_damaged_files_are_named(landcover: Path) -> None:
    for number in range(4):
        mask = landcover / "masks" / f"s{number}.tif"
        mask.write_bytes(mask.read_bytes()[:-600_000])
    damaged = lines(look(landcover), "damaged")
    assert len(damaged) == 6
    assert damaged[-1] == "3 more like these"


@pytest.mark.parametrize(("split", "fit"), [("train", False), ("val", False), ("test", True)])
def test_missing_labels_matter_where_training_takes_them(
    split: str, fit: bool, landcover: Path
) -> None:
    splits = {"train": ["s0", "s3"], "val": ["s1"], "test": ["s2"]}
    (landcover / "splits.json").write_text(json.dumps(splits))
    (landcover / "masks" / f"{splits[split][0]}.tif").unlink()
    found = look(landcover)
    patches = 2 * len(splits[split])
    assert lines(found, "note" if fit else "missing")[0] == (
        f"2 of {patches} patches of {split} have no labels"
    )
    assert found.whole is fit


def test_a_missing_split_is_told(landcover: Path) -> None:
    (landcover / "splits.json").write_text(json.dumps({"train": ["s0"]}))
    found = look(landcover)
    assert lines(found, "missing") == [
        "there are no patches in the split val, which training takes"
    ]


def test_a_series_that_some_images_lack_is_missing_and_one_that_all_lack_is_a_note(
    landcover: Path,
) -> None:
    folder = landcover / "sentinel2"
    shutil.copytree(folder, landcover / "kept")
    shutil.rmtree(folder)
    assert lines(look(landcover), "missing") == []
    assert "no Sentinel-2 series: for models of the aerial image alone" in lines(
        look(landcover), "note"
    )
    shutil.copytree(landcover / "kept", folder / "s1")
    listed = {"train": ["s0"], "val": ["s1"], "test": ["s2"]}
    (landcover / "splits.json").write_text(json.dumps(listed))
    found = look(landcover)
    assert lines(found, "missing") == [
        "1 areas of train or val have no Sentinel-2 series, such as s0"
    ]
    other = "2 areas of other splits or none have no Sentinel-2 series, such as s2"
    assert other in lines(found, "note")
    shutil.copytree(landcover / "kept", folder / "s0")
    assert look(landcover).whole


def test_a_damaged_series_is_named(landcover: Path) -> None:
    path = landcover / "sentinel2" / "S2_20210420.tif"
    path.write_bytes(path.read_bytes()[:2000])
    found = look(landcover)
    assert any("S2_20210420.tif cannot be" in line for line in lines(found, "damaged"))
    assert found.satellite is None


# Traps of each layout


def test_tiles_of_one_image_in_several_splits_are_told_with_the_way_out(landcover: Path) -> None:
    for split, names in {"train": ["s0_0", "s1_0", "s1_1"], "val": ["s0_1"], "test": []}.items():
        (landcover / f"{split}.txt").write_text("\n".join(names))
    notes = lines(look(landcover), "note")
    assert any(
        line.startswith("1 of 2 images have tiles in several splits")
        and line.endswith("segx data split PATH --by sheet")
        for line in notes
    )
    assert any(line.startswith("16 windows reach beyond their image") for line in notes)


def test_a_flair_tree_is_looked_through(add_area: Add) -> None:
    add_area({"IMG_000001": [20, 20], "IMG_000002": [30, 25]}, domain="D006_2020")
    add_area({"IMG_000005": [20, 20]}, domain="D070_2020")
    root = add_area({"IMG_000003": [20, 20]}, crs='LOCAL_CS["RGF93 / Lambert-93",UNIT["metre",1]]')
    found = look(root)
    assert (found.layout, found.areas) == ("FLAIR #2", 3)
    assert found.satellite is not None
    assert (found.satellite.series, found.satellite.dates) == (3, (3, 3))
    assert found.satellite.offset_dates == 3
    assert found.ignored == pytest.approx(3 / 512)
    notes = lines(found, "note")
    assert "1 images name no known CRS: taken for EPSG:2154" in notes
    assert any(line.startswith("1 patches of D070 are in train") for line in notes)
    assert found.whole
    table = root / "flair-2_centroids_sp_to_patch.json"
    places = json.loads(table.read_text())
    del places["IMG_000002.tif"]
    table.write_text(json.dumps(places))
    missing = lines(look(root), "missing")
    assert len(missing) == 1
    assert missing[0].startswith("1 patches have a series and no place in it; the first: ")
    assert isinstance(open_dataset(root), FlairTree)


def test_potsdams_traps_are_told(potsdam: Add) -> None:
    root = potsdam("2_10", "2_12", "3_13", "4_12", "7_10", kinds=("RGB", "IRRG"))
    colors = colors_of(classes_of("2_10"))
    colors[:, 0, :2] = np.array([(252, 255, 0), (90, 90, 90)]).T
    write(root / "5_Labels_all" / "top_potsdam_2_10_label.tif", colors)
    height = root / "1_DSM_normalisation" / "dsm_potsdam_03_13_normalized_lastools.jpg"
    write(height, np.full((1, 300, 299), 9, np.uint8), placed=False)
    for path in root.rglob("*_7_10_*.tif"):
        kind = "RGB" if "RGB" in path.name else "IRRG"
        if kind in path.name:
            write(path, pixels_of("7_10", 3), placed=False)
    found = look(root)
    notes = "\n".join(lines(found, "note"))
    for told in (
        "1 pixels of the labels took the nearest colour, 1 are like none and are ignored",
        "4_12 has wrong labels: left out",
        "7_10 is used; some leave it out for its labels",
        "the surface model of 3_13 lacks 0 row(s) and 1 column(s); its border is repeated",
        "1 tiles have no georeference: places follow from their numbers",
        "elevation is uint8 as stored, of an unpublished unit",
        "train: labels with the pixels beside boundaries",
        "val: labels without the pixels beside boundaries",
    ):
        assert told in notes
    assert (found.near_colors, found.unknown_colors) == (1, 1)
    assert found.whole
    (root / "splits.json").write_text(json.dumps({"train": ["4_12"], "val": ["2_10"]}))
    for name in ("02_10", "02_12"):
        (root / "1_DSM_normalisation" / f"dsm_potsdam_{name}_normalized_lastools.jpg").unlink()
    write(root / "1_DSM" / "dsm_potsdam_02_10.tif", np.zeros((1, 300, 300), np.float32))
    notes = "\n".join(lines(look(root), "note"))
    assert "4_12 has wrong labels: used, as splits.json says" in notes
    assert "3 of 5 tiles have elevation: left out for all" in notes
    assert "heights above the sea (1_DSM) are none above ground, and are not read" in notes


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_odd_about_a_folder_is_told(write_aerial: Write, tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(
        'resolution_m = 0.1\nbands = ["grey"]\n'
        '[[classes]]\nname = "a"\ncolor = "#000000"\n[[classes]]\nname = "b"\ncolor = "#ffffff"\n'
    )
    nowhere: dict[str, Any] = {"crs": None, "transform": Affine.identity(), "bands": ()}
    for name in ("x", "y"):
        image = np.ones((1, 100, 200), np.uint8)
        write_aerial(tmp_path / "images" / f"{name}.tif", image, **nowhere)
        write_aerial(tmp_path / "labels" / f"{name}.tif", image, **nowhere)
    shutil.copy(tmp_path / "labels" / "x.tif", tmp_path / "labels" / "stray.tif")
    found = look(tmp_path)
    notes = lines(found, "note")
    assert "2 images are smaller than a tile of 128 px: filled up" in notes
    assert any(line.startswith("2 images have no georeference: taken at 0.1 m") for line in notes)
    assert "1 labels have no image of their name, such as stray.tif" in notes
    assert found.crs == ()
    assert found.ignored == pytest.approx(28 / 128)


def test_a_scene_is_looked_through(tiny_scene: Path) -> None:
    found = look(tiny_scene, 50)
    assert found.layout == "a scene"
    assert [(count.split, count.patches) for count in found.splits] == [("scene", 12)]
    assert found.whole
    assert found.satellite is not None
