"""A model in PyTorch as plain as it can be timed: eager, FP32, to the class map and no further."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.classes import LandCoverClass
from runtime.errors import ConfigError

from .checkpoint import build_empty, load_checkpoint
from .config import load
from .inputs import aerial_spec, satellite_spec
from .models import LandCoverModel
from .torch_model import best_device


class EagerModel:
    """A model that gives classes alone, without their confidence.

    Args:
        model: The model; it is put into evaluation mode, on a GPU where there is one.
    """

    precision = "fp32"
    batch = 1
    parts = ()

    def __init__(self, model: LandCoverModel) -> None:
        self.device = best_device()
        self.model = model.eval().to(self.device)

    @torch.inference_mode()
    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Give `classes`, uint8 (N, H, W), of a feed as `torch_model.TorchModel.run` takes it."""
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in feed.items()}
        classes = self.model(tensors).argmax(dim=1).to(torch.uint8)
        return {"classes": classes.cpu().numpy()}

    def run_many(
        self, feeds: Iterable[Mapping[str, NDArray[Any]]]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Run feeds one after the other; see `run`."""
        return map(self.run, feeds)

    def run_satellite(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Refuse: the model is one piece."""
        raise NotImplementedError("an eager model runs as one piece")

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def open_random(preset: str, classes: tuple[LandCoverClass, ...]) -> tuple[ModelCard, EagerModel]:
    """Build a preset with random weights, which takes the same time as any others.

    Args:
        preset: Its name, or a TOML file.
        classes: Classes that it is to tell apart.

    Raises:
        ConfigError: If there is no such preset, or it has another number of classes.
    """
    config = load(preset)
    if config.num_classes != len(classes):
        raise ConfigError(
            f"{preset} has {config.num_classes} classes; expected {len(classes)}, those of the "
            "data; choose another preset"
        )
    torch.manual_seed(config.seed)
    card = ModelCard(
        name=config.name,
        sha256="",
        verified=False,
        toy=False,
        aerial=aerial_spec(config),
        satellite=satellite_spec(config),
        classes=classes,
    )
    return card, EagerModel(build_empty(config))


def open_trained(checkpoint: Path) -> tuple[ModelCard, EagerModel]:
    """Open a checkpoint.

    Raises:
        CheckpointError: If it is none, or damaged.
    """
    opened = load_checkpoint(checkpoint)
    return opened.card, EagerModel(opened.model)
