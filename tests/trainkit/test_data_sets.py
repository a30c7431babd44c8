"""Two steps on samples of data sets whose bands, classes and tiles are their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.dataset import open_dataset
from segx.sample import write_folder, write_potsdam
from trainkit.checkpoint import load_checkpoint
from trainkit.config import FusionConfig, InputConfig, TrainConfig
from trainkit.plan import TrainOptions
from trainkit.survey import is_generated
from trainkit.train import Watch, train

OPTIONS = TrainOptions(segx_version="0.1.0", steps=2)


@pytest.fixture(scope="module")
def potsdam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tiles of one patch each."""
    return write_potsdam(tmp_path_factory.mktemp("data") / "potsdam", seed=3, tile_px=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of a few tiles each, one of them lower than a tile, with Sentinel-2."""
    sizes = ((300, 300), (260, 400), (200, 300))
    return write_folder(tmp_path_factory.mktemp("data") / "folder", seed=3, sizes=sizes)


def inputs_of(bands: tuple[str, ...], resolution_m: float) -> InputConfig:
    return InputConfig(
        aerial_bands=bands,
        aerial_mean=(100.0,) * len(bands),
        aerial_std=(50.0,) * len(bands),
        tile_size=256,
        resolution_m=resolution_m,
        satellite_window=16,
    )


def test_potsdam_is_trained_on_with_some_bands_in_an_order_of_the_configs(
    potsdam: Path, tiny: TrainConfig, tmp_path: Path
) -> None:
    bands = ("elevation", "nir", "red", "green")
    config = replace(tiny, num_classes=6, input=inputs_of(bands, 0.05), satellite=None)
    run = train(config, potsdam, tmp_path / "run", OPTIONS, Watch())
    checkpoint = load_checkpoint(run)
    assert [item.name for item in checkpoint.info.classes][:2] == [
        "impervious surfaces",
        "building",
    ]
    assert "ISPRS benchmark terms" in str(checkpoint.info.provenance)


def test_a_folder_of_ones_own_is_trained_on_with_both_inputs(
    folder: Path, tiny: TrainConfig, tmp_path: Path
) -> None:
    bands = ("red", "green", "blue", "nir")
    even = FusionConfig(weights=0.5)
    config = replace(tiny, num_classes=4, input=inputs_of(bands, 0.2), fusion=even)
    run = train(config, folder, tmp_path / "run", OPTIONS, Watch())
    assert [item.name for item in load_checkpoint(run).info.classes] == [
        "built",
        "trees",
        "water",
        "open land",
    ]


def test_generated_files_without_a_georeference_are_known_as_generated(potsdam: Path) -> None:
    assert is_generated(potsdam)
    labels = open_dataset(potsdam, tile=256).read("2_10_r0000_c0000", None).labels
    assert labels is not None
    assert set(np.unique(labels)) <= {*range(6), 255}
