"""DeepLabV3+: an encoder at stride 16, a module that looks around, and a decoder at stride 4.

    image (N,C,H,W) - encoder -+- stride 16 - context --- high (N,256,H/16,W/16) - x 4 -+
                               +- stride 4 - 1 x 1 ------ low (N,48,H/4,W/4) -----------+- decoder
                                                          further maps at stride 4 -----+

Reference: Chen et al. 2018, DeepLabV3+, arXiv 1802.02611.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..aerial_config import LEARNED, DeepLabConfig, DeepLabV3PlusConfig
from ..config import InputConfig
from .aerial import AerialBranch, AerialInput
from .context import context_module, split_conv
from .convolutions import conv_norm_relu
from .encoder import Encoder
from .upsampling import FACTOR, Interpolation, upsampler

# Shape letters: N batch, C aerial channels, H W aerial pixels, D channels, K classes.

HIGH_STRIDE, LOW_STRIDE = 16, 4
"""Aerial pixels per pixel of the two maps."""

SIZE_STEP = 32
"""Sides of the input are multiples of this: every convolution of the encoder halves evenly."""


class DeepLabMaps(nn.Module):
    """A normalised image to the maps that the decoder takes.

    Args:
        config: Encoder, module that looks around, and widths.
        inputs: Aerial bands and the tile size.
    """

    def __init__(self, config: DeepLabConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            config,
            len(inputs.aerial_bands),
            inputs.tile_size,
            (LOW_STRIDE, HIGH_STRIDE),
            output_stride=HIGH_STRIDE,
        )
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)
        low, high = self.encoder.widths
        self.context = context_module(config.context, high, config.width)
        self.project = conv_norm_relu(low, config.low_width, 1)

    def forward(self, image_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Give the map at stride 16 and the one at stride 4."""
        low, high = self.encoder(image_NCHW)
        return self.context(high), self.project(low)


class DeepLabAerial(AerialInput):
    """`DeepLabMaps` of a tile as stored.

    Args:
        config: Encoder, module that looks around, and widths.
        inputs: Aerial bands, their statistics and the tile size.
    """

    step = SIZE_STEP

    def __init__(self, config: DeepLabConfig, inputs: InputConfig) -> None:
        super().__init__(inputs)
        self.maps = DeepLabMaps(config, inputs)

    def forward(self, aerial: Tensor) -> tuple[Tensor, Tensor]:
        """Give the maps from uint8 of shape (N, C, H, W).

        Raises:
            ValueError: If H or W is not a size that the encoder takes.
        """
        maps: tuple[Tensor, Tensor] = self.maps(self._normalise(aerial))
        return maps


class DeepLabDecoder(nn.Module):
    """The map at stride 16 and those at stride 4 to logits.

    Args:
        config: Widths and upsampler.
        lows: Channels of the maps at stride 4.
        num_classes: Classes K.
        full_size: Whether logits are on the grid of the image, else at stride 4.
    """

    def __init__(
        self, config: DeepLabConfig, lows: Sequence[int], num_classes: int, *, full_size: bool
    ) -> None:
        super().__init__()
        width, kind = config.width, config.upsampler
        self.up = upsampler(kind, width, width)
        self.refine = nn.Sequential(split_conv(width + sum(lows), width), split_conv(width, width))
        head = config.head_width if full_size and kind in LEARNED else width
        classes = nn.Conv2d(head, num_classes, 1)
        self.head: nn.Module
        if not full_size:
            self.head = classes
        elif kind in LEARNED:
            self.head = nn.Sequential(upsampler(kind, width, head), classes)
        else:
            # An interpolation of logits is the logits of an interpolation, and K are fewer.
            self.head = nn.Sequential(classes, Interpolation(kind))

    def forward(self, high: Tensor, *lows: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W) or (N, K, H/4, W/4)."""
        logits: Tensor = self.head(self.refine(torch.cat((self.up(high), *lows), dim=1)))
        return logits


class DeepLabV3Plus(AerialBranch):
    """DeepLabV3+ as an aerial branch.

    Args:
        config: Encoder, module that looks around, widths and upsampler.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """

    step = SIZE_STEP

    def __init__(self, config: DeepLabV3PlusConfig, inputs: InputConfig, num_classes: int) -> None:
        super().__init__(inputs)
        # The fusion enlarges logits bilinearly by itself.
        full_size = config.upsampler != "bilinear"
        self.stride = 1 if full_size else FACTOR
        self.maps = DeepLabMaps(config, inputs)
        self.decoder = DeepLabDecoder(config, [config.low_width], num_classes, full_size=full_size)

    def network(self, image_NCHW: Tensor) -> Tensor:
        """Give logits, shape (N, K, H/stride, W/stride), from a normalised image."""
        logits: Tensor = self.decoder(*self.maps(image_NCHW))
        return logits
