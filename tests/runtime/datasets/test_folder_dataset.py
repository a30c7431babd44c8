import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from runtime.dataset import open_dataset
from runtime.datasets.folder_dataset import FolderDataset
from runtime.errors import BandError, DataError, GridError, SatelliteError
from runtime.satellite import SatelliteSpec

Write = Callable[..., Path]
Add = Callable[..., Path]

SETTINGS = """
[[classes]]
name = "water"
color = "#0000ff"
value = 3

[[classes]]
name = "wood"
color = "#00ff00"
value = 7
scored = false
"""
SIDE = 64
BANDS = ("red", "green", "nir")


def image_of(shape: tuple[int, int], start: int = 0) -> NDArray[np.uint8]:
    band, row, col = np.ogrid[:3, : shape[0], : shape[1]]
    return np.asarray((start + band * 70 + row * 2 + col) % 256, np.uint8)


def labels_of(shape: tuple[int, int]) -> NDArray[np.uint8]:
    row, col = np.ogrid[: shape[0], : shape[1]]
    return np.where((row // 20 + col // 30) % 2, 7, 3).astype(np.uint8)


@pytest.fixture
def add(write_aerial: Write, tmp_path: Path) -> Add:
    """Function that adds an image with labels to one folder, and returns the folder."""
    (tmp_path / "dataset.toml").write_text(SETTINGS)

    def write(
        name: str,
        shape: tuple[int, int] = (100, 150),
        *,
        folder: str = ".",
        labels: NDArray[Any] | None = None,
        **options: Any,
    ) -> Path:
        options = {"bands": BANDS, **options}
        pixels = options.pop("pixels", image_of(shape))
        write_aerial(tmp_path / folder / "images" / f"{name}.tif", pixels, **options)
        values = labels_of(shape)[None] if labels is None else labels
        kept = {key: options[key] for key in ("transform", "crs") if key in options}
        write_aerial(tmp_path / folder / "labels" / f"{name}.tif", values, bands=(), **kept)
        return tmp_path

    return write


def open_folder(root: Path, tile: int = SIDE) -> FolderDataset:
    dataset = open_dataset(root, tile=tile)
    assert isinstance(dataset, FolderDataset)
    return dataset


def tell(root: Path, text: str) -> None:
    """Write settings before the classes."""
    (root / "dataset.toml").write_text(text + SETTINGS)


# Tiles


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 86), (36, 64), (36, 86)])
def test_a_tile_is_its_window_and_the_last_are_shifted_to_the_edge(
    row: int, col: int, add: Add
) -> None:
    dataset = open_folder(add("a"))
    sample = dataset.read(f"a_r{row:05d}_c{col:05d}", None)
    box = (slice(row, row + SIDE), slice(col, col + SIDE))
    np.testing.assert_array_equal(sample.aerial, image_of((100, 150))[:, box[0], box[1]])
    np.testing.assert_array_equal(sample.labels, labels_of((100, 150))[box] == 7)
    assert sample.bands == BANDS
    assert len(dataset.tiles) == 2 * 3


def test_an_image_smaller_than_a_tile_is_filled_up_with_what_is_ignored(add: Add) -> None:
    dataset = open_folder(add("a", (40, 90)))
    assert list(dataset.tiles) == ["a_r00000_c00000", "a_r00000_c00026"]
    sample = dataset.read("a_r00000_c00026", None)
    assert sample.aerial.shape == (3, SIDE, SIDE)
    np.testing.assert_array_equal(sample.aerial[:, :40], image_of((40, 90))[:, :, 26:])
    assert not sample.aerial[:, 40:].any()
    assert sample.labels is not None
    assert (sample.labels[40:] == 255).all()
    assert (sample.labels[:40] != 255).all()


def test_labels_are_ignored_where_the_image_shows_nothing(add: Add) -> None:
    mask = np.ones((100, 150), dtype=np.bool_)
    mask[5:9, 3] = False
    labels = open_folder(add("a", mask=mask)).read("a_r00000_c00000", None).labels
    np.testing.assert_array_equal(labels == 255, ~mask[:SIDE, :SIDE])


def test_a_tile_knows_its_place_and_resolution(add: Add) -> None:
    dataset = open_folder(add("a", transform=Affine(0.5, 0, 700_000, 0, -0.5, 6_600_000)))
    assert dataset.position("a_r00036_c00064") == (700_000 + 96 / 2, 6_600_000 - 68 / 2)
    assert dataset.resolution_m("a_r00036_c00064") == pytest.approx(0.5)
    with pytest.raises(DataError, match=r"no tile 'b_r0'; expected one such as 'a_r00000_c00000'"):
        dataset.read("b_r0", None)


# Labels


def test_classes_are_those_of_the_settings_in_their_order(add: Add) -> None:
    dataset = open_folder(add("a"))
    found = [(item.name, item.color, item.scored) for item in dataset.classes]
    assert found == [("water", "#0000ff", True), ("wood", "#00ff00", False)]


def test_values_may_be_left_out_and_then_count_from_0(add: Add) -> None:
    root = add("a", labels=(labels_of((100, 150)) == 7).astype(np.uint8)[None])
    text = SETTINGS.replace("value = 3", "").replace("value = 7", "")
    (root / "dataset.toml").write_text(text)
    labels = open_folder(root).read("a_r00000_c00000", None).labels
    np.testing.assert_array_equal(labels, labels_of((100, 150))[:SIDE, :SIDE] == 7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_ignored_values_and_nodata_are_ignored(dtype: type, add: Add, write_aerial: Write) -> None:
    values: NDArray[Any] = labels_of((100, 150)).astype(dtype)
    values[0, :4] = [0, 99, 3, 7]
    root = add("a")
    write_aerial(root / "labels" / "a.tif", values[None], bands=(), nodata=99)
    tell(root, "ignore = [0]")
    labels = open_folder(root).read("a_r00000_c00000", None).labels
    assert labels is not None
    assert labels[0, :4].tolist() == [255, 255, 0, 1]


def test_a_value_that_is_no_class_is_named(add: Add) -> None:
    values = labels_of((100, 150))
    values[70, 0] = 4
    dataset = open_folder(add("a", labels=values[None]))
    assert dataset.read("a_r00000_c00000", None).labels is not None
    with pytest.raises(DataError, match=r"a.tif holds the value 4; expected 3, 7 or one to ignore"):
        dataset.read("a_r00036_c00000", None)


def test_labels_may_be_drawn_in_colours(add: Add) -> None:
    colors = np.zeros((3, 100, 150), np.uint8)
    colors[1] = 255
    colors[:, 0, :4] = np.array([(0, 0, 255), (0, 6, 249), (9, 9, 9), (90, 90, 90)]).T
    root = add("a", labels=colors)
    tell(root, 'ignore_colors = ["#0a0a0a"]')
    found = open_folder(root).decoded("a_r00000_c00000")
    assert found is not None
    assert found.labels[0, :5].tolist() == [0, 0, 255, 255, 1]
    assert (found.near, found.unknown) == (2, 1)


def test_labels_of_another_kind_are_refused(add: Add) -> None:
    dataset = open_folder(add("a", labels=np.zeros((1, 100, 150), np.float32)))
    with pytest.raises(
        DataError, match=r"has 1 float32 band\(s\); expected one of uint8 or uint16"
    ):
        dataset.read("a_r00000_c00000", None)


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_labels_on_another_grid_are_refused(shift: float, add: Add, write_aerial: Write) -> None:
    root = add("a")
    shape = (100, 150) if shift else (99, 150)
    place = Affine(0.2, 0, 861_904.6 + shift, 0, -0.2, 6_523_377.2)
    write_aerial(root / "labels" / "a.tif", labels_of(shape)[None], bands=(), transform=place)
    with pytest.raises(GridError, match=r"on another grid than its image .* warp the labels to it"):
        open_folder(root).read("a_r00000_c00000", None)


def test_an_image_without_labels_has_none(add: Add) -> None:
    root = add("a")
    add("b")
    (root / "labels" / "b.tif").unlink()
    assert open_folder(root).read("b_r00000_c00000", None).labels is None


# Settings


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("classes = ", "dataset.toml is not TOML: .*; correct that line"),
        ('classes = [{name = "a", color = "#000000"}]', "there are 1 classes; give two or more"),
        (SETTINGS.replace("wood", "water"), "the name water is given twice; give each once"),
        (SETTINGS.replace("#00ff00", "#0000ff"), "the color .* is given twice"),
        (SETTINGS.replace("value = 7", "value = 3"), "the label value 3 is given twice"),
        (SETTINGS.replace("value = 7", "value = -1"), "a label value is not 0 to 65535"),
        (SETTINGS.replace("#00ff00", "green"), "colour 'green'; expected #rrggbb"),
        ("resolution_m = -1.0" + SETTINGS, "resolution_m is -1.0; give metres per pixel"),
        ("ignored = [0]" + SETTINGS, "ignored.*ignore"),
        ("ignore = [3]" + SETTINGS, "the label value 3 is given twice"),
    ],
)
def test_settings_that_cannot_be_are_one_line(text: str, told: str, add: Add) -> None:
    root = add("a")
    (root / "dataset.toml").write_text(text)
    with pytest.raises(DataError, match=told) as error:
        open_dataset(root)
    assert "dataset.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_settings_are_asked_for(add: Add) -> None:
    root = add("a")
    (root / "dataset.toml").unlink()
    with pytest.raises(DataError, match=r"no dataset.toml; expected one that names the classes"):
        open_dataset(root)


def test_settings_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(SETTINGS)
    with pytest.raises(DataError, match=r"holds no images/\*.tif; expected the images in"):
        open_dataset(tmp_path)


# Bands


def test_bands_are_called_what_the_settings_say_before_what_the_files_say(add: Add) -> None:
    root = add("a", bands=("", "", ""))
    with pytest.raises(
        BandError, match=r"has 3 band\(s\), of which not all have names; expected a"
    ):
        open_dataset(root)
    tell(root, 'bands = ["nir", "red", "green"]')
    assert open_folder(root).bands == ("nir", "red", "green")
    tell(root, 'bands = ["nir", "red"]')
    with pytest.raises(BandError, match=r"of which dataset.toml names 2; expected a name for each"):
        open_dataset(root)


def test_a_fourth_band_is_alpha_unless_it_has_a_name(add: Add) -> None:
    pixels = np.concatenate([image_of((100, 150)), np.zeros((1, 100, 150), np.uint8)])
    pixels[3, 0, 0] = 255
    root = add("a", pixels=pixels, bands=BANDS)
    sample = open_folder(root).read("a_r00000_c00000", None)
    assert sample.bands == BANDS
    assert sample.labels is not None
    assert (sample.labels != 255).sum() == 1
    tell(root, 'bands = ["red", "green", "blue", "nir"]')
    sample = open_folder(root).read("a_r00000_c00000", None)
    np.testing.assert_array_equal(sample.aerial, pixels[:, :SIDE, :SIDE])
    assert sample.labels is not None
    assert 255 not in sample.labels


def test_all_images_have_the_same_bands(add: Add) -> None:
    add("a")
    with pytest.raises(BandError, match=r"b.tif has the bands nir, red, green and .*a.tif red, gr"):
        open_dataset(add("b", bands=("nir", "red", "green")))


def test_images_of_another_type_are_refused(add: Add) -> None:
    with pytest.raises(BandError, match=r"a.tif is uint16; expected uint8; rescale it first"):
        open_dataset(add("a", pixels=image_of((100, 150)).astype(np.uint16)))


# Places


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_images_without_a_georeference_need_a_resolution(add: Add) -> None:
    root = add("a", crs=None, transform=Affine.identity())
    with pytest.raises(GridError, match=r"has no CRS; .*, or write resolution_m in dataset.toml"):
        open_dataset(root)
    tell(root, "resolution_m = 0.1")
    dataset = open_folder(root)
    assert dataset.resolution_m("a_r00036_c00064") == 0.1
    assert dataset.position("a_r00036_c00064") == pytest.approx((9.6, -6.8))
    sample = dataset.read("a_r00036_c00064", None)
    np.testing.assert_array_equal(sample.aerial, image_of((100, 150))[:, 36:, 64 : 64 + SIDE])
    with pytest.raises(SatelliteError, match="has no georeference; expected one, to find its Sent"):
        dataset.read("a_r00036_c00064", SatelliteSpec(window=4))


def test_a_resolution_that_the_files_deny_is_refused(add: Add) -> None:
    root = add("a")
    tell(root, "resolution_m = 0.25")
    with pytest.raises(GridError, match=r"has 0.200 m per pixel and dataset.toml says 0.25; expec"):
        open_dataset(root)


# Splits


def test_a_splits_file_decides_alone_by_tiles_or_images(add: Add) -> None:
    root = add("a")
    add("b")
    listed = {"train": ["a"], "val": ["b_r00000_c00000"]}
    (root / "splits.json").write_text(json.dumps(listed))
    dataset = open_folder(root)
    assert dataset.splits["val"] == ("b_r00000_c00000",)
    assert {dataset.groups()[i] for i in dataset.ids("train")} == {"a"}
    assert len(dataset.ids("train")) == 6


def test_split_folders_are_the_splits(add: Add, write_series: Write) -> None:
    for split in ("train", "val"):
        root = add("same", folder=split)
    write_series(root / "sentinel2" / "train" / "same")
    dataset = open_folder(root)
    assert {split: len(ids) for split, ids in dataset.splits.items()} == {
        "train": 6,
        "val": 6,
        "test": 0,
    }
    assert set(dataset.groups().values()) == {"train/same", "val/same"}
    sample = dataset.read(dataset.ids("train")[0], SatelliteSpec(window=4))
    assert sample.satellite is not None
    with pytest.raises(SatelliteError, match="no Sentinel-2 series for val/same; expected S2_YYYY"):
        dataset.read(dataset.ids("val")[0], SatelliteSpec(window=4))


def test_otherwise_whole_images_are_drawn(add: Add) -> None:
    for name in ("a", "b", "c"):
        root = add(name)
    dataset = open_folder(root)
    areas = {split: {dataset.groups()[i] for i in ids} for split, ids in dataset.splits.items()}
    assert set(areas) == {"train", "val"}
    assert not areas["train"] & areas["val"]
    assert open_folder(root).splits == dataset.splits


def test_one_image_cannot_be_shared_out(add: Add) -> None:
    with pytest.raises(DataError, match=r"holds 1 area\(s\) to draw a split from; .*splits.json"):
        open_folder(add("a")).ids("train")


def test_the_licence_is_what_the_settings_say(add: Add) -> None:
    root = add("a")
    assert open_folder(root).licence.startswith("not known: dataset.toml does not say")
    tell(root, 'licence = "CC0, me"')
    assert open_folder(root).licence == "CC0, me"


@pytest.mark.parametrize("file", ["labels/a.tif", "dataset.toml", "splits.json"])
def test_the_fingerprint_tells_when_what_is_read_has_changed(file: str, add: Add) -> None:
    root = add("a")
    before = open_folder(root).fingerprint()
    (root / "notes.txt").write_text("not read")
    assert open_folder(root).fingerprint() == before
    assert open_folder(root, 32).fingerprint() != before
    with (root / file).open("a") as target:
        target.write("\n")
    assert open_folder(root).fingerprint() != before
