"""U-Net: an encoder from timm, and a decoder that enlarges by two and joins, down to stride 1.

Reference: Ronneberger et al. 2015, U-Net, arXiv 1505.04597, with an encoder from image
classification as FLAIR's baseline has it (Garioud et al. 2023, arXiv 2310.13336).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..aerial_config import UNetConfig
from ..config import InputConfig
from .aerial import AerialBranch
from .convolutions import double_conv
from .encoder import Encoder

# Shape letters: N batch, C channels, H W pixels of a map, K classes.

STRIDES = (2, 4, 8, 16, 32)


class UNetDecoder(nn.Module):
    """Maps at strides 2, 4, 8, 16 and 32 to a map at stride 1.

    Args:
        widths: Channels of the maps, finest first.
        decoder_widths: Channels of the decoder's maps, finest first.
    """

    def __init__(self, widths: tuple[int, ...], decoder_widths: tuple[int, ...]) -> None:
        super().__init__()
        belows = (*decoder_widths[1:], widths[-1])
        skips = (0, *widths[:-1])
        self.blocks = nn.ModuleList(
            double_conv(below + skip, width)
            for below, skip, width in zip(belows, skips, decoder_widths, strict=True)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Give a map at stride 1; the maps come finest first."""
        merged = maps[-1]
        for i in reversed(range(len(maps))):
            merged = F.interpolate(merged, scale_factor=2.0, mode="nearest")
            if i:
                merged = torch.cat([merged, maps[i - 1]], dim=1)
            merged = self.blocks[i](merged)
        return merged


class UNet(AerialBranch):
    """An encoder from timm and the decoder above; logits at stride 1.

    Args:
        config: Encoder and decoder.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """

    def __init__(self, config: UNetConfig, inputs: InputConfig, num_classes: int) -> None:
        super().__init__(inputs)
        self.encoder = Encoder(config, len(inputs.aerial_bands), inputs.tile_size, STRIDES)
        self.fixed_size = self.encoder.fixed_size
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)
        self.decoder = UNetDecoder(self.encoder.widths, config.decoder_widths)
        self.head = nn.Conv2d(config.decoder_widths[0], num_classes, 3, padding=1)

    def network(self, image_NCHW: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W), from a normalised image."""
        logits: Tensor = self.head(self.decoder(self.encoder(image_NCHW)))
        return logits
