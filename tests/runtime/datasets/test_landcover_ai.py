"""LandCover.ai trees as published, written by the tests: two images, lists of tiles, a series."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray

import runtime.datasets.series_folder
from runtime.datasets.landcover_ai import CLASSES, LandCoverAi
from runtime.datasets.series_folder import MOST_SERIES
from runtime.errors import BandError, DataError, SatelliteError
from runtime.geoseries import open_series
from runtime.products import OffsetOption
from runtime.satellite import SatelliteSpec

Write = Callable[..., Path]

A, B = "M-33-20-D-c-4-2", "N-34-61-B-a-1-1"
SHAPES = {A: (1100, 1300), B: (530, 1030)}
"""A has 2 x 2 whole tiles of 3 across, B has 1 x 2."""
RESOLUTION = {A: 0.25, B: 0.5}
CORNER = {A: (536_240.5, 448_730.25), B: (636_000.0, 500_000.0)}
S2_CRS = "EPSG:32634"
SPEC = SatelliteSpec(window=4)
LISTS = {"train": [f"{A}_0", f"{A}_4"], "val": [f"{A}_3"], "test": [f"{B}_1", f"{A}_1"]}
WINDOWS = {
    f"{A}_0": (0, 0),
    f"{A}_1": (0, 512),
    f"{A}_3": (512, 0),
    f"{A}_4": (512, 512),
    f"{B}_0": (0, 0),
    f"{B}_1": (0, 512),
}
"""First row and column of every whole tile."""


def image_of(name: str) -> NDArray[np.uint8]:
    """Pixels that tell band, row and column apart."""
    height, width = SHAPES[name]
    band, row, col = np.ogrid[:3, :height, :width]
    return np.asarray((band * 80 + row // 7 + col // 11) % 256, dtype=np.uint8)


def mask_of(name: str) -> NDArray[np.uint8]:
    height, width = SHAPES[name]
    row, col = np.ogrid[:height, :width]
    return np.asarray((row // 60 + col // 45) % 5, dtype=np.uint8)


def transform_of(name: str) -> Affine:
    x, y = CORNER[name]
    return Affine(RESOLUTION[name], 0.0, x, 0.0, -RESOLUTION[name], y)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, write_aerial: Write) -> Path:
    """A tree without Sentinel-2; read it, do not change it."""
    root = tmp_path_factory.mktemp("landcover")
    for name in SHAPES:
        place = {"crs": "EPSG:2180", "transform": transform_of(name), "bands": ()}
        write_aerial(root / "images" / f"{name}.tif", image_of(name), **place)
        write_aerial(root / "masks" / f"{name}.tif", mask_of(name)[None], **place)
    for split, names in LISTS.items():
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def tree(published: Path, tmp_path: Path) -> Path:
    """The same tree, to be changed."""
    return shutil.copytree(published, tmp_path / "tree")


def write_plane(write_aerial: Write, folder: Path, axis: int) -> Affine:
    """Write one date around A whose digital numbers tell the row or the column."""
    (x,), (y,) = rasterio.warp.transform("EPSG:2180", S2_CRS, [CORNER[A][0]], [CORNER[A][1]])
    transform = Affine(10.0, 0.0, round(x, -1) - 300, 0.0, -10.0, round(y, -1) + 300)
    plane = np.broadcast_to(np.mgrid[:100, :90][axis] * 50 + 1, (10, 100, 90))
    path = folder / "S2_20210601.tif"
    write_aerial(path, plane.astype(np.uint16), bands=(), crs=S2_CRS, transform=transform)
    return transform


# Tiles


@pytest.mark.parametrize("shape", [(512, 512), (513, 1025), (1030, 515), (1536, 1100)])
def test_tiles_are_numbered_as_the_authors_cut_them(
    shape: tuple[int, int], write_aerial: Write, tmp_path: Path
) -> None:
    write_aerial(tmp_path / "images" / "a.tif", np.zeros((3, *shape), np.uint8), bands=())
    number, expected = 0, {}
    for row in range(0, shape[0], 512):
        for col in range(0, shape[1], 512):
            if row + 512 <= shape[0] and col + 512 <= shape[1]:
                expected[f"a_{number}"] = (row, col)
            number += 1
    tiles = LandCoverAi(tmp_path).tiles
    assert {name: (tile.row, tile.col) for name, tile in tiles.items()} == expected


@pytest.mark.parametrize("name", WINDOWS)
def test_a_tile_is_its_window_of_image_and_mask(name: str, published: Path) -> None:
    row, col = WINDOWS[name]
    sheet = name.rsplit("_", 1)[0]
    sample = LandCoverAi(published).read(name, None)
    assert (sample.id, sample.bands) == (name, ("red", "green", "blue"))
    box = (slice(row, row + 512), slice(col, col + 512))
    np.testing.assert_array_equal(sample.aerial, image_of(sheet)[:, box[0], box[1]])
    np.testing.assert_array_equal(sample.labels, mask_of(sheet)[box])


@pytest.mark.parametrize("name", WINDOWS)
def test_a_tile_knows_its_place_and_resolution(name: str, published: Path) -> None:
    dataset = LandCoverAi(published)
    sheet = dataset.groups()[name]
    row, col = WINDOWS[name]
    side = RESOLUTION[sheet]
    x, y = CORNER[sheet]
    assert dataset.position(name) == (x + (col + 256) * side, y - (row + 256) * side)
    assert dataset.resolution_m(name) == side
    assert set(dataset.groups()) == set(WINDOWS)


def test_the_classes_are_the_values_of_the_masks_and_all_are_scored(published: Path) -> None:
    names = [c.name for c in LandCoverAi(published).classes]
    assert names == ["background", "building", "woodland", "water", "road"]
    assert all(c.scored for c in CLASSES)
    assert CLASSES[3].rgb == (0, 197, 255)


def test_images_without_a_crs_lie_in_poland(write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "images" / "a.tif", image_of(B), crs=None, bands=())
    assert LandCoverAi(tmp_path).images["a"].grid.crs.to_epsg() == 2180


# Splits


def test_the_lists_are_the_splits(published: Path) -> None:
    dataset = LandCoverAi(published)
    assert dataset.splits == {split: tuple(sorted(names)) for split, names in LISTS.items()}
    assert dataset.ids("test") == (f"{A}_1", f"{B}_1")
    with pytest.raises(DataError, match=r"no split 'scene'; it has train \(2\), val \(1\), test"):
        dataset.ids("scene")


def test_a_list_that_is_missing_is_a_split_that_is_missing(tree: Path) -> None:
    (tree / "test.txt").unlink()
    (tree / "train.txt").write_text(f"\n  {A}_0  \r\n\n{A}_4\n")
    assert LandCoverAi(tree).splits == {"train": (f"{A}_0", f"{A}_4"), "val": (f"{A}_3",)}


def test_a_splits_file_decides_alone(tree: Path) -> None:
    (tree / "splits.json").write_text(json.dumps({"fine": [f"{A}_4", f"{A}_0"]}))
    assert LandCoverAi(tree).splits == {"fine": (f"{A}_0", f"{A}_4")}


def test_without_lists_no_image_is_in_two_splits(tree: Path) -> None:
    for split in LISTS:
        (tree / f"{split}.txt").unlink()
    dataset = LandCoverAi(tree)
    areas = {
        split: {dataset.groups()[name] for name in dataset.ids(split)} for split in dataset.splits
    }
    assert set(areas) == {"train", "val"}
    assert not areas["train"] & areas["val"]
    assert sum(map(len, dataset.splits.values())) == len(WINDOWS)


@pytest.mark.parametrize("name", [f"{A}_2", f"{B}_2", f"{A}_9", "M-00_0", A])
def test_a_list_may_only_name_whole_tiles(name: str, tree: Path) -> None:
    (tree / "val.txt").write_text(name)
    with pytest.raises(DataError, match=rf"val.txt lists {name}, which is no tile of an image in"):
        LandCoverAi(tree).ids("val")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_tile_is_in_one_list_once(split: str, tree: Path) -> None:
    (tree / f"{split}.txt").write_text(f"{A}_3\n{A}_0\n{A}_0\n")
    with pytest.raises(DataError, match=r"lists M-.*, which .*txt lists too; expected every tile"):
        LandCoverAi(tree).ids("train")


def test_a_list_that_is_no_text_is_refused(tree: Path) -> None:
    (tree / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"val.txt cannot be read as text .*; expected one tile"):
        LandCoverAi(tree).ids("val")


def test_a_tile_that_is_none_is_refused(published: Path) -> None:
    with pytest.raises(DataError, match=f"no tile '{A}_2'; expected NAME_k of a whole tile"):
        LandCoverAi(published).read(f"{A}_2", None)


# Damaged or other files


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images holds no \*.tif; expected the orthophotos"):
        LandCoverAi(tmp_path)


def test_images_smaller_than_a_tile_are_refused(write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "images" / "a.tif", np.zeros((3, 600, 511), np.uint8), bands=())
    with pytest.raises(DataError, match="holds no image of 512 x 512 px or more; expected"):
        LandCoverAi(tmp_path)


@pytest.mark.parametrize("kind", [(4, "uint8"), (3, "uint16")])
def test_an_image_of_another_kind_is_refused(
    kind: tuple[int, str], write_aerial: Write, tmp_path: Path
) -> None:
    image = np.zeros((kind[0], 9, 9), dtype=kind[1])
    write_aerial(tmp_path / "images" / "a.tif", image, bands=())
    with pytest.raises(BandError, match=rf"a.tif has {kind[0]} {kind[1]} band\(s\); expected 3 of"):
        LandCoverAi(tmp_path)


def test_a_mask_of_another_size_is_refused(write_aerial: Write, tree: Path) -> None:
    write_aerial(tree / "masks" / f"{A}.tif", mask_of(B)[None], bands=())
    with pytest.raises(DataError, match=r"uint8 1 x 530 x 1030; expected uint8 1 x 1100 x 1300"):
        LandCoverAi(tree).read(f"{A}_0", None)


def test_a_mask_with_another_class_is_refused_where_it_is(write_aerial: Write, tree: Path) -> None:
    mask = mask_of(A)
    mask[600, 0] = 5
    write_aerial(tree / "masks" / f"{A}.tif", mask[None], bands=())
    assert LandCoverAi(tree).read(f"{A}_0", None).labels is not None
    with pytest.raises(DataError, match=rf"holds the value 5 in tile {A}_3; expected 0 to 4; give"):
        LandCoverAi(tree).read(f"{A}_3", None)


def test_an_image_without_a_mask_has_no_labels(tree: Path) -> None:
    (tree / "masks" / f"{B}.tif").unlink()
    dataset = LandCoverAi(tree)
    assert dataset.read(f"{B}_0", None).labels is None
    assert dataset.read(f"{A}_0", None).labels is not None


# Sentinel-2


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", [f"{A}_1", f"{A}_3"])
def test_the_satellite_window_lies_on_the_ground_of_the_tile(
    axis: int, name: str, write_aerial: Write, tree: Path
) -> None:
    place = write_plane(write_aerial, tree / "sentinel2" / A, axis)
    dataset = LandCoverAi(tree)
    x, y = dataset.position(name)
    (x,), (y,) = rasterio.warp.transform("EPSG:2180", S2_CRS, [x], [y])
    expected = (place.f - y if axis == 0 else x - place.c) / 10 - 0.5
    satellite = dataset.read(name, SPEC).satellite
    assert satellite is not None
    assert satellite.series.shape == (12, 10, 4, 4)
    found = (satellite.series[5, 0].mean() * 10_000 - 1) / 50
    assert found == pytest.approx(expected, abs=0.02)


def test_an_image_takes_its_own_series_before_the_shared_one(
    write_aerial: Write, tree: Path
) -> None:
    write_plane(write_aerial, tree / "sentinel2", 0)
    shared = LandCoverAi(tree).satellite_input(f"{A}_1", SPEC).series
    write_plane(write_aerial, tree / "sentinel2" / A, 1)
    own = LandCoverAi(tree).satellite_input(f"{A}_1", SPEC).series
    assert np.ptp(own[5, 0], axis=1).min() > np.ptp(own[5, 0], axis=0).max()
    assert np.ptp(shared[5, 0], axis=0).min() > np.ptp(shared[5, 0], axis=1).max()


def test_an_image_without_a_series_is_refused_when_one_is_needed(
    write_aerial: Write, tree: Path
) -> None:
    dataset = LandCoverAi(tree)
    assert dataset.read(f"{B}_0", None).satellite is None
    for folder in (tree, tree / "sentinel2" / A):
        write_plane(write_aerial, folder, 0)
        with pytest.raises(SatelliteError, match=rf"no Sentinel-2 series for {B}; expected S2_Y"):
            dataset.read(f"{B}_0", SPEC)


def test_few_series_are_kept_and_each_is_opened_once_while_it_is(
    write_aerial: Write, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = [f"s{number}" for number in range(MOST_SERIES + 1)]
    for name in sheets:
        shutil.copy(tree / "images" / f"{A}.tif", tree / "images" / f"{name}.tif")
        write_plane(write_aerial, tree / "sentinel2" / name, 0)
    opened: list[str] = []

    def counting(folder: Path, offset: OffsetOption) -> object:
        opened.append(folder.name)
        return open_series(folder, offset=offset)

    monkeypatch.setattr(runtime.datasets.series_folder, "open_series", counting)
    dataset = LandCoverAi(tree)
    for name in [*sheets, sheets[1], sheets[0]]:
        for number in (0, 1):
            dataset.satellite_input(f"{name}_{number}", SPEC)
    assert opened == [*sheets, sheets[0]]


# Fingerprint


@pytest.mark.parametrize("file", ["masks/new.tif", "train.txt", "sentinel2/S2_20210601.tif"])
def test_the_fingerprint_tells_when_what_is_read_has_changed(file: str, tree: Path) -> None:
    shutil.copy(tree / "images" / f"{A}.tif", tree / "images" / "new.tif")
    before = LandCoverAi(tree).fingerprint()
    (tree / "notes.txt").write_text("not read")
    assert LandCoverAi(tree).fingerprint() == before
    (tree / file).parent.mkdir(exist_ok=True)
    with (tree / file).open("a") as target:
        target.write("more")
    assert LandCoverAi(tree).fingerprint() != before
