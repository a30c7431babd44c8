"""What the training of a unit compares with labels: its heads, at every n-th pixel of the tile.

A unit is what is trained on its own: a branch of a late fusion, or a joint model as a whole. It
takes its inputs out of a batch, and gives logits that lie on the labels.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from runtime.metrics import IGNORE_INDEX

from .batches import Role
from .models import AerialBranch, Head, JointModel, LandCoverModel, LateFusionModel
from .models.fusion import AerialUpsample, SatelliteUpsample
from .models.landcover import SATELLITE_INPUTS
from .recipe import OptimConfig

# Shape letters: N batch, C aerial channels, K classes, H W aerial pixels, h w pixels of logits.

AUXILIARY_STRIDE = 8
"""Aerial pixels per pixel of an aerial branch's auxiliary logits, which are compared with labels
there."""


class UnitHeads(nn.Module):
    """How one kind of unit is run in training; each kind is a subclass.

    Args:
        optim: How the unit is trained.
    """

    def __init__(self, optim: OptimConfig) -> None:
        super().__init__()
        self.every = optim.loss_stride
        """The loss looks at every n-th pixel in both directions."""

    def train_heads(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Head, ...]:
        """Give the heads of a unit in training, the main one first.

        Their logits lie on labels of which every `stride`-th is taken.
        """
        raise NotImplementedError

    def logits(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Give the logits that become the map, at every n-th pixel."""
        raise NotImplementedError

    def main(self, logits: Tensor) -> Head:
        """Make the main head."""
        return Head(name="main", logits=logits, weight=1.0, stride=self.every)


class BranchHeads(UnitHeads):
    """Of a branch with logits of its own.

    Args:
        resize: Brings its logits to the tile's grid.
        optim: How it is trained.
    """

    def __init__(self, resize: nn.Module, optim: OptimConfig) -> None:
        super().__init__(optim)
        self.resize = thinned(resize, optim.loss_stride)
        self.aux_weight = optim.aux_weight


class AerialHeads(BranchHeads):
    """Of an aerial branch."""

    def train_heads(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Head, ...]:
        """Give the branch's logits, and those of its auxiliary head if there is one."""
        branch = cast(AerialBranch, unit)
        logits, auxiliary = branch.forward_train(channels_last(batch["aerial"]))
        main = self.main(self.resize(logits.float()))
        if auxiliary is None:
            return (main,)
        weight = self.aux_weight
        return (
            main,
            Head(name="auxiliary", logits=auxiliary, weight=weight, stride=AUXILIARY_STRIDE),
        )

    def logits(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Give the branch's logits."""
        logits: Tensor = self.resize(unit(channels_last(batch["aerial"])).float())
        return logits


class SatelliteHeads(BranchHeads):
    """Of a satellite branch."""

    def train_heads(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Head, ...]:
        """Give the branch's logits."""
        return (self.main(self.logits(unit, batch)),)

    def logits(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Give the branch's logits."""
        logits: Tensor = self.resize(unit(*(batch[name] for name in SATELLITE_INPUTS)).float())
        return logits


class JointHeads(UnitHeads):
    """Of a joint model."""

    def train_heads(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Head, ...]:
        """Give what the model says, thinned where it is finer than the loss looks."""
        return tuple(self._thinned(head) for head in cast(JointModel, unit).forward_train(batch))

    def logits(self, unit: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Give the model's logits."""
        logits: Tensor = unit(batch).float()
        return thin(logits, self.every)

    def _thinned(self, head: Head) -> Head:
        if head.stride >= self.every:
            return head
        logits = thin(head.logits, self.every // head.stride)
        return replace(head, logits=logits, stride=self.every)


def role_of(model: LandCoverModel, unit: str) -> Role:
    """Say what a unit takes of a sample."""
    if isinstance(model, JointModel):
        return "joint"
    return "satellite" if unit == "satellite" else "aerial"


def heads_of(model: LandCoverModel, unit: str, optim: OptimConfig) -> UnitHeads:
    """Say how a unit of a model is run in training."""
    if isinstance(model, JointModel):
        return JointHeads(optim)
    if not isinstance(model, LateFusionModel):
        raise TypeError(f"{type(model).__name__} has no heads to train")
    resize = model.fusion.resize[model.branch_names.index(unit)]
    if role_of(model, unit) == "satellite":
        return SatelliteHeads(resize, optim)
    return AerialHeads(resize, optim)


def channels_last(aerial_NCHW: Tensor) -> Tensor:
    """Put the channels of each pixel side by side in memory."""
    return aerial_NCHW.contiguous(memory_format=torch.channels_last)


class AerialResize(nn.Module):
    """Aerial logits to every n-th pixel of the tile.

    Args:
        stride: Aerial pixels per pixel of the logits.
        every: The n.
    """

    def __init__(self, stride: int, every: int) -> None:
        super().__init__()
        self.stride, self.every = stride, every

    def forward(self, logits_NKhw: Tensor) -> Tensor:
        """Enlarge coarser logits bilinearly, and take every n-th pixel of finer ones."""
        if self.stride <= self.every:
            return thin(logits_NKhw, self.every // self.stride)
        factor = self.stride / self.every
        return nn.functional.interpolate(logits_NKhw, scale_factor=factor, mode="bilinear")


def thinned(resize: nn.Module, stride: int) -> nn.Module:
    """Make the way of a branch's logits to every n-th pixel of the tile, in both directions.

    Args:
        resize: The way to all pixels.
        stride: The n; 1, 2 or 4.
    """
    if isinstance(resize, AerialUpsample):
        return AerialResize(resize.stride, stride)
    if not isinstance(resize, SatelliteUpsample):
        raise TypeError(f"{type(resize).__name__} brings no logits to a tile's grid")
    fewer = copy.deepcopy(resize)
    fewer.weights_Hh = fewer.weights_Hh[stride // 2 :: stride]
    return fewer


def labels_at(head: Head, labels_NHW: Tensor) -> Tensor:
    """Give the labels on which a head's logits lie, without the classes that it leaves out."""
    labels = thin(labels_NHW, head.stride)
    for index in head.ignore:
        labels = labels.masked_fill(labels == index, IGNORE_INDEX)
    return labels


def thin(pixels: Tensor, stride: int) -> Tensor:
    """Give every n-th pixel of the last two dimensions, from the middle of the first n."""
    return pixels[..., stride // 2 :: stride, stride // 2 :: stride]
