import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.datasets.flair import class_indices
from runtime.datasets.scene_dataset import SceneDataset
from runtime.errors import BandError, DataError, GridError, SatelliteError
from runtime.raster import describe
from runtime.satellite import SatelliteSpec
from runtime.scene import find_scenes

Write = Callable[..., Path]
SPEC = SatelliteSpec(window=8)
CORNERS = [(row, col) for row in (0, 64) for col in (0, 64, 128)]
"""Tiles of 64 px in 150 x 203 px."""
SHAPES = [(10, 14), (21, 10), (17, 33)]


def pixels(height: int = 10, width: int = 14, bands: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(1, 256, (bands, height, width), dtype=np.uint8)


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as source:
        image: NDArray[np.uint8] = source.read()
    return image


def test_a_scene_is_its_whole_tiles_row_by_row(tiny_scene: Path) -> None:
    dataset = SceneDataset(tiny_scene, tile=64)
    aerial, labels = read(tiny_scene / "aerial.tif"), read(tiny_scene / "labels.tif")[0]
    assert dataset.splits == {"scene": dataset.ids("scene")}
    assert len(dataset.ids("scene")) == len(CORNERS)
    for name, (row, col) in zip(dataset.ids("scene"), CORNERS, strict=True):
        sample = dataset.read(name, None)
        box = (slice(row, row + 64), slice(col, col + 64))
        assert sample.bands == ("red", "green", "blue", "nir", "elevation")
        np.testing.assert_array_equal(sample.aerial, aerial[:, box[0], box[1]])
        np.testing.assert_array_equal(sample.labels, class_indices(labels[box], where="labels"))
        assert sample.satellite is None


def test_the_satellite_window_of_a_tile_is_that_of_inference(tiny_scene: Path) -> None:
    (scene,) = find_scenes(tiny_scene, None, needs_satellite=True)
    assert scene.satellite is not None
    dataset = SceneDataset(tiny_scene, tile=64)
    grid = describe(scene.aerial).grid
    for name, (row, col) in zip(dataset.ids("scene"), CORNERS, strict=True):
        found = dataset.read(name, SPEC).satellite
        expected = scene.satellite.prepare(grid, row + 32, col + 32, SPEC)
        assert found is not None
        np.testing.assert_array_equal(found.series, expected.series)
        assert found.dates_used == expected.dates_used


def test_a_tile_knows_its_place_its_resolution_and_its_scene(tiny_scene: Path) -> None:
    dataset = SceneDataset(tiny_scene, tile=64)
    transform = describe(tiny_scene / "aerial.tif").grid.transform
    for name, (row, col) in zip(dataset.ids("scene"), CORNERS, strict=True):
        x, y = transform.c + (col + 32) * 0.2, transform.f - (row + 32) * 0.2
        assert dataset.position(name) == pytest.approx((x, y), abs=1e-6)
        assert dataset.resolution_m(name) == pytest.approx(0.2)
    assert dataset.groups() == dict.fromkeys(dataset.ids("scene"), tiny_scene.name)


@pytest.fixture(scope="module")
def scenes(
    tmp_path_factory: pytest.TempPathFactory, write_aerial: Write
) -> dict[tuple[int, int], Path]:
    """Scenes without labels by their shape."""
    return {
        shape: write_aerial(tmp_path_factory.mktemp("s") / "aerial.tif", pixels(*shape)).parent
        for shape in SHAPES
    }


@given(side=st.integers(1, 10), shape=st.sampled_from(SHAPES))
def test_tiles_neither_overlap_nor_leave_room_for_another(
    scenes: dict[tuple[int, int], Path], side: int, shape: tuple[int, int]
) -> None:
    dataset = SceneDataset(scenes[shape], tile=side)
    seen = np.zeros(shape, dtype=np.int64)
    for name in dataset.ids("scene"):
        row, col = (int(part[3:]) for part in name.split("_"))
        seen[row : row + side, col : col + side] += 1
    whole = [size // side * side for size in shape]
    assert (seen[: whole[0], : whole[1]] == 1).all()
    assert seen.sum() == whole[0] * whole[1]


# Nodata


def test_tiles_that_are_nodata_for_more_than_half_are_left_out(
    write_aerial: Write, tmp_path: Path
) -> None:
    image = pixels(8, 12)
    image[:, 0:2, 0:4] = 0  # half of the first tile
    image[:, 0:2, 4:8] = 0  # half of the second and one pixel more
    image[:, 2, 4] = 0
    image[:4, 0:4, 8:12] = 0  # the third in all bands but one: data
    write_aerial(tmp_path / "aerial.tif", image, nodata=0)
    ids = SceneDataset(tmp_path, tile=4).ids("scene")
    assert [name.split("_") for name in ids] == [
        [f"row{row:06d}", f"col{col:06d}"] for row, col in ((0, 0), (0, 8), (4, 0), (4, 4), (4, 8))
    ]


def test_labels_are_ignored_where_the_image_shows_nothing(
    write_aerial: Write, tmp_path: Path
) -> None:
    shown = np.random.default_rng(1).random((8, 8)) < 0.7
    write_aerial(tmp_path / "aerial.tif", pixels(8, 8), mask=shown)
    values = np.random.default_rng(2).integers(0, 20, (1, 8, 8), dtype=np.uint8)
    write_aerial(tmp_path / "labels.tif", values, bands=())
    labels = SceneDataset(tmp_path, tile=8).read("row000000_col000000", None).labels
    expected = np.where(shown, class_indices(values[0], where="labels"), 255)
    np.testing.assert_array_equal(labels, expected)


def test_a_scene_of_nodata_is_refused(write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "aerial.tif", np.zeros((5, 8, 8), np.uint8), nodata=0)
    with pytest.raises(DataError, match=r"is mostly nodata in every tile of 4 px; expected a tile"):
        SceneDataset(tmp_path, tile=4).ids("scene")


# Bands


@pytest.mark.parametrize(
    ("names", "count", "expected"),
    [
        (("NIR", "Red", "Green"), 3, ("nir", "red", "green")),
        ((), 4, ("red", "green", "blue", "nir")),
        (("Band 1", "Band 2", "Band 3"), 3, ("red", "green", "blue")),
        (("red",), 5, ("red", "green", "blue", "nir", "elevation")),
    ],
)
def test_bands_are_called_what_the_file_says_else_what_flair_says(
    names: tuple[str, ...],
    count: int,
    expected: tuple[str, ...],
    write_aerial: Write,
    tmp_path: Path,
) -> None:
    write_aerial(tmp_path / "aerial.tif", pixels(bands=count), bands=names)
    dataset = SceneDataset(tmp_path, tile=5)
    assert dataset.bands == expected
    assert dataset.read("row000005_col000000", None).bands == expected


def test_more_bands_than_flair_has_need_names(write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "aerial.tif", pixels(bands=6), bands=())
    with pytest.raises(BandError, match=r"has 6 bands without names; expected names, or at most r"):
        SceneDataset(tmp_path, tile=5)


def test_another_type_is_refused(write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "aerial.tif", pixels().astype(np.uint16))
    with pytest.raises(BandError, match=r"aerial.tif is uint16; expected uint8; rescale it first"):
        SceneDataset(tmp_path, tile=5)


# What is missing or of another kind


def test_a_scene_without_labels_and_series_can_be_read(write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "aerial.tif", pixels())
    dataset = SceneDataset(tmp_path, tile=5)
    assert dataset.read("row000000_col000005", None).labels is None
    with pytest.raises(SatelliteError, match=r"sentinel2 is not there; expected a folder of S2_"):
        dataset.read("row000000_col000005", SPEC)


def test_a_scene_smaller_than_a_tile_is_refused(tiny_scene: Path) -> None:
    with pytest.raises(DataError, match=r"is 150 x 203 px; expected 512 px or more on each side"):
        SceneDataset(tiny_scene)


def test_a_tile_of_nothing_is_a_wrong_call(tiny_scene: Path) -> None:
    with pytest.raises(ValueError, match="tiles of 0 px; need 1 px or more"):
        SceneDataset(tiny_scene, tile=0)


def test_another_split_is_refused(tiny_scene: Path) -> None:
    with pytest.raises(DataError, match=r"has no split 'val'; it has scene \(6\); choose one"):
        SceneDataset(tiny_scene, tile=64).ids("val")


def test_a_tile_of_another_size_is_unknown(tiny_scene: Path) -> None:
    with pytest.raises(DataError, match=r"no tile 'row000010_col000000'; expected one such as 'ro"):
        SceneDataset(tiny_scene, tile=64).read("row000010_col000000", None)


@pytest.mark.parametrize("moved", [False, True])
def test_labels_on_another_grid_are_refused(
    moved: bool, write_aerial: Write, tmp_path: Path
) -> None:
    image = write_aerial(tmp_path / "aerial.tif", pixels())
    place = describe(image).grid.transform
    shape = (10, 14) if moved else (10, 13)
    write_aerial(
        tmp_path / "labels.tif",
        np.ones((1, *shape), np.uint8),
        bands=(),
        transform=Affine(0.2, 0, place.c + 0.2 * moved, 0, -0.2, place.f),
    )
    with pytest.raises(GridError, match=r"labels.tif is 10 x 1\d px on another grid than"):
        SceneDataset(tmp_path, tile=5)


def test_labels_of_two_bands_are_refused(write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "aerial.tif", pixels())
    write_aerial(tmp_path / "labels.tif", pixels(bands=2), bands=())
    with pytest.raises(DataError, match=r"labels.tif has 2 uint8 band\(s\); expected one"):
        SceneDataset(tmp_path, tile=5)


# Fingerprint


def test_the_fingerprint_tells_tile_sizes_and_files_apart(tiny_scene: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_scene, tmp_path / "copy")
    found = [SceneDataset(tiny_scene, tile=side).fingerprint() for side in (64, 32)]
    assert SceneDataset(copy, tile=64).fingerprint() == found[0] != found[1]
    for gone in ("sentinel2/S2_20210115.tif", "labels.tif"):
        (copy / gone).unlink()
        found.append(SceneDataset(copy, tile=64).fingerprint())
    assert len(set(found)) == len(found)
