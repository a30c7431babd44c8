import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from runtime.dataset import open_dataset, samples
from runtime.datasets.landcover_ai import LandCoverAi
from runtime.satellite import SatelliteSpec
from segx import __version__
from segx.sample import summarise, write_landcover_ai

SHAPE = (640, 1120)
"""One row of two tiles, of three across."""
NAMES = ["X-00-1-A-a-1-1", "X-00-2-A-a-1-1"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("landcover") / "tree"
    return write_landcover_ai(out, seed=4, sheets=2, shape=SHAPE)


def test_the_tree_holds_what_landcover_ai_holds_and_a_series_per_image(tree: Path) -> None:
    assert sorted(path.name for path in tree.iterdir()) == [
        "README.txt",
        "images",
        "masks",
        "sentinel2",
        "test.txt",
        "train.txt",
        "val.txt",
    ]
    for folder in ("images", "masks"):
        assert sorted(path.name for path in (tree / folder).iterdir()) == [
            f"{name}.tif" for name in NAMES
        ]
    assert sorted(path.name for path in (tree / "sentinel2").iterdir()) == NAMES


def test_images_and_masks_are_as_published(tree: Path) -> None:
    for name in NAMES:
        with (
            rasterio.open(tree / "images" / f"{name}.tif") as image,
            rasterio.open(tree / "masks" / f"{name}.tif") as mask,
        ):
            assert (image.count, mask.count) == (3, 1)
            assert image.shape == mask.shape == SHAPE
            assert image.dtypes == ("uint8",) * 3
            assert image.res == (0.25, 0.25)
            assert image.crs.to_epsg() == mask.crs.to_epsg() == 2180
            assert image.transform == mask.transform
            assert image.tags()["SEGX_SAMPLE"] == mask.tags()["SEGX_SAMPLE"] == __version__
            values = mask.read(1)
        assert values.max() <= 4
        assert len(np.unique(values)) >= 3


def test_every_tile_is_in_one_list(tree: Path) -> None:
    dataset = open_dataset(tree)
    assert isinstance(dataset, LandCoverAi)
    assert sorted(dataset.splits) == ["test", "train", "val"]
    listed = [name for ids in dataset.splits.values() for name in ids]
    assert sorted(listed) == sorted(dataset.tiles) == [f"{n}_{k}" for n in NAMES for k in (0, 1)]


def test_every_tile_can_be_read_with_its_satellite_input(tree: Path) -> None:
    dataset = open_dataset(tree)
    for split in dataset.splits:
        for sample in samples(dataset, split, SatelliteSpec()):
            assert sample.aerial.shape == (3, 512, 512)
            assert sample.labels is not None
            assert sample.satellite is not None
            assert sample.satellite.date_mask.sum() >= 9
            assert dataset.resolution_m(sample.id) == 0.25


def test_sentinel_2_lies_where_the_masks_are(
    tree: Path, agreement: Callable[..., dict[tuple[int, int], float]]
) -> None:
    """Woodland, warped by GDAL, must match the near infrared best without a shift."""
    for name in NAMES:
        score = agreement(tree / "masks" / f"{name}.tif", (2,), tree / "sentinel2" / name)
        assert max(score, key=lambda shift: score[shift]) == (0, 0)


def test_image_and_mask_are_coarsened_alike(tree: Path) -> None:
    """Woodland is greenest where the mask says that it is, not a few pixels beside that."""
    for name in NAMES:
        with rasterio.open(tree / "images" / f"{name}.tif") as source:
            red, green, blue = source.read().astype(np.float64)
        with rasterio.open(tree / "masks" / f"{name}.tif") as source:
            wood = source.read(1) == 2
        # A share of the light, so that shadows beside the trees do not count.
        colour = (2 * green - red - blue) / (red + green + blue)
        greenest = {
            shift: colour[np.roll(wood, shift, (0, 1))].mean()
            for shift in ((0, 0), (0, 6), (0, -6), (6, 0), (-6, 0))
        }
        assert max(greenest, key=lambda shift: greenest[shift]) == (0, 0)


def test_the_summary_counts_images_tiles_dates_and_classes(tree: Path) -> None:
    summary = summarise(tree)
    counts = "2 images with 4 tiles of 512 px (train 2, val 1, test 1), "
    assert re.fullmatch(re.escape(counts) + r"\d\d to \d\d Sentinel-2 dates each", summary.contents)
    assert {name for name, _ in summary.shares} <= {
        "background",
        "building",
        "woodland",
        "water",
        "road",
    }
    assert sum(share for _, share in summary.shares) == pytest.approx(1)


def test_a_seed_gives_the_same_files_and_another_seed_others(tree: Path, tmp_path: Path) -> None:
    def hashes(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*.t??")
        }

    seen: list[tuple[int, int]] = []
    again = write_landcover_ai(
        tmp_path / "again",
        seed=4,
        sheets=2,
        shape=SHAPE,
        on_sheet=lambda done, total: seen.append((done, total)),
    )
    assert hashes(again) == hashes(tree)
    assert seen == [(1, 2), (2, 2)]
    other = write_landcover_ai(tmp_path / "other", seed=5, sheets=2, shape=SHAPE)
    image = f"images/{NAMES[0]}.tif"
    assert hashes(other)[image] != hashes(tree)[image]


@pytest.mark.parametrize("shape", [(512, 1025), (512, 1024), (500, 9000)])
def test_too_few_tiles_and_sides_that_cannot_be_coarsened_are_refused(
    shape: tuple[int, int], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="need multiples of 4 px and 3 tiles or more"):
        write_landcover_ai(tmp_path / "out", seed=0, sheets=1, shape=shape)
    assert list(tmp_path.iterdir()) == []
