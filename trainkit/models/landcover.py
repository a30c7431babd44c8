"""The whole model: branches, late fusion, and the parts that are exported one by one.

aerial uint8 (N,C,H,W) ----------------- aerial ------ (N,K,H/s,W/s) --+
satellite (N,T,B,h,w), date mask, days - satellite --- (N,K,h,w) ------+- fusion - (N,K,H,W)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .aerial import AerialBranch
from .architectures import build_aerial
from .fusion import LateFusion
from .utae import SatelliteBranch

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
    """Fusion that ends in the class map and its confidence, both uint8 of shape (N, H, W)."""

    def __init__(self, fusion: LateFusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, *logits: Tensor) -> tuple[Tensor, Tensor]:
        """Give class indices, and round(254 x probability of the winning class)."""
        fused = self.fusion(*logits)
        # Through float32: TensorRT casts only floating point to uint8 outputs.
        classes = fused.argmax(dim=1).to(torch.float32).to(torch.uint8)
        # The softmax of the largest alone: ONNX Runtime takes six times as long for all of them.
        largest = fused.amax(dim=1, keepdim=True)
        best = (fused - largest).exp().sum(dim=1).reciprocal()
        return classes, (best * CONFIDENCE_STEPS).round().to(torch.uint8)


class ProbabilityMap(nn.Module):
    """Fusion that ends in probabilities, float32 of shape (N, K, H, W)."""

    def __init__(self, fusion: LateFusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, *logits: Tensor) -> Tensor:
        """Give the probability of every class."""
        fused = self.fusion(*logits)
        # A softmax over classes, which ONNX Runtime runs several times faster in these steps.
        shares: Tensor = (fused - fused.amax(dim=1, keepdim=True)).exp()
        return shares / shares.sum(dim=1, keepdim=True)


class LandCoverModel(nn.Module):
    """Branches side by side and their late fusion.

    Args:
        config: A whole training run; its weights for fusion are used where they are numbers,
            else every branch counts the same until `fusion.set_weights`.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.branches = nn.ModuleDict()
        for index, aerial in enumerate(config.aerial):
            name = "aerial" if index == 0 else f"aerial_{index + 1}"
            self.branches[name] = build_aerial(aerial, config.input, config.num_classes)
        if config.satellite is not None:
            self.branches["satellite"] = SatelliteBranch(
                config.satellite, len(config.input.satellite_bands), config.num_classes
            )
        count = len(self.branches)
        given = config.fusion_weights
        weights = given if isinstance(given, tuple) else (1.0 / count,) * count
        strides = {
            name: branch.stride
            for name, branch in self.branches.items()
            if isinstance(branch, AerialBranch)
        }
        self.fusion = LateFusion(
            config.input, self.branch_names, strides, weights, config.num_classes
        )

    @property
    def branch_names(self) -> tuple[str, ...]:
        """Names of the branches in the order of fusion: aerial, aerial_2, satellite."""
        return tuple(self.branches)

    def branch_logits(self, branch: str, feed: Mapping[str, Tensor]) -> Tensor:
        """Give one branch's own logits: aerial at its stride, satellite at its cells."""
        names = SATELLITE_INPUTS if branch == "satellite" else AERIAL_INPUTS
        logits: Tensor = self.branches[branch](*(feed[name] for name in names))
        return logits

    def forward(self, feed: Mapping[str, Tensor]) -> Tensor:
        """Give fused logits on the tile's grid, shape (N, K, H, W).

        Args:
            feed: `aerial` uint8 (N, C, H, W); `satellite` float32 (N, T, B, h, w), `date_mask` and
                `days` float32 (N, T); only those that a branch takes.
        """
        fused: Tensor = self.fusion(*(self.branch_logits(name, feed) for name in self.branches))
        return fused

    def parts(self) -> tuple[Part, ...]:
        """The pieces to export, in order of execution; the last one is a variant of the fusion."""
        size = self.config.input.tile_size
        branches = [self._branch_part(name) for name in self.branches]
        logits = tuple(part.outputs[0] for part in branches)
        maps = tuple(
            PartTensor(name=name, dtype=torch.uint8, shape=(size, size))
            for name in ("classes", "confidence")
        )
        shape = (self.config.num_classes, size, size)
        probabilities = PartTensor(name="probabilities", dtype=torch.float32, shape=shape)
        return (
            *branches,
            Part(
                name="fusion",
                role="fusion",
                module=ClassMap(self.fusion),
                inputs=logits,
                outputs=maps,
            ),
            Part(
                name="fusion_probabilities",
                role="fusion",
                module=ProbabilityMap(self.fusion),
                inputs=logits,
                outputs=(probabilities,),
            ),
        )

    def _branch_part(self, name: str) -> Part:
        config = self.config.input
        role: Role = "satellite" if name == "satellite" else "aerial"
        if role == "satellite":
            window, side = config.satellite_window, config.satellite_window
            series = (MONTHS, len(config.satellite_bands), window, window)
            shapes = {"satellite": series, "date_mask": (MONTHS,), "days": (MONTHS,)}
        else:
            side = config.tile_size // cast(AerialBranch, self.branches[name]).stride
            shapes = {"aerial": (len(config.aerial_bands), config.tile_size, config.tile_size)}
        dtype = torch.uint8 if role == "aerial" else torch.float32
        logits = PartTensor(
            name=f"{name}_logits",
            dtype=torch.float32,
            shape=(self.config.num_classes, side, side),
        )
        return Part(
            name=name,
            role=role,
            module=self.branches[name],
            inputs=tuple(
                PartTensor(name=key, dtype=dtype, shape=shape) for key, shape in shapes.items()
            ),
            outputs=(logits,),
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
