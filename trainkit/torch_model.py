"""A model in PyTorch that runs like a bundle: feed in, classes and confidence out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runtime.errors import BackendError, FeedError
from runtime.manifest import Variant
from runtime.model import make_feed
from runtime.sample import Sample

from .models import LandCoverModel, Part


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
        *branches, classes, probabilities = self.model.parts()
        last = classes if variant == "classes" else probabilities
        self.pieces: tuple[Part, ...] = (*branches, last)

    @property
    def takes_satellite(self) -> bool:
        """Whether the model has a satellite branch."""
        return self.model.config.takes_satellite

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
                float32 (N, T, B, h, w), `date_mask` and `days` float32 (N, T). In place of a
                branch's inputs it may hold what the branch gives: then it is not run.

        Returns:
            What each branch gives, such as `aerial_logits`, and `classes` and `confidence`, uint8
            (N, H, W), or `probabilities`, float32 (N, K, H, W).

        Raises:
            FeedError: If an array is missing or does not match.
        """
        known = {name: torch.from_numpy(array).to(self.device) for name, array in feed.items()}
        made: dict[str, Tensor] = {}
        try:
            for part in self.pieces:
                if all(spec.name in feed for spec in part.outputs):
                    continue
                result = part.module(*(known[spec.name] for spec in part.inputs))
                found = result if isinstance(result, tuple) else (result,)
                made.update(zip((spec.name for spec in part.outputs), found, strict=True))
                known.update(made)
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
        return {name: value.cpu().numpy() for name, value in made.items()}

    def without_satellite(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Give zeros for what the satellite branch gives, so that it is not run.

        Args:
            feed: `aerial`, uint8 (N, C, H, W).
        """
        batch = len(feed["aerial"])
        outputs = (
            spec for part in self.pieces if part.role == "satellite" for spec in part.outputs
        )
        zeros = {spec.name: torch.zeros(batch, *spec.shape, dtype=spec.dtype) for spec in outputs}
        return {**feed, **{name: value.numpy() for name, value in zeros.items()}}

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def best_device() -> torch.device:
    """Choose a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def feed_of(sample: Sample, model: LandCoverModel) -> dict[str, Tensor]:
    """Give the tensors that a model takes of one sample, on the model's device."""
    satellite = [sample.satellite] if sample.satellite is not None else None
    arrays = make_feed([sample.aerial], satellite)
    return {
        name: torch.from_numpy(np.ascontiguousarray(array)).to(model.device)
        for name, array in arrays.items()
    }
