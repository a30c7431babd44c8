import hashlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from runtime.dataset import open_dataset
from runtime.datasets.label_colors import decode
from runtime.datasets.potsdam import Potsdam
from runtime.datasets.potsdam_published import PALETTE
from segx import __version__
from segx.sample import write_potsdam
from segx.sample.refine import refine_image, refine_labels

SIDE = 512


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_potsdam(tmp_path_factory.mktemp("potsdam") / "data", seed=3, tile_px=SIDE)


@pytest.fixture(scope="module")
def tree(root: Path) -> Potsdam:
    dataset = open_dataset(root)
    assert isinstance(dataset, Potsdam)
    return dataset


def test_the_files_have_the_names_and_folders_of_the_published_ones(root: Path) -> None:
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    tiles = [(row, col) for row in (2, 3, 4) for col in (10, 11, 12, 13)]
    assert found == {"README.txt"} | {
        name
        for row, col in tiles
        for name in (
            f"1_DSM_normalisation/dsm_potsdam_{row:02d}_{col:02d}_normalized_lastools.jpg",
            f"2_Ortho_RGB/2_Ortho_RGB/top_potsdam_{row}_{col}_RGB.tif",
            f"3_Ortho_IRRG/top_potsdam_{row}_{col}_IRRG.tif",
            f"5_Labels_all/top_potsdam_{row}_{col}_label.tif",
            f"5_Labels_all_noBoundary/top_potsdam_{row}_{col}_label_noBoundary.tif",
        )
    }


def test_every_patch_can_be_read_at_five_centimetres(tree: Potsdam) -> None:
    assert tree.bands == ("red", "green", "blue", "nir", "elevation")
    assert {split: len(ids) for split, ids in tree.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 3,
    }
    for patch_id in tree.groups():
        sample = tree.read(patch_id, None)
        assert sample.aerial.shape == (5, SIDE, SIDE)
        assert sample.labels is not None
        assert tree.resolution_m(patch_id) == pytest.approx(0.05)


def test_the_quirks_of_the_published_data_are_there(tree: Potsdam, root: Path) -> None:
    assert tree.short_heights() == {"3_13": "0 row(s) and 1 column(s)"}
    decoded = {name: tree.decoded(patch_id) for patch_id, name in tree.groups().items()}
    strange = {name: found.unknown for name, found in decoded.items() if found is not None}
    assert strange.pop("4_12") > 0
    assert set(strange.values()) == {0}
    assert "4_12" not in {tree.groups()[i] for ids in tree.splits.values() for i in ids}
    with rasterio.open(next(root.rglob("*_2_10_RGB.tif"))) as image:
        assert image.tags()["SEGX_SAMPLE"] == __version__


def test_labels_without_boundaries_are_the_others_where_they_are_not_black(root: Path) -> None:
    black = 0
    for path in (root / "5_Labels_all").iterdir():
        inner = root / "5_Labels_all_noBoundary" / f"{path.stem}_noBoundary.tif"
        with rasterio.open(path) as whole, rasterio.open(inner) as rest:
            colors, kept = whole.read(), rest.read()
        hidden = (kept == 0).all(axis=0)
        np.testing.assert_array_equal(kept[:, ~hidden], colors[:, ~hidden])
        found = decode(colors, PALETTE)
        edge = found.labels[1:] != found.labels[:-1]
        if not found.unknown:
            assert hidden[1:][edge].all()
            assert hidden[:-1][edge].all()
        black += int(hidden.sum())
    assert black > 0


def test_neighbouring_tiles_lie_beside_each_other(tree: Potsdam) -> None:
    x, y = tree.position("2_10_r0000_c0000")
    assert tree.position("2_11_r0000_c0000") == pytest.approx((x + SIDE * 0.05, y))
    assert tree.position("3_10_r0000_c0000") == pytest.approx((x, y - SIDE * 0.05))


def test_a_seed_gives_the_same_files(root: Path, tmp_path: Path) -> None:
    def hashes(folder: Path) -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*potsdam*.*")
        }

    told: list[tuple[int, int]] = []
    again = write_potsdam(
        tmp_path / "again", seed=3, tile_px=SIDE, on_tile=lambda *done: told.append(done)
    )
    assert hashes(again) == hashes(root)
    assert told == [(done, 12) for done in range(1, 13)]


@pytest.mark.parametrize("side", [60, 130])
def test_tiles_that_cannot_be_refined_are_refused(side: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need a multiple of 4 px, 64 or more"):
        write_potsdam(tmp_path / "out", seed=0, tile_px=side)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_refining_keeps_labels_and_stays_between_the_pixels(
    rows: int, cols: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, (rows, cols), dtype=np.uint8)
    np.testing.assert_array_equal(refine_labels(labels)[1::4, 2::4], labels)
    image = rng.integers(0, 256, (2, rows, cols), dtype=np.uint8)
    fine = refine_image(image)
    assert fine.shape == (2, 4 * rows, 4 * cols)
    np.testing.assert_array_equal(fine[:, [0, -1]][:, :, [0, -1]], image[:, [0, -1]][:, :, [0, -1]])
    means = fine.reshape(2, rows, 4, cols, 4).mean(axis=(2, 4))
    if rows == cols == 1:
        np.testing.assert_array_equal(means, image)
    assert fine.min() >= image.min()
    assert fine.max() <= image.max()
