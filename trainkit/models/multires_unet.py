"""MultiRes-UNet: a U-Net of blocks that see several scales at once, and skips of residual units.

A MultiRes block of U-Net width U has W = 1.67 U: three convolutions in a chain, of 0.167 W, 0.333 W
and 0.5 W channels, whose outputs are joined; they have the fields of kernels of 3, 5 and 7:

    in -+- 3x3 -+- 3x3 -+- 3x3 -+
        |       +-------+-------+- join, BatchNorm - + - BatchNorm - ReLU - out
        +- 1x1, BatchNorm -------------------------- +

Reference: Ibtehaz and Rahman 2020, MultiResUNet, arXiv 1902.04049. Written from the description:
every norm belongs to one layer, and the last convolution has a bias, no norm, and K outputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..aerial_config import MultiResUNetConfig
from ..config import InputConfig
from .aerial import AerialBranch
from .convolutions import conv_norm_relu

# Shape letters: N batch, C channels, H W pixels of a map, K classes.

SHARES = (0.167, 0.333, 0.5)
"""Channels of the three convolutions of a block, as shares of W."""


class MultiResBlock(nn.Module):
    """Three convolutions in a chain, joined, and a shortcut.

    Args:
        source: Channels in.
        unet_width: Width U of the U-Net level that the block stands for.
        alpha: W over U.
    """

    def __init__(self, source: int, unet_width: int, alpha: float) -> None:
        super().__init__()
        widths = [int(share * alpha * unet_width) for share in SHARES]
        self.width = sum(widths)
        sources = (source, *widths[:-1])
        self.chain = nn.ModuleList(
            conv_norm_relu(before, width) for before, width in zip(sources, widths, strict=True)
        )
        self.norm_joined = nn.BatchNorm2d(self.width)
        self.shortcut = _shortcut(source, self.width)
        self.norm = nn.BatchNorm2d(self.width)

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """Give a map of `width` channels of the same size."""
        joined, last = [], map_NCHW
        for convolution in self.chain:
            last = convolution(last)
            joined.append(last)
        both = self.norm_joined(torch.cat(joined, dim=1)) + self.shortcut(map_NCHW)
        return F.relu(self.norm(both))


class ResUnit(nn.Module):
    """A convolution and a shortcut: one unit of a ResPath.

    Args:
        source: Channels in.
        width: Channels out.
    """

    def __init__(self, source: int, width: int) -> None:
        super().__init__()
        self.convolution = conv_norm_relu(source, width)
        self.shortcut = _shortcut(source, width)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """Give a map of the same size."""
        return F.relu(self.norm(self.convolution(map_NCHW) + self.shortcut(map_NCHW)))


class MultiResUNet(AerialBranch):
    """Encoder and decoder of MultiRes blocks, ResPaths between them; logits at stride 1.

    Args:
        config: Widths and lengths.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """

    step = 16

    def __init__(self, config: MultiResUNetConfig, inputs: InputConfig, num_classes: int) -> None:
        super().__init__(inputs)
        levels, alpha = config.widths, config.alpha
        source, blocks = len(inputs.aerial_bands), []
        for width in levels:
            blocks.append(MultiResBlock(source, width, alpha))
            source = blocks[-1].width
        self.encoder = nn.ModuleList(blocks)
        self.paths = nn.ModuleList(
            _res_path(block.width, width, length)
            for block, width, length in zip(blocks, levels, config.path_lengths, strict=False)
        )
        joins = [MultiResBlock(2 * width, width, alpha) for width in levels[:-1]]
        belows = [join.width for join in joins[1:]] + [blocks[-1].width]
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(below, width, 2, stride=2)
            for below, width in zip(belows, levels, strict=False)
        )
        self.decoder = nn.ModuleList(joins)
        self.head = nn.Conv2d(joins[0].width, num_classes, 1)

    def network(self, image_NCHW: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W), from a normalised image."""
        *blocks, bridge = self.encoder
        maps, level = [], image_NCHW
        for block in blocks:
            maps.append(block(level))
            level = F.max_pool2d(maps[-1], 2)
        merged: Tensor = bridge(level)
        for i in reversed(range(len(maps))):
            joined = torch.cat([self.enlarge[i](merged), self.paths[i](maps[i])], dim=1)
            merged = self.decoder[i](joined)
        logits: Tensor = self.head(merged)
        return logits


def _shortcut(source: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(source, width, 1, bias=False), nn.BatchNorm2d(width))


def _res_path(source: int, width: int, length: int) -> nn.Sequential:
    sources = (source, *(width,) * (length - 1))
    return nn.Sequential(*(ResUnit(before, width) for before in sources))
