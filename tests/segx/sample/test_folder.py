import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from runtime.dataset import open_dataset
from runtime.datasets.folder_dataset import FolderDataset
from runtime.satellite import SatelliteSpec
from segx.sample import write_folder

SIZES = ((640, 700), (300, 700))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("folder") / "data", seed=5, sizes=SIZES)


def test_the_folder_holds_images_labels_settings_and_series(root: Path) -> None:
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*"))
    assert names == [
        f"{kind}/field-{number}{end}"
        for kind, end in (("images", ".tif"), ("labels", ".tif"), ("sentinel2", ""))
        for number in (1, 2)
    ]
    assert (root / "dataset.toml").is_file()


def test_every_tile_can_be_read_with_its_series(root: Path) -> None:
    dataset = open_dataset(root)
    assert isinstance(dataset, FolderDataset)
    assert dataset.bands == ("red", "green", "blue", "nir")
    assert dataset.licence == "none: synthetic data"
    assert len(dataset.groups()) == 4 + 2
    for patch_id, name in dataset.groups().items():
        sample = dataset.read(patch_id, SatelliteSpec())
        assert sample.satellite is not None
        assert sample.satellite.date_mask.sum() >= 9
        assert sample.labels is not None
        filled = name == "field-2"
        assert bool((sample.labels[300:] == 255).all()) is filled
        assert dataset.resolution_m(patch_id) == pytest.approx(0.2)


def test_nobody_has_labelled_the_first_rows(root: Path) -> None:
    dataset = open_dataset(root)
    labels = dataset.read("field-1_r00000_c00000", None).labels
    assert labels is not None
    np.testing.assert_array_equal((labels == 255).all(axis=1), np.arange(512) < 8)


def test_sentinel_2_lies_where_the_labels_are(
    root: Path, agreement: Callable[..., dict[tuple[int, int], float]]
) -> None:
    score = agreement(root / "labels" / "field-1.tif", (20, 40), root / "sentinel2" / "field-1")
    assert max(score, key=lambda shift: score[shift]) == (0, 0)


def test_a_seed_gives_the_same_files(root: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    again = write_folder(
        tmp_path / "again", seed=5, sizes=SIZES, on_image=lambda *done: told.append(done)
    )
    for path in root.rglob("*.t*"):
        other = again / path.relative_to(root)
        assert hashlib.sha256(path.read_bytes()).digest() == (
            hashlib.sha256(other.read_bytes()).digest()
        ), path.name
    assert told == [(1, 2), (2, 2)]
    with rasterio.open(again / "images" / "field-1.tif") as source:
        assert source.descriptions == ("red", "green", "blue", "nir")


@pytest.mark.parametrize("sizes", [((520, 600),), ((520, 600), (60, 600))])
def test_too_few_or_too_small_images_are_refused(
    sizes: tuple[tuple[int, int], ...], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="need two or more of 64 px or more on each side"):
        write_folder(tmp_path / "out", seed=0, sizes=sizes)
    assert list(tmp_path.iterdir()) == []
