"""A model in PyTorch that runs like a bundle: feed in, classes and confidence out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runtime.errors import BackendError, FeedError
from runtime.manifest import Variant
from runtime.model import make_feed
from runtime.sample import Sample

from .models import ClassMap, LandCoverModel, ProbabilityMap


class TorchModel:
    """A trained model in FP32, with the interface of `runtime.model.TileModel`.

    Args:
        model: The model; it is put into evaluation mode.
        variant: Whether runs end in classes or in probabilities.
        device: Where it runs; a GPU where there is one by default.
    """

    precision = "fp32"
    batch = 1
    parts = ()
    """A checkpoint is one piece."""

    def __init__(
        self,
        model: LandCoverModel,
        *,
        variant: Variant = "classes",
        device: torch.device | None = None,
    ) -> None:
        self.device = device or best_device()
        self.model = model.eval().to(self.device)
        self.last: nn.Module = (
            ClassMap(model.fusion) if variant == "classes" else ProbabilityMap(model.fusion)
        )
        self.outputs = ("classes", "confidence") if variant == "classes" else ("probabilities",)

    @property
    def takes_satellite(self) -> bool:
        """Whether the model has a satellite branch."""
        return "satellite" in self.model.branch_names

    def run_many(
        self, feeds: Iterable[Mapping[str, NDArray[Any]]]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Run feeds one after the other; see `run`."""
        return map(self.run, feeds)

    def run_satellite(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Refuse: the parts of a checkpoint are not run one by one.

        Raises:
            BackendError: Always.
        """
        raise BackendError(
            "a checkpoint runs as one piece; expected a bundle for a lattice of satellite windows; "
            "export the checkpoint"
        )

    @torch.no_grad()
    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the whole model.

        Args:
            feed: `aerial` uint8 (N, C, H, W) and, for models with a satellite branch, `satellite`
                float32 (N, T, B, h, w), `date_mask` and `days` float32 (N, T).

        Returns:
            Logits of each branch, `aerial_logits` and so on, and `classes` and `confidence`, uint8
            (N, H, W), or `probabilities`, float32 (N, K, H, W).

        Raises:
            FeedError: If an array is missing or does not match.
        """
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in feed.items()}
        try:
            logits = {n: self.model.branch_logits(n, tensors) for n in self.model.branch_names}
            results = self.last(*logits.values())
        except KeyError as error:
            raise FeedError(
                f"the feed holds {', '.join(feed)}; the model also takes {error}; add it"
            ) from error
        except (ValueError, RuntimeError) as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feed.items())
            raise FeedError(
                f"the feed has the shapes {shapes}; {str(error).splitlines()[0]}; "
                "give arrays as the model takes them"
            ) from error
        found = results if isinstance(results, tuple) else (results,)
        named = {f"{name}_logits": value for name, value in logits.items()}
        named.update(zip(self.outputs, found, strict=True))
        return {name: value.cpu().numpy() for name, value in named.items()}

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def best_device() -> torch.device:
    """Choose a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def feed_of(sample: Sample, model: LandCoverModel) -> dict[str, Tensor]:
    """Give the tensors that a model takes of one sample, on the model's device."""
    satellite = [sample.satellite] if sample.satellite is not None else None
    arrays = make_feed([sample.aerial], satellite)
    device = model.fusion.weights.device
    return {
        name: torch.from_numpy(np.ascontiguousarray(array)).to(device)
        for name, array in arrays.items()
    }


def branch_logits(model: LandCoverModel, sample: Sample) -> dict[str, Tensor]:
    """Give every branch's logits on the tile's grid, shape (1, K, H, W), without weights."""
    feed = feed_of(sample, model)
    return {
        name: model.fusion.upsample(name, model.branch_logits(name, feed))
        for name in model.branch_names
    }
