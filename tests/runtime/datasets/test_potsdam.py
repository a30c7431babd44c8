import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from potsdam_tree import RGB, SIDE, classes_of, colors_of, pixels_of, write

from runtime.datasets.potsdam import Potsdam
from runtime.datasets.potsdam_published import (
    BENCHMARK_TRAIN,
    CLASSES,
    TEST_TILES,
    TRAIN_TILES,
    VAL_TILES,
)
from runtime.datasets.windows import corners
from runtime.errors import BandError, DataError, GridError, SatelliteError
from runtime.raster import describe
from runtime.satellite import SatelliteSpec

Add = Callable[..., Path]
Write = Callable[..., Path]
STARTS = (0, 128, 172)
"""First rows and columns of patches of 128 px in a tile of 300 px."""


def patch(tile: str, row: int, col: int) -> str:
    return f"{tile}_r{row:04d}_c{col:04d}"


def window(pixels: NDArray[np.uint8], row: int, col: int) -> NDArray[np.uint8]:
    return pixels[..., row : row + 128, col : col + 128]


def open_tree(root: Path, tile: int = 128) -> Potsdam:
    return Potsdam(root, tile=tile)


# Patches


def test_a_published_tile_gives_144_patches_and_the_last_are_shifted_to_the_edge() -> None:
    found = list(corners((6000, 6000), 512))
    assert len(found) == len(set(found)) == 144
    assert max(found) == (5488, 5488)
    assert [col for row, col in found if row == 0][-2:] == [5120, 5488]


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 172), (128, 0), (172, 128), (172, 172)])
def test_a_patch_is_its_window_of_image_height_and_labels(row: int, col: int, potsdam: Add) -> None:
    sample = open_tree(potsdam("2_10")).read(patch("2_10", row, col), None)
    assert sample.bands == ("red", "green", "blue", "nir", "elevation")
    np.testing.assert_array_equal(sample.aerial[:4], window(pixels_of("2_10", 4), row, col))
    assert (sample.aerial[4] == 30).all()
    np.testing.assert_array_equal(sample.labels, window(classes_of("2_10"), row, col))


@pytest.mark.parametrize("side", [64, 256, 300])
def test_patches_of_every_size_cover_the_tile(side: int, potsdam: Add) -> None:
    tree = open_tree(potsdam("2_10"), side)
    seen = np.zeros((SIDE, SIDE), dtype=np.int64)
    for item in tree.patches.values():
        seen[item.row : item.row + side, item.col : item.col + side] += 1
    assert seen.min() == 1
    assert tree.read(next(iter(tree.patches)), None).aerial.shape == (5, side, side)


def test_a_tile_smaller_than_a_patch_is_refused(potsdam: Add) -> None:
    with pytest.raises(DataError, match="is 300 x 300 px; expected 512 px or more on each side"):
        open_tree(potsdam("2_10"), 512)


def test_a_patch_that_is_none_is_refused(potsdam: Add) -> None:
    with pytest.raises(DataError, match="no patch '2_10_r0001_c0000'; expected one such as '2_10_"):
        open_tree(potsdam("2_10")).read(patch("2_10", 1, 0), None)


# Folders


@pytest.mark.parametrize(
    ("kinds", "bands"),
    [
        (("RGB",), ("red", "green", "blue", "elevation")),
        (("IRRG",), ("red", "green", "nir", "elevation")),
        (("RGB", "IRRG"), ("red", "green", "blue", "nir", "elevation")),
        (("RGBIR",), ("red", "green", "blue", "nir", "elevation")),
        (("RGB", "IRRG", "RGBIR"), ("red", "green", "blue", "nir", "elevation")),
    ],
)
def test_bands_go_by_name_whichever_archives_are_there(
    kinds: tuple[str, ...], bands: tuple[str, ...], potsdam: Add
) -> None:
    sample = open_tree(potsdam("2_10", kinds=kinds)).read(patch("2_10", 128, 172), None)
    assert sample.bands == bands
    ground = dict(zip(("red", "green", "blue", "nir"), pixels_of("2_10", 4), strict=True))
    for band, pixels in zip(bands[:-1], sample.aerial, strict=False):
        np.testing.assert_array_equal(pixels, window(ground[band], 128, 172))
    turned = sample.with_bands(bands[::-1])
    np.testing.assert_array_equal(turned.aerial, sample.aerial[::-1])


def test_an_infrared_band_is_data_even_where_gdal_takes_it_for_alpha(potsdam: Add) -> None:
    root = potsdam("2_10")
    dark = pixels_of("2_10", 4)
    dark[3] = 0
    write(root / "4_Ortho_RGBIR" / "top_potsdam_2_10_RGBIR.tif", dark)
    sample = open_tree(root).read(patch("2_10", 0, 0), None)
    np.testing.assert_array_equal(sample.aerial[:4], window(dark, 0, 0))


@pytest.mark.parametrize("nested", ["2_Ortho_RGB/2_Ortho_RGB", "2_Ortho_RGB", "."])
def test_folders_may_be_flat_or_nested_twice(nested: str, potsdam: Add) -> None:
    root = potsdam("2_10", kinds=("IRRG",))
    write(root / nested / "top_potsdam_2_10_RGB.tif", pixels_of("2_10", 5)[RGB])
    assert "blue" in open_tree(root).bands


def test_numbers_may_be_padded_in_some_names_only(potsdam: Add) -> None:
    tree = open_tree(potsdam("2_10", "6_7"))
    assert list(tree.tiles) == ["2_10", "6_7"]
    heights = {name: str(files.height) for name, files in tree.tiles.items()}
    assert heights["6_7"].endswith("dsm_potsdam_06_07_normalized_lastools.jpg")


def test_an_orthophoto_that_is_there_twice_is_named_with_both_places(potsdam: Add) -> None:
    root = potsdam("2_10", kinds=("RGB",))
    shutil.copytree(root / "2_Ortho_RGB", root / "copy")
    with pytest.raises(DataError, match=r"RGB.tif is there twice \(.*Ortho_RGB.*copy.*\); expec"):
        open_tree(root)


def test_the_participants_labels_are_taken_where_there_are_no_others(potsdam: Add) -> None:
    root = potsdam("2_10", "2_13")
    for whole, few in (
        ("5_Labels_all", "5_Labels_for_participants"),
        ("5_Labels_all_noBoundary", "5_Labels_for_participants_no_Boundary"),
    ):
        (root / few).mkdir()
        for path in (root / whole).glob("*_2_10_*"):
            shutil.copy(path, root / few)
    tree = open_tree(root)
    assert "5_Labels_all/" in str(tree.labels_file(patch("2_10", 0, 0)))
    shutil.rmtree(root / "5_Labels_all")
    shutil.rmtree(root / "5_Labels_all_noBoundary")
    tree = open_tree(root)
    assert "for_participants/" in str(tree.labels_file(patch("2_10", 0, 0)))
    assert tree.read(patch("2_13", 0, 0), None).labels is None


def test_a_folder_without_orthophotos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no top_potsdam_\*.tif; expected the orthophotos"):
        open_tree(tmp_path)


def test_tiles_that_share_no_band_are_refused(potsdam: Add) -> None:
    root = potsdam("2_10", kinds=("IRRG",))
    shutil.rmtree(root / "1_DSM_normalisation")
    (root / "3_Ortho_IRRG" / "top_potsdam_2_10_IRRG.tif").unlink()
    write(root / "top_potsdam_2_11_RGB.tif", pixels_of("2_11", 3))
    write(root / "top_potsdam_2_10_IRRG.tif", pixels_of("2_10", 3))
    assert open_tree(root).bands == ("red", "green")


# Heights


def test_the_missing_column_of_a_surface_model_repeats_the_one_before(potsdam: Add) -> None:
    root = potsdam("3_13")
    ramp = np.tile(np.arange(SIDE - 1) // 2, (1, SIDE, 1)).astype(np.uint8)
    path = root / "1_DSM_normalisation" / "dsm_potsdam_03_13_normalized_lastools.jpg"
    path.unlink()
    write(path.with_suffix(".tif"), ramp)
    tree = open_tree(root)
    found = tree.read(patch("3_13", 0, 172), None).aerial[4]
    np.testing.assert_array_equal(found[:, :127], ramp[0, :128, 172:])
    np.testing.assert_array_equal(found[:, 127], ramp[0, :128, -1])
    np.testing.assert_array_equal(
        tree.read(patch("3_13", 0, 0), None).aerial[4], ramp[0, :128, :128]
    )
    assert tree.short_heights() == {"3_13": "0 row(s) and 1 column(s)"}


def test_a_surface_model_that_lacks_more_is_refused(potsdam: Add) -> None:
    root = potsdam("2_10")
    path = root / "1_DSM_normalisation" / "dsm_potsdam_02_10_normalized_lastools.jpg"
    write(path, np.zeros((1, SIDE, SIDE - 2), np.uint8), placed=False)
    with pytest.raises(DataError, match="is 300 x 298 px; expected 300 x 300 as the tile's ortho"):
        open_tree(root)


def test_without_every_normalised_surface_model_there_is_no_elevation(potsdam: Add) -> None:
    root = potsdam("2_10", "2_11")
    (root / "1_DSM_normalisation" / "dsm_potsdam_02_11_normalized_lastools.jpg").unlink()
    write(root / "1_DSM" / "dsm_potsdam_02_11.tif", np.full((1, SIDE, SIDE), 97.5, np.float32))
    tree = open_tree(root)
    assert tree.bands == ("red", "green", "blue", "nir")
    assert tree.tiles["2_11"].surface is not None
    assert tree.read(patch("2_11", 0, 0), None).aerial.shape == (4, 128, 128)


# Labels


def test_the_classes_are_in_the_order_of_the_benchmark_and_clutter_is_not_scored() -> None:
    assert [(item.name, item.rgb) for item in CLASSES] == [
        ("impervious surfaces", (255, 255, 255)),
        ("building", (0, 0, 255)),
        ("low vegetation", (0, 255, 255)),
        ("tree", (0, 255, 0)),
        ("car", (255, 255, 0)),
        ("clutter", (255, 0, 0)),
    ]
    assert [item.scored for item in CLASSES] == [True] * 5 + [False]


def test_colours_off_the_palette_take_the_nearest_class_or_are_ignored_and_counted(
    potsdam: Add,
) -> None:
    root = potsdam("2_10")
    colors = colors_of(classes_of("2_10"))
    colors[:, 0, :3] = np.array([(252, 255, 0), (8, 8, 247), (9, 0, 255)]).T
    write(root / "5_Labels_all" / "top_potsdam_2_10_label.tif", colors)
    found = open_tree(root).decoded(patch("2_10", 0, 0))
    assert found is not None
    assert found.labels[0, :3].tolist() == [4, 1, 255]
    assert (found.near, found.unknown) == (2, 1)
    np.testing.assert_array_equal(found.labels[1:], classes_of("2_10")[1:128, :128])


def test_training_learns_from_whole_labels_and_the_rest_is_measured_without_boundaries(
    potsdam: Add,
) -> None:
    tree = open_tree(potsdam("2_10", "2_12", "2_13"))
    for tile, ignored in (("2_10", False), ("2_12", True), ("2_13", True)):
        labels = tree.labels(patch(tile, 0, 0))
        assert labels is not None
        assert bool((labels[:, ::9] == 255).all()) is ignored
        assert (labels[:, 1:9] != 255).all()


def test_either_kind_of_labels_serves_where_the_other_is_missing(potsdam: Add) -> None:
    root = potsdam("2_10", "2_12")
    (root / "5_Labels_all" / "top_potsdam_2_10_label.tif").unlink()
    (root / "5_Labels_all_noBoundary" / "top_potsdam_2_12_label_noBoundary.tif").unlink()
    tree = open_tree(root)
    assert "noBoundary" in str(tree.labels_file(patch("2_10", 0, 0)))
    assert "noBoundary" not in str(tree.labels_file(patch("2_12", 0, 0)))


@pytest.mark.parametrize("bands", [1, 4])
def test_labels_that_are_not_drawn_in_colours_are_refused(bands: int, potsdam: Add) -> None:
    root = potsdam("2_10")
    labels = np.zeros((bands, SIDE, SIDE), np.uint8)
    write(root / "5_Labels_all" / "top_potsdam_2_10_label.tif", labels)
    with pytest.raises(BandError, match=rf"has {bands} uint8 band\(s\); expected 3 of uint8; give"):
        open_tree(root).read(patch("2_10", 0, 0), None)


# Splits


def test_the_splits_are_those_of_the_benchmark_without_the_mislabelled_tile(potsdam: Add) -> None:
    assert (len(BENCHMARK_TRAIN), len(TEST_TILES)) == (24, 14)
    assert (len(TRAIN_TILES), len(VAL_TILES)) == (18, 5)
    assert set(BENCHMARK_TRAIN) == {*TRAIN_TILES, *VAL_TILES, "4_12"}
    assert not set(BENCHMARK_TRAIN) & set(TEST_TILES)
    tree = open_tree(potsdam("2_10", "2_12", "2_13", "4_12"))
    tiles = {
        split: {tree.groups()[patch_id] for patch_id in ids} for split, ids in tree.splits.items()
    }
    assert tiles == {"train": {"2_10"}, "val": {"2_12"}, "test": {"2_13"}}
    assert "4_12" in tree.groups().values()


def test_a_splits_file_of_tiles_puts_any_of_them_back_whatever_the_size_of_patches(
    potsdam: Add,
) -> None:
    root = potsdam("2_10", "4_12")
    splits = {"train": ["4_12"], "val": ["2_10"]}
    (root / "splits.json").write_text(json.dumps(splits))
    for side in (128, 256):
        tree = open_tree(root, side)
        for split, (tile,) in splits.items():
            assert {tree.groups()[patch_id] for patch_id in tree.ids(split)} == {tile}
        assert sum(map(len, tree.splits.values())) == len(tree.patches)


def test_a_split_that_is_empty_is_no_split(potsdam: Add) -> None:
    with pytest.raises(DataError, match=r"has no split 'val'; it has train \(9\); choose one"):
        open_tree(potsdam("2_10")).ids("val")


# Places


def test_patches_lie_where_the_files_say_five_centimetres_a_pixel(potsdam: Add) -> None:
    tree = open_tree(potsdam("2_10"))
    assert tree.resolution_m(patch("2_10", 0, 0)) == pytest.approx(0.05)
    assert tree.grids["2_10"].grid.crs.to_epsg() == 32633
    x, y = tree.position(patch("2_10", 128, 0))
    assert (x, y) == pytest.approx((366_676.5 + 64 * 0.05, 5_808_460.3 - 192 * 0.05))


def test_without_a_georeference_patches_can_be_told_apart_and_have_no_series(
    potsdam: Add, write_series: Write
) -> None:
    root = potsdam("2_10", "3_11")
    for tile in ("2_10", "3_11"):
        path = root / "4_Ortho_RGBIR" / f"top_potsdam_{tile}_RGBIR.tif"
        write(path, pixels_of(tile, 4), placed=False)
    write_series(root / "sentinel2")
    tree = open_tree(root)
    assert not tree.grids["2_10"].placed
    here, east = tree.position(patch("2_10", 0, 0)), tree.position(patch("2_10", 0, 128))
    south = tree.position(patch("3_11", 0, 0))
    assert (east[0] - here[0], east[1] - here[1]) == pytest.approx((6.4, 0.0))
    assert (south[0] - here[0], south[1] - here[1]) == pytest.approx((300.0, -300.0))
    assert tree.resolution_m(patch("2_10", 0, 0)) == pytest.approx(0.05)
    with pytest.raises(SatelliteError, match=r"RGBIR.tif has no georeference; expected one, to fi"):
        tree.read(patch("2_10", 0, 0), SatelliteSpec(window=4))


def test_a_series_may_lie_beside_the_tiles(potsdam: Add, write_series: Write) -> None:
    root = potsdam("2_10")
    with pytest.raises(SatelliteError, match=r"no Sentinel-2 series for 2_10; expected S2_YYYYMM"):
        open_tree(root).read(patch("2_10", 0, 0), SatelliteSpec(window=4))
    assert "Copernicus" not in open_tree(root).licence
    write_series(root / "sentinel2")
    tree = open_tree(root)
    assert "Copernicus" in tree.licence
    # The series lies elsewhere, which only a series that is read can say.
    with pytest.raises(
        SatelliteError, match="the series has 40 x 40 px; give a series that covers"
    ):
        tree.read(patch("2_10", 0, 0), SatelliteSpec(window=4))


def test_a_file_without_any_place_is_refused_where_nothing_is_assumed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", pixels_of("2_10", 3), placed=False)
    with pytest.raises(GridError, match="has no CRS; expected a georeferenced raster"):
        describe(path)


@pytest.mark.parametrize("file", ["5_Labels_all/top_potsdam_2_10_label.tif", "splits.json"])
def test_the_fingerprint_tells_when_what_is_read_has_changed(file: str, potsdam: Add) -> None:
    root = potsdam("2_10")
    before = open_tree(root).fingerprint()
    (root / "notes.txt").write_text("not read")
    assert open_tree(root).fingerprint() == before
    assert open_tree(root, 256).fingerprint() != before
    with (root / file).open("a") as target:
        target.write("{}")
    assert open_tree(root).fingerprint() != before
