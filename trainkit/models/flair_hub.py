"""FLAIR-HUB's model: an aerial encoder whose maps take in those of a U-TAE, before a UPerNet.

    aerial     (N,C,512,512) - encoder - maps at strides 4, 8, 16, 32 ---+
                                                                          +- 1 x 1 each - UPerNet
    satellite  (N,12,B,10,10) - U-TAE - maps of four levels, enlarged ---+

The U-TAE's coarsest level joins the aerial map at stride 4 and its finest that at stride 32. The
window covers the tile exactly.

Reference: Garioud et al. 2025, FLAIR-HUB, arXiv 2506.07080, and its published code. Unlike there, a
month without a usable date is masked; there it repeats the month before.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import InputConfig, TrainConfig
from ..joint_config import FlairHubConfig
from .aerial import AerialInput
from .encoder import COARSEST, STRIDES, Encoder
from .joint import Features, JointModel
from .landcover import PartTensor
from .upernet import UPerNetDecoder
from .utae import UTAE

# Shape letters: N batch, C channels, H W pixels of a map, K classes, T dates, B bands, h w cells.


class AerialMaps(AerialInput):
    """The aerial encoder.

    Args:
        config: Encoder.
        inputs: Bands, their statistics and the tile size.
    """

    def __init__(self, config: FlairHubConfig, inputs: InputConfig) -> None:
        super().__init__(inputs)
        self.encoder = Encoder(config, len(inputs.aerial_bands), inputs.tile_size, STRIDES)
        self.fixed_size = inputs.tile_size
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)

    def forward(self, aerial: Tensor) -> Features:
        """Give maps at strides 4, 8, 16 and 32 from uint8 of shape (N, C, H, W).

        Raises:
            ValueError: If H or W is not the tile's.
        """
        return tuple(self.encoder(self._normalise(aerial)))


class SatelliteMaps(nn.Module):
    """The U-TAE with the maps of all its levels.

    Args:
        config: Widths, attention, and the scale of the series.
        bands: Bands of a date.
    """

    def __init__(self, config: FlairHubConfig, bands: int) -> None:
        super().__init__()
        self.scale = config.satellite_scale
        self.utae = UTAE(config.satellite, bands)

    def forward(self, satellite: Tensor, date_mask: Tensor, days: Tensor) -> Features:
        """Give four maps, coarsest first; the arguments are those of `SatelliteBranch`."""
        return tuple(self.utae.maps(satellite * self.scale, date_mask, days))


class FlairHubDecoder(nn.Module):
    """Fusion of the maps, level by level, and UPerNet.

    Args:
        config: Widths.
        tile_size: Side of the tile, in pixels.
        widths: Channels of the aerial maps, finest first.
        num_classes: Classes K.
    """

    def __init__(
        self, config: FlairHubConfig, tile_size: int, widths: tuple[int, ...], num_classes: int
    ) -> None:
        super().__init__()
        self.sides = tuple(tile_size // stride for stride in STRIDES)
        levels = reversed(config.satellite.decoder_widths)
        self.fuse = nn.ModuleList(
            nn.Conv2d(width + level, width, 1) for width, level in zip(widths, levels, strict=True)
        )
        side = tile_size // COARSEST
        self.decoder = UPerNetDecoder(widths, config.width, config.head_width, side, num_classes)

    def forward(self, *features: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W), from four aerial maps and four of the satellite."""
        count = len(self.sides)
        fused = []
        for i, side in enumerate(self.sides):
            level = F.interpolate(features[count + i], size=(side, side), mode="bilinear")
            fused.append(self.fuse[i](torch.cat((features[i], level), dim=1)))
        logits: Tensor = self.decoder(fused)
        return logits


class FlairHubModel(JointModel):
    """FLAIR-HUB's model of aerial images and Sentinel-2.

    Args:
        config: A whole training run.
        own: Its architecture.
    """

    aerial: AerialMaps
    satellite: SatelliteMaps
    decoder: FlairHubDecoder

    def __init__(self, config: TrainConfig, own: FlairHubConfig) -> None:
        super().__init__(config)
        inputs = config.input
        self.aerial = AerialMaps(own, inputs)
        self.satellite = SatelliteMaps(own, len(inputs.satellite_bands))
        widths = self.aerial.encoder.widths
        self.decoder = FlairHubDecoder(own, inputs.tile_size, widths, config.num_classes)
        self.aerial_features = tuple(
            _features(f"aerial_stride_{stride}", width, inputs.tile_size // stride)
            for stride, width in zip(STRIDES, widths, strict=True)
        )
        stride, cells = own.satellite.stride, inputs.satellite_window
        levels = own.satellite.decoder_widths
        self.satellite_features = tuple(
            _features(f"satellite_level_{level}", levels[level], cells // stride**level)
            for level in reversed(range(len(levels)))
        )


def _features(name: str, width: int, side: int) -> PartTensor:
    return PartTensor(name=name, dtype=torch.float32, shape=(width, side, side))
