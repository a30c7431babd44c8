"""Ways to enlarge a map by four; DIFD's ablation is over them.

deconv        transposed convolution of 8 x 8, stride 4, BatchNorm, ELU: the paper's UpConvT
pixelshuffle  convolution to 16 times the channels, which become pixels, BatchNorm, ELU
bilinear      between pixel centres, without weights, as in DeepLabV3+
nearest       without weights

A kernel that is a multiple of its stride gives every pixel as many products as its neighbours, and
weights that begin as those of bilinear interpolation begin without a pattern:

    sum of the weights that reach a pixel, per phase of the stride, k8 s4:  1 1 1 1
                                                              random k5 s4:  uneven, a checkerboard

Reference: Berka et al. 2025 (DIFD), arXiv 2503.22909, which leaves kernels open; Odena et al. 2016,
Deconvolution and Checkerboard Artifacts; Aitken et al. 2017, arXiv 1707.02937, for the initial
weights of the pixel shuffle.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..aerial_config import Upsampler

FACTOR = 4
"""What every upsampler enlarges by."""


def upsampler(kind: Upsampler, source: int, width: int) -> nn.Module:
    """Make an upsampler.

    Args:
        kind: Which one.
        source: Channels of the map.
        width: Channels of the enlarged one; an interpolation has no others than `source`.

    Raises:
        ValueError: If an interpolation is to change the number of channels.
    """
    if kind == "deconv":
        return up_conv(source, width)
    if kind == "pixelshuffle":
        return pixel_shuffle(source, width)
    if source != width:
        raise ValueError(f"'{kind}' gives {source} channels from {source}; {width} are asked for")
    return Interpolation(kind)


class Interpolation(nn.Module):
    """Enlarge by four without weights.

    Args:
        kind: How.
    """

    def __init__(self, kind: Upsampler) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, map_NDhw: Tensor) -> Tensor:
        """Give the enlarged map."""
        out: Tensor = F.interpolate(map_NDhw, scale_factor=float(FACTOR), mode=self.kind)
        return out


def up_conv(source: int, width: int) -> nn.Sequential:
    """UpConvT: a transposed convolution that begins as bilinear interpolation, BatchNorm, ELU."""
    kernel = 2 * FACTOR
    layer = nn.ConvTranspose2d(
        source, width, kernel, stride=FACTOR, padding=FACTOR // 2, bias=False
    )
    ramp = 1.0 - (torch.arange(kernel) - (kernel - 1) / 2).abs() / FACTOR
    with torch.no_grad():
        layer.weight.copy_(_mixing(source, width)[:, :, None, None] * torch.outer(ramp, ramp))
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ELU())


def pixel_shuffle(source: int, width: int) -> nn.Sequential:
    """A convolution whose channels become pixels and begin as copies, BatchNorm, ELU."""
    layer = nn.Conv2d(source, width * FACTOR**2, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:: FACTOR**2].repeat_interleave(FACTOR**2, dim=0))
    return nn.Sequential(layer, nn.PixelShuffle(FACTOR), nn.BatchNorm2d(width), nn.ELU())


def _mixing(source: int, width: int) -> Tensor:
    """Weights between channels: each on its own where the numbers are equal, else at random."""
    if source == width:
        return torch.eye(source)
    return torch.randn(source, width) / math.sqrt(source)
