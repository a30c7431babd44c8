"""What every whole model is: a feed in, logits on the tile's grid out, exported part by part.

aerial uint8 (N,C,H,W) ----------------- aerial ------+
satellite (N,T,B,h,w), date mask, days - satellite ---+- fusion --- logits (N,K,H,W)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from runtime.sample import Sample

from ..config import TrainConfig

# Shape letters: N batch, C aerial channels, H W aerial pixels, T dates, B Sentinel-2 bands,
# h w Sentinel-2 cells, K classes.

Role = Literal["aerial", "satellite", "fusion"]

MONTHS = 12
"""Time steps T of the satellite input: one per calendar month."""

CONFIDENCE_STEPS = 254.0
"""Confidence is stored as round(254 x probability); 255 is nodata."""

AERIAL_INPUTS = ("aerial",)
SATELLITE_INPUTS = ("satellite", "date_mask", "days")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Logits that training compares with labels."""

    name: str
    logits: Tensor
    """Shape (N, K, H/stride, W/stride)."""
    weight: float
    """Weight of its loss."""
    stride: int
    """Aerial pixels per pixel of the logits."""
    ignore: tuple[int, ...] = ()
    """Classes whose pixels its loss leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTensor:
    """One input or output of a part; its first dimension is the batch and may vary."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    """Dimensions after the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of the model that becomes one graph."""

    name: str
    role: Role
    module: nn.Module
    """Takes its inputs by position, in the order of `inputs`; a single output is one tensor."""
    inputs: tuple[PartTensor, ...]
    outputs: tuple[PartTensor, ...]

    def example(self, *, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
        """Make a feed of random numbers in the range of real inputs."""
        generator = torch.Generator().manual_seed(seed)
        return {spec.name: _random(spec, batch, generator) for spec in self.inputs}


class ClassMap(nn.Module):
    """A fusion that ends in the class map and its confidence, both uint8 of shape (N, H, W).

    Args:
        fusion: What the branches give to logits, shape (N, K, H, W).
    """

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Give class indices, and round(254 x probability of the winning class)."""
        fused: Tensor = self.fusion(*given)
        # Through float32: TensorRT casts only floating point to uint8 outputs.
        classes = fused.argmax(dim=1).to(torch.float32).to(torch.uint8)
        # The softmax of the largest alone: ONNX Runtime takes six times as long for all of them.
        largest = fused.amax(dim=1, keepdim=True)
        best = (fused - largest).exp().sum(dim=1).reciprocal()
        return classes, (best * CONFIDENCE_STEPS).round().to(torch.uint8)


class ProbabilityMap(nn.Module):
    """A fusion that ends in probabilities, float32 of shape (N, K, H, W).

    Args:
        fusion: What the branches give to logits, shape (N, K, H, W).
    """

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, *given: Tensor) -> Tensor:
        """Give the probability of every class."""
        fused: Tensor = self.fusion(*given)
        # A softmax over classes, which ONNX Runtime runs several times faster in these steps.
        shares: Tensor = (fused - fused.amax(dim=1, keepdim=True)).exp()
        return shares / shares.sum(dim=1, keepdim=True)


class SampleList(Protocol):
    """Samples by their place, such as the patches of a training."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """Read one."""


class LandCoverModel(nn.Module):
    """A whole model; each family of models is a subclass.

    Args:
        config: A whole training run.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def branch_names(self) -> tuple[str, ...]:
        """Names of the parts before the fusion, in order: aerial, aerial_2, satellite."""
        raise NotImplementedError

    @property
    def units(self) -> tuple[str, ...]:
        """Names of what is trained on its own, in the order of training."""
        raise NotImplementedError

    def unit(self, name: str) -> nn.Module:
        """Give what is trained under a name of `units`."""
        raise NotImplementedError

    def forward(self, feed: Mapping[str, Tensor]) -> Tensor:
        """Give logits on the tile's grid, shape (N, K, H, W).

        Args:
            feed: `aerial` uint8 (N, C, H, W); `satellite` float32 (N, T, B, h, w), `date_mask` and
                `days` float32 (N, T); only those that a branch takes.
        """
        raise NotImplementedError

    def own_logits(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give each branch's own logits on the tile's grid, of those branches that have some."""
        raise NotImplementedError

    def parts(self) -> tuple[Part, ...]:
        """The pieces to export, in order of execution; the last one is a variant of the fusion."""
        raise NotImplementedError

    def prepare(self, samples: SampleList) -> None:
        """Take from the training samples what is fixed before training; most take nothing."""

    def facts(self) -> dict[str, object]:
        """Give what was taken in `prepare`, for the record of where the model comes from."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def aerial_inputs(self) -> tuple[PartTensor, ...]:
        """What an aerial part takes: pixels as stored."""
        inputs = self.config.input
        shape = (len(inputs.aerial_bands), inputs.tile_size, inputs.tile_size)
        (name,) = AERIAL_INPUTS
        return (PartTensor(name=name, dtype=torch.uint8, shape=shape),)

    def satellite_inputs(self) -> tuple[PartTensor, ...]:
        """What a satellite part takes: a series of months, which of them are real, their days."""
        inputs = self.config.input
        window = inputs.satellite_window
        series = (MONTHS, len(inputs.satellite_bands), window, window)
        shapes = dict(zip(SATELLITE_INPUTS, (series, (MONTHS,), (MONTHS,)), strict=True))
        return tuple(
            PartTensor(name=name, dtype=torch.float32, shape=shape)
            for name, shape in shapes.items()
        )

    def fusion_parts(self, fusion: nn.Module, inputs: tuple[PartTensor, ...]) -> tuple[Part, Part]:
        """Both variants of the last part: to the class map, and to probabilities.

        Args:
            fusion: What the branches give to logits, shape (N, K, H, W).
            inputs: What the branches give.
        """
        size, count = self.config.input.tile_size, self.config.num_classes
        maps = tuple(
            PartTensor(name=name, dtype=torch.uint8, shape=(size, size))
            for name in ("classes", "confidence")
        )
        probabilities = PartTensor(
            name="probabilities", dtype=torch.float32, shape=(count, size, size)
        )
        return (
            Part(
                name="fusion",
                role="fusion",
                module=ClassMap(fusion),
                inputs=inputs,
                outputs=maps,
            ),
            Part(
                name="fusion_probabilities",
                role="fusion",
                module=ProbabilityMap(fusion),
                inputs=inputs,
                outputs=(probabilities,),
            ),
        )


def _random(spec: PartTensor, batch: int, generator: torch.Generator) -> Tensor:
    shape = (batch, *spec.shape)
    if spec.dtype == torch.uint8:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    if spec.name == "date_mask":
        mask = (torch.rand(shape, generator=generator) > 0.3).float()
        mask[:, 0] = 1.0
        return mask
    if spec.name == "days":
        days = torch.linspace(-120.0, 214.0, spec.shape[0]).round()
        return days.expand(shape).contiguous()
    if spec.name == "satellite":
        return torch.rand(shape, generator=generator) * 0.5
    return torch.randn(shape, generator=generator)
