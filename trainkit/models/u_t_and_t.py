"""U-T&T, the baseline of FLAIR #2: a U-Net over the tile that takes in a U-TAE over its window.

    aerial     (N,5,512,512) - encoder - maps at strides 2, 4, 8, 16, 32 --+
                                                                            + - decoder - logits
    satellite  (N,12,10,40,40) - U-TAE - features (N,64,40,40) - fusion ---+
                                           +- head - logits of its own, in training alone

Reference: Garioud et al. 2023, FLAIR #2, arXiv 2310.13336. Unlike the original, images are
normalised by mean and standard deviation and the series is reflectance; the fusion is per item and
covers the tile exactly; see `u_t_and_t_fusion`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from runtime.errors import ConfigError

from ..config import InputConfig, TrainConfig
from ..joint_config import Footprint, UTAndTConfig
from .aerial import AerialInput
from .encoder import Encoder
from .joint import Features, JointModel
from .landcover import Head, Part, PartTensor
from .u_t_and_t_fusion import CollapsedFusion, FootprintResize, MetadataRows, UTAndTFusion
from .unet import STRIDES, UNetDecoder
from .utae import UTAE, original_head

# Shape letters: N batch, C channels, H W pixels of the tile, K classes, T dates, h w cells,
# M numbers about an image.

METADATA = "metadata"
"""Name in the feed of the numbers about each image, float32 of shape (N, 45)."""


class AerialMaps(AerialInput):
    """The U-Net's encoder.

    Args:
        config: Encoder.
        inputs: Bands, their statistics and the tile size.
    """

    def __init__(self, config: UTAndTConfig, inputs: InputConfig) -> None:
        super().__init__(inputs)
        self.encoder = Encoder(config, len(inputs.aerial_bands), inputs.tile_size, STRIDES)
        self.fixed_size = self.encoder.fixed_size
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)

    def forward(self, aerial: Tensor) -> Features:
        """Give maps at strides 2, 4, 8, 16 and 32 from uint8 of shape (N, C, H, W).

        Raises:
            ValueError: If H or W is not a size that the encoder takes.
        """
        return tuple(self.encoder(self._normalise(aerial)))


class SatelliteFeatures(nn.Module):
    """The U-TAE up to its last map.

    Args:
        config: Its widths and attention.
        bands: Bands of a date.
    """

    def __init__(self, config: UTAndTConfig, bands: int) -> None:
        super().__init__()
        self.utae = UTAE(config.satellite, bands)

    def forward(self, satellite: Tensor, date_mask: Tensor, days: Tensor) -> Features:
        """Give features, shape (N, D, h, w); the arguments are those of `SatelliteBranch`."""
        return (self.utae(satellite, date_mask, days),)


class SatelliteHead(nn.Module):
    """Logits of the satellite branch alone, on the tile's grid.

    Args:
        inputs: Sizes and resolutions of both inputs.
        footprint: What of the window lies under the tile.
        width: Channels of the features.
        num_classes: Classes K.
    """

    def __init__(
        self, inputs: InputConfig, footprint: Footprint, width: int, num_classes: int
    ) -> None:
        super().__init__()
        self.resize = FootprintResize(inputs, footprint, inputs.tile_size)
        self.classify = nn.Conv2d(width, num_classes, 1)

    def forward(self, features_NDhw: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W)."""
        logits: Tensor = self.resize(self.classify(self.resize.cut(features_NDhw)))
        return logits


class UTAndTDecoder(nn.Module):
    """Fusion and the U-Net's decoder.

    Args:
        config: Widths and fusion.
        inputs: Sizes and resolutions of both inputs.
        widths: Channels of the aerial maps.
        features: Channels of the satellite features.
        num_classes: Classes K.
    """

    def __init__(
        self,
        config: UTAndTConfig,
        inputs: InputConfig,
        widths: tuple[int, ...],
        features: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.fusion = UTAndTFusion(
            inputs, config.footprint, features, widths, STRIDES, config.dropout
        )
        self.decoder = UNetDecoder(widths, config.decoder_widths)
        self.head = nn.Conv2d(config.decoder_widths[0], num_classes, 3, padding=1)

    def forward(self, *features: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W), from the aerial maps and the satellite features."""
        *maps, satellite_NDhw = features
        logits: Tensor = self.head(self.decoder(self.fusion(satellite_NDhw, maps)))
        return logits


class UTAndT(JointModel):
    """U-T&T.

    Args:
        config: A whole training run.
        own: Its architecture.

    Raises:
        ConfigError: If a class that is to be left out does not exist.
    """

    aerial: AerialMaps
    satellite: SatelliteFeatures
    decoder: UTAndTDecoder

    def __init__(self, config: TrainConfig, own: UTAndTConfig) -> None:
        super().__init__(config)
        self.own = own
        inputs, count = config.input, config.num_classes
        unknown = [index for index in own.satellite_ignore if not 0 <= index < count]
        if unknown:
            raise ConfigError(
                f"joint.satellite_ignore of {config.name} names class {unknown[0]} of {count}; "
                f"expected 0 to {count - 1}; correct it"
            )
        self.aerial = AerialMaps(own, inputs)
        self.satellite = SatelliteFeatures(own, len(inputs.satellite_bands))
        widths, width = self.aerial.encoder.widths, own.satellite.decoder_widths[0]
        self.decoder = UTAndTDecoder(own, inputs, widths, width, count)
        self.satellite_head = SatelliteHead(inputs, own.footprint, width, count)
        if own.metadata:
            self.metadata = MetadataRows(inputs.tile_size // STRIDES[-1])
        if own.unread_layers:
            self.unread = _unread_layers(own, inputs, count).requires_grad_(False)
        self.aerial_features = tuple(
            _features(f"aerial_stride_{stride}", wide, inputs.tile_size // stride)
            for stride, wide in zip(STRIDES, widths, strict=True)
        )
        self.satellite_features = (_features("satellite_features", width, inputs.satellite_window),)

    def features(self, feed: Mapping[str, Tensor]) -> tuple[Features, Features]:
        """Give the features of both branches; what is known of an image goes to the deepest map.

        Raises:
            ConfigError: If the model takes numbers about each image and the feed has none.
        """
        aerial, satellite = super().features(feed)
        if self.own.metadata:
            if METADATA not in feed:
                raise self._refuse("the patches come without it")
            aerial = (*aerial[:-1], aerial[-1] + self.metadata(feed[METADATA]))
        return aerial, satellite

    def forward_train(self, feed: Mapping[str, Tensor]) -> tuple[Head, ...]:
        """Give the model's logits and those of the satellite branch alone."""
        aerial, satellite = self.features(feed)
        own = Head(
            name="satellite",
            logits=self.satellite_head(*satellite),
            weight=self.own.satellite_weight,
            stride=1,
            ignore=self.own.satellite_ignore,
        )
        logits = self.decoder(*aerial, *self.drop_modality(satellite))
        return Head(name="joint", logits=logits, weight=1.0, stride=1), own

    def parts(self) -> tuple[Part, ...]:
        """The pieces to export.

        Raises:
            ConfigError: If the model takes numbers about each image, which no part is given.
        """
        if self.own.metadata:
            raise self._refuse("inference has none")
        return super().parts()

    def _refuse(self, why: str) -> ConfigError:
        return ConfigError(
            f"joint.metadata of {self.config.name} is true and {why}; expected a model of images "
            "and Sentinel-2 alone; set it to false and train again"
        )


def _features(name: str, width: int, side: int) -> PartTensor:
    return PartTensor(name=name, dtype=torch.float32, shape=(width, side, side))


def _unread_layers(own: UTAndTConfig, inputs: InputConfig, count: int) -> nn.ModuleDict:
    """Layers that the original holds and never reads, so that its weights and its count fit."""
    width, bands = own.satellite.decoder_widths[0], len(inputs.aerial_bands)
    return nn.ModuleDict(
        {
            "head": original_head(width, count),
            "cropped": nn.Conv2d(width, bands, 1),
            "collapsed": CollapsedFusion(width, bands, own.dropout),
        }
    )
