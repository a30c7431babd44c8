"""A model in PyTorch as it is timed: the classes of the whole model, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.datasets.flair import CLASSES
from runtime.errors import CheckpointError, ConfigError
from trainkit.eager import EagerModel, open_random, open_trained
from trainkit.models import LandCoverModel

SMALL = """
name = "small"
num_classes = 13

[input]
tile_size = 256
satellite_window = 16

[[aerial]]
encoder = "resnet18"
encoder_widths = [8, 8, 8, 8]
encoder_depths = [1, 1, 1, 1]
decoder_width = 16
pretrained = "imagenet"

[satellite]
encoder_widths = [8, 8, 16, 16]
decoder_widths = [8, 8, 16, 16]
n_head = 4
d_model = 16

[fusion]
weights = 0.7

[training.aerial]
crop_px = 256
"""


@pytest.fixture(name="preset", scope="module")
def _preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("eager") / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def _feed(model: LandCoverModel) -> dict[str, torch.Tensor]:
    feed: dict[str, torch.Tensor] = {}
    for part in model.parts():
        if part.role != "fusion":
            feed |= part.example(batch=1)
    return feed


def test_the_classes_are_those_of_the_largest_logit(preset: str) -> None:
    card, model = open_random(preset, CLASSES)
    assert (card.name, card.aerial.tile_size, card.classes) == ("small", 256, CLASSES)
    assert card.satellite is not None
    tensors = _feed(model.model)
    result = model.run({name: tensor.numpy() for name, tensor in tensors.items()})
    assert list(result) == ["classes"]
    assert result["classes"].dtype == np.uint8
    assert result["classes"].shape == (1, 256, 256)
    with torch.no_grad():
        expected = model.model(tensors).argmax(dim=1).numpy()
    assert np.array_equal(result["classes"], expected)


def test_the_weights_of_a_preset_are_the_same_every_time(preset: str) -> None:
    first, second = (open_random(preset, CLASSES)[1] for _ in range(2))
    feed = {name: tensor.numpy() for name, tensor in _feed(first.model).items()}
    assert not first.model.training
    (left,), (right,) = (model.run_many([feed]) for model in (first, second))
    assert np.array_equal(left["classes"], right["classes"])


def test_another_number_of_classes_is_refused(preset: str) -> None:
    with pytest.raises(ConfigError, match=r"has 13 classes; expected 12, those of the data"):
        open_random(preset, CLASSES[1:])


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint\.json"):
        open_trained(tmp_path)


def test_an_eager_model_has_no_parts(preset: str) -> None:
    model: EagerModel = open_random(preset, CLASSES)[1]
    assert (model.parts, model.batch, model.precision) == ((), 1, "fp32")
