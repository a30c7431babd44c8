"""Models of branches side by side, each with logits of its own, that are weighed and added.

aerial uint8 (N,C,H,W) ----------------- aerial ------ (N,K,H/s,W/s) --+
satellite (N,T,B,h,w), date mask, days - satellite --- (N,K,h,w) ------+- fusion - (N,K,H,W)
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .aerial import AerialBranch
from .architectures import build_aerial
from .fusion import LateFusion
from .landcover import AERIAL_INPUTS, SATELLITE_INPUTS, LandCoverModel, Part, PartTensor
from .utae import SatelliteBranch

# Shape letters: N batch, C aerial channels, H W aerial pixels, T dates, B Sentinel-2 bands,
# h w Sentinel-2 cells, K classes.


class LateFusionModel(LandCoverModel):
    """Branches side by side and their late fusion; each branch is trained on its own.

    Args:
        config: A whole training run; its weights for fusion are used where they are numbers,
            else every branch counts the same until `fusion.set_weights`.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
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

    @property
    def units(self) -> tuple[str, ...]:
        """The branches."""
        return self.branch_names

    def unit(self, name: str) -> nn.Module:
        """Give a branch."""
        return self.branches[name]

    def branch_logits(self, branch: str, feed: Mapping[str, Tensor]) -> Tensor:
        """Give one branch's own logits: aerial at its stride, satellite at its cells."""
        names = SATELLITE_INPUTS if branch == "satellite" else AERIAL_INPUTS
        logits: Tensor = self.branches[branch](*(feed[name] for name in names))
        return logits

    def forward(self, feed: Mapping[str, Tensor]) -> Tensor:
        """Give fused logits on the tile's grid, shape (N, K, H, W)."""
        fused: Tensor = self.fusion(*(self.branch_logits(name, feed) for name in self.branches))
        return fused

    def weigh(self, own: Mapping[str, Tensor]) -> Tensor:
        """Fuse what `own_logits` gives; the same as `forward`, but for rounding."""
        weights = self.fusion.weights[:, None, :, None, None]
        weighed = [own[name] * weights[i] for i, name in enumerate(self.branch_names)]
        return torch.stack(weighed).sum(dim=0)

    def own_logits(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give every branch's logits on the tile's grid, shape (N, K, H, W), without weights."""
        return {
            name: self.fusion.upsample(name, self.branch_logits(name, feed))
            for name in self.branches
        }

    def parts(self) -> tuple[Part, ...]:
        """The pieces to export, in order of execution; the last one is a variant of the fusion."""
        branches = [self._branch_part(name) for name in self.branches]
        logits = tuple(part.outputs[0] for part in branches)
        return (*branches, *self.fusion_parts(self.fusion, logits))

    def _branch_part(self, name: str) -> Part:
        inputs, is_satellite = self.config.input, name == "satellite"
        if is_satellite:
            side = inputs.satellite_window
        else:
            side = inputs.tile_size // cast(AerialBranch, self.branches[name]).stride
        logits = PartTensor(
            name=f"{name}_logits",
            dtype=torch.float32,
            shape=(self.config.num_classes, side, side),
        )
        return Part(
            name=name,
            role="satellite" if is_satellite else "aerial",
            module=self.branches[name],
            inputs=self.satellite_inputs() if is_satellite else self.aerial_inputs(),
            outputs=(logits,),
        )
