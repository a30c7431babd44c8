"""What DeepLabV3+ looks around with at stride 16: the published cell of DPC, or ASPP.

DPC: five dilated convolutions in a small graph that a search has found.

    features -> 0 (1 x 6) -+-> 1 (18 x 15) -> 2 (6 x 3)
                           +-> 3 (1 x 1)                    all five side by side -> 1 x 1
                           +-> 4 (6 x 21)

ASPP: a 1 x 1 convolution, dilated ones of 12, 24 and 36, and the mean of the map, side by side.

Reference: Chen et al. 2018, Searching for Efficient Multi-Scale Architectures for Dense Image
Prediction, arXiv 1809.04184; Chen et al. 2018, DeepLabV3+, arXiv 1802.02611.
"""

import torch
from torch import Tensor, nn

from ..aerial_config import Context
from .convolutions import conv_norm_relu

# Shape letters: N batch, D channels, h w pixels at stride 16.

DPC_BRANCHES = (
    (-1, (1, 6)),
    (0, (18, 15)),
    (1, (6, 3)),
    (0, (1, 1)),
    (0, (6, 21)),
)
"""Of each branch: what it takes, -1 for the features, else the branch of that number, and its rate
in rows and columns."""

ASPP_RATES = (12, 24, 36)

DROPOUT = 0.1


def split_conv(source: int, width: int, rate: tuple[int, int] = (1, 1)) -> nn.Sequential:
    """Depthwise convolution of 3 x 3, then 1 x 1, each with BatchNorm and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(source, source, 3, padding=rate, dilation=rate, groups=source, bias=False),
        nn.BatchNorm2d(source),
        nn.ReLU(),
        *conv_norm_relu(source, width, 1),
    )


class DensePredictionCell(nn.Module):
    """DPC.

    Args:
        source: Channels of the features.
        width: Channels of every branch, and out.
    """

    def __init__(self, source: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            split_conv(source if taken < 0 else width, width, rate) for taken, rate in DPC_BRANCHES
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.project = conv_norm_relu(len(DPC_BRANCHES) * width, width, 1)

    def forward(self, features_NDhw: Tensor) -> Tensor:
        """Look around; the size stays."""
        made: list[Tensor] = []
        for branch, (taken, _) in zip(self.branches, DPC_BRANCHES, strict=True):
            made.append(branch(features_NDhw if taken < 0 else made[taken]))
        out: Tensor = self.project(self.dropout(torch.cat(made, dim=1)))
        return out


class Aspp(nn.Module):
    """ASPP with separable convolutions.

    Args:
        source: Channels of the features.
        width: Channels of every branch, and out.
    """

    def __init__(self, source: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm_relu(source, width, 1)])
        self.branches.extend(split_conv(source, width, (rate, rate)) for rate in ASPP_RATES)
        # Without BatchNorm: the mean of one image alone has no spread.
        self.pooled = nn.Sequential(nn.Conv2d(source, width, 1), nn.ReLU())
        self.dropout = nn.Dropout(DROPOUT)
        self.project = conv_norm_relu((len(ASPP_RATES) + 2) * width, width, 1)

    def forward(self, features_NDhw: Tensor) -> Tensor:
        """Look around; the size stays."""
        made = [branch(features_NDhw) for branch in self.branches]
        mean = self.pooled(features_NDhw.mean(dim=(2, 3), keepdim=True))
        # Sizes alone, not those of a map: they would be read off the input when it is exported.
        made.append(mean.expand(-1, -1, *features_NDhw.shape[2:]))
        out: Tensor = self.project(self.dropout(torch.cat(made, dim=1)))
        return out


def context_module(kind: Context, source: int, width: int) -> nn.Module:
    """Make the module that looks around.

    Args:
        kind: Which one.
        source: Channels of the features.
        width: Channels out.
    """
    return (DensePredictionCell if kind == "dpc" else Aspp)(source, width)
