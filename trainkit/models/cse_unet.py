"""CSE-UNet: a U-Net whose encoder has a second path, and whose skips look further around.

    image - E1 - P - + - F1 - E2 - P - + - F2 - E3 - P - + - F3 - E4 - P - + - F4 - bridge
            |        |        |        |        |        |        |        |
            +- A1 ---+--------|- A2 ---+--------|- A3 ---+--------|- A4 ---+
            |                 |                 |                 |
          skip 1            skip 2            skip 3            skip 4

E is a double convolution, P a maximum of 2 x 2, A a convolution of stride 2 whose kernels are 7, 5,
3 and 2. A skip is a stack of convolutions with the field of one kernel of 7, 5, 3 or 1, and a
convolution dilated by as much (receptive field block). In the variant "figure", as drawn in the
paper, the auxiliary path is a chain (A2 reads A1) and a skip is one sequence. In the variant
"deck", A reads the merged maps (A1 the image, A2 reads F1), and stack and dilated convolution stand
side by side, so that a skip has twice the width.

Reference: Wang and Xie 2020, J. Phys.: Conf. Ser. 1607 012083, figure 2. Written from the
description.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..aerial_config import CseUNetConfig, CseUNetVariant
from ..config import InputConfig
from .aerial import AerialBranch
from .convolutions import conv_norm_relu, double_conv

# Shape letters: N batch, C channels, H W pixels of a map, K classes.

AUXILIARY_KERNELS = (7, 5, 3, 2)
DILATIONS = (7, 5, 3, 1)

STACKS: dict[CseUNetVariant, tuple[tuple[int, ...], ...]] = {
    "figure": ((3, 3, 3), (3, 3), (3,), (1,)),
    "deck": ((3, 3, 3), (3, 3), (1,), (1,)),
}
"""Kernels of the convolutions of each level's skip, before or beside the dilated one."""


class ContextEncoder(nn.Module):
    """Image to the maps E1 to E4 at strides 1, 2, 4 and 8, and the bridge at stride 16.

    Args:
        config: Variant, widths and dropout.
        channels: Channels of the image.
    """

    def __init__(self, config: CseUNetConfig, channels: int) -> None:
        super().__init__()
        self.is_chain = config.variant == "figure"
        widths, merged = config.widths, config.widths[:-1]
        sources = (channels, *merged)
        self.blocks = nn.ModuleList(
            double_conv(source, width, dropout=config.dropout)
            for source, width in zip(sources, widths, strict=True)
        )
        first = widths[0] if self.is_chain else channels
        self.auxiliary = nn.ModuleList(
            _auxiliary(source, width, kernel)
            for source, width, kernel in zip(
                (first, *merged), merged, AUXILIARY_KERNELS, strict=False
            )
        )

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        """Give the maps, finest first; H and W must be multiples of 16."""
        *blocks, bridge = self.blocks
        maps: list[Tensor] = []
        merged, context = image_NCHW, image_NCHW
        for block, auxiliary in zip(blocks, self.auxiliary, strict=True):
            level: Tensor = block(merged)
            if not self.is_chain:
                context = merged
            elif not maps:
                context = level
            halved: Tensor = auxiliary(context)
            context = F.relu(halved)
            merged = F.relu(F.max_pool2d(level, 2) + halved)
            maps.append(level)
        return [*maps, bridge(merged)]


class ContextSkip(nn.Module):
    """A level's skip: a stack of convolutions, and one that is dilated by the stack's field.

    Args:
        variant: Whether the two follow each other or stand side by side.
        level: Number of the level, 0 the finest.
        width: Channels in.
    """

    def __init__(self, variant: CseUNetVariant, level: int, width: int) -> None:
        super().__init__()
        self.is_sequence = variant == "figure"
        self.stack = nn.Sequential(
            *(conv_norm_relu(width, width, kernel) for kernel in STACKS[variant][level])
        )
        self.dilated = conv_norm_relu(width, width, dilation=DILATIONS[level])
        self.width = width if self.is_sequence else 2 * width

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """Give a map of `width` channels of the same size."""
        near: Tensor = self.stack(map_NCHW)
        if self.is_sequence:
            out: Tensor = self.dilated(near)
            return out
        return torch.cat([near, self.dilated(map_NCHW)], dim=1)


class JoinBlock(nn.Module):
    """A level of the decoder: the map below, narrowed and enlarged by two, joins the skip.

    Args:
        below: Channels of the map below.
        skip: Channels of the skip.
        width: Channels out.
        dropout: Rate after the double convolution.
    """

    def __init__(self, below: int, skip: int, width: int, *, dropout: float) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(below, width, 1)
        self.convolutions = double_conv(width + skip, width, dropout=dropout)

    def forward(self, below_NCHW: Tensor, skip_NCHW: Tensor) -> Tensor:
        """Give the map at the size of the skip."""
        # Enlarging commutes with a 1 x 1 convolution, which is cheaper on the smaller map.
        enlarged = F.interpolate(self.narrow(below_NCHW), scale_factor=2.0, mode="bilinear")
        out: Tensor = self.convolutions(torch.cat([skip_NCHW, enlarged], dim=1))
        return out


class CseUNet(AerialBranch):
    """Encoder with context, skips with context, decoder; logits at stride 1.

    Args:
        config: Variant, widths and what the sources leave open.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """

    step = 16

    def __init__(self, config: CseUNetConfig, inputs: InputConfig, num_classes: int) -> None:
        super().__init__(inputs)
        widths = config.widths
        self.encoder = ContextEncoder(config, len(inputs.aerial_bands))
        skips = [ContextSkip(config.variant, i, width) for i, width in enumerate(widths[:-1])]
        self.skips = nn.ModuleList(skips)
        self.decoder = nn.ModuleList(
            JoinBlock(widths[i + 1], skip.width, widths[i], dropout=config.dropout)
            for i, skip in enumerate(skips)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def network(self, image_NCHW: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W), from a normalised image."""
        *maps, merged = self.encoder(image_NCHW)
        for i in reversed(range(len(maps))):
            merged = self.decoder[i](merged, self.skips[i](maps[i]))
        logits: Tensor = self.head(merged)
        return logits


def _auxiliary(source: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution of stride 2 without bias, and BatchNorm; even sizes are halved."""
    padding = (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(source, width, kernel, stride=2, padding=padding, bias=False),
        nn.BatchNorm2d(width),
    )
