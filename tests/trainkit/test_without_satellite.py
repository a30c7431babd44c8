"""A model in PyTorch whose satellite branch is left out."""

import numpy as np
import pytest
import torch

from trainkit.config import TrainConfig
from trainkit.models import build
from trainkit.models.landcover import LandCoverModel
from trainkit.torch_model import TorchModel

SIDE = 512


@pytest.fixture
def model(tiny: TrainConfig) -> LandCoverModel:
    torch.manual_seed(3)
    return build(tiny)


def test_zeros_stand_for_the_branch_that_is_not_run(model: LandCoverModel) -> None:
    runner = TorchModel(model, device=torch.device("cpu"))
    aerial = np.random.default_rng(0).integers(0, 256, (1, 5, SIDE, SIDE), dtype=np.uint8)
    feed = runner.without_satellite({"aerial": aerial})
    found = runner.run(feed)
    assert "satellite_logits" not in found
    with torch.no_grad():
        own = model.own_logits({"aerial": torch.from_numpy(aerial)} | _nothing(model))["aerial"]
    assert (found["classes"] == own.argmax(dim=1).numpy()).all()


def _nothing(model: LandCoverModel) -> dict[str, torch.Tensor]:
    return {spec.name: torch.zeros(1, *spec.shape) for spec in model.satellite_inputs()}
