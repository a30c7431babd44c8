"""Weights under FLAIR-HUB's published names become a checkpoint that computes the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from published_hub import PublishedHub, published_weights, with_statistics
from safetensors.torch import save_file
from torch import Tensor

from runtime.errors import CheckpointError
from trainkit.checkpoint import load_checkpoint
from trainkit.config import TrainConfig
from trainkit.importing import ImportOptions, ImportReport, import_weights

TILE = 256
OPTIONS = ImportOptions(segx_version="0.1.0")
INPUT = f"""
[input]
aerial_bands = ["nir", "red", "green"]
aerial_mean = [106.59, 105.66, 111.35]
aerial_std = [39.78, 52.23, 45.62]
tile_size = {TILE}
"""
AERIAL = """
name = "flair-hub-small"
num_classes = 19
[[aerial]]
architecture = "upernet"
encoder = "{encoder}"
width = 16
head_width = 8
{settings}
[fusion]
weights = [1.0]
"""
JOINT = """
name = "flair-hub-small"
num_classes = 19
[joint]
architecture = "flair-hub"
encoder = "convnextv2_atto"
encoder_widths = [8, 12, 16, 24]
encoder_depths = [1, 1, 1, 1]
width = 16
head_width = 8
[joint.satellite]
encoder_widths = [16, 16, 32, 32]
decoder_widths = [16, 16, 32, 32]
n_head = 4
d_model = 32
stride = 1
"""
WINDOW = f"""
satellite_window = 10
satellite_resolution_m = {TILE * 0.2 / 10}
"""
STAGES = "encoder_widths = [8, 12, 16, 24]\nencoder_depths = [1, 1, 1, 1]"
SMALL: dict[str, Any] = {"bands": 3, "classes": 19, "width": 16, "head_width": 8}
CONVNEXT: dict[str, Any] = {"dims": (8, 12, 16, 24), "depths": (1, 1, 1, 1)}


def written(folder: Path, published: PublishedHub, config: str) -> tuple[Path, str]:
    file, target = folder / "weights.safetensors", folder / "small.toml"
    save_file(published_weights(published), file)
    target.write_text(config)
    return file, str(target)


def imported(folder: Path, published: PublishedHub, config: str) -> ImportReport:
    file, target = written(folder, published, config)
    return import_weights(file, target, folder / "run", OPTIONS)


def normalised(config: TrainConfig, image: Tensor) -> Tensor:
    mean, std = (
        torch.tensor(v).view(1, -1, 1, 1)
        for v in (config.input.aerial_mean, config.input.aerial_std)
    )
    return (image.float() - mean) / std


@pytest.fixture(scope="module")
def series() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        "aerial": torch.randint(0, 256, (1, 3, TILE, TILE), generator=generator, dtype=torch.uint8),
        "satellite": torch.rand(1, 12, 10, 10, 10, generator=generator) * 0.5,
        "date_mask": torch.ones(1, 12),
        "days": torch.linspace(-120.0, 214.0, 12).round()[None],
    }


@pytest.fixture(scope="module")
def dual() -> PublishedHub:
    torch.manual_seed(5)
    model = PublishedHub("convnextv2_atto", satellite=(16, 16, 32, 32), **SMALL, **CONVNEXT)
    return with_statistics(model)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("encoder", "settings", "arguments"),
    [
        ("convnextv2_atto", STAGES, CONVNEXT),
        ("swin_s3_tiny_224", "", {"img_size": TILE}),
    ],
)
@torch.no_grad()
def test_an_aerial_model_computes_what_the_published_one_does(
    encoder: str,
    settings: str,
    arguments: dict[str, Any],
    tmp_path: Path,
    series: dict[str, Tensor],
) -> None:
    torch.manual_seed(5)
    published = PublishedHub(encoder, **SMALL, **arguments)
    with_statistics(published)
    config = AERIAL.format(encoder=encoder, settings=settings) + INPUT + TRAINING
    report = imported(tmp_path, published, config)
    checkpoint = load_checkpoint(tmp_path / "run")
    expected = published(normalised(checkpoint.config, series["aerial"]))
    torch.testing.assert_close(checkpoint.model(series), expected, atol=1e-4, rtol=1e-4)
    assert (report.layout, report.prefix) == ("FLAIR-HUB, encoder from timm", "model.")
    assert not report.passed_over
    # What FLAIR-HUB holds and does not read: fusion, losses, and the level of the image.
    for part in ("fusion_handler", "criterion", "fpn_stages.4"):
        assert any(part in name for name in report.not_read)
    assert checkpoint.classes[0].name == "building"
    assert checkpoint.classes[18].name == "undefined"


TRAINING = f"""
[training.aerial]
crop_px = {TILE}
"""


@torch.no_grad()
def test_a_dual_model_computes_what_the_published_one_does(
    tmp_path: Path, dual: PublishedHub, series: dict[str, Tensor]
) -> None:
    report = imported(tmp_path, dual, JOINT + INPUT + WINDOW)
    checkpoint = load_checkpoint(tmp_path / "run")
    image = normalised(checkpoint.config, series["aerial"])
    expected = dual(image, series["satellite"][0] * 10_000, series["days"][0])
    torch.testing.assert_close(checkpoint.model(series), expected, atol=1e-4, rtol=1e-4)
    blank = checkpoint.model(series | {"satellite": torch.zeros(1, 12, 10, 10, 10)})
    assert not torch.allclose(blank, expected, atol=1e-2)
    assert any("out_conv" in name for name in report.not_read)


def test_a_dual_file_does_not_become_an_aerial_model(tmp_path: Path, dual: PublishedHub) -> None:
    config = AERIAL.format(encoder="convnextv2_atto", settings=STAGES) + INPUT + TRAINING
    file, target = written(tmp_path, dual, config)
    with pytest.raises(CheckpointError, match=r"has no place.*SENTINEL2|SENTINEL2.*has no place"):
        import_weights(file, target, tmp_path / "run", OPTIONS)
    report = import_weights(
        file, target, tmp_path / "run", replace(OPTIONS, ignore_unexpected=True)
    )
    assert any("SENTINEL2" in name for name in report.passed_over)


def test_an_aerial_file_does_not_become_a_dual_model(tmp_path: Path) -> None:
    published = PublishedHub("convnextv2_atto", **SMALL, **CONVNEXT)
    file, target = written(tmp_path, published, JOINT + INPUT + WINDOW)
    with pytest.raises(CheckpointError, match=r"lacks satellite.utae"):
        import_weights(file, target, tmp_path / "run", OPTIONS)
    assert not (tmp_path / "run").exists()
