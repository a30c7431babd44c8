"""The tables `[[aerial]]` of a config: one dataclass per network, told apart by `architecture`."""

from dataclasses import dataclass
from typing import Literal

IMAGENET_HUB = "imagenet"
"""Value of `pretrained` that fetches weights from the encoder's hub by name."""

MOST_WIDTH = 65_536
"""Channels of a map."""

MOST_UNITS = 1000
"""Blocks in a row; each is built by itself, so that a checkpoint from elsewhere must not claim
billions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """What configs of networks with an encoder from timm have in common."""

    architecture: str
    encoder: str
    """Name in timm; it must give maps at the strides that the decoder takes."""
    encoder_widths: tuple[int, ...] = ()
    """Channels of the four stages instead of the encoder's own (ResNet and ConvNeXt families)."""
    encoder_depths: tuple[int, ...] = ()
    """Blocks of the four stages instead of the encoder's own (ResNet and ConvNeXt families)."""
    drop_path: float = 0.0
    """Rate of stochastic depth in the encoder."""
    pretrained: str = ""
    """Empty for random weights, "imagenet" for the hub's, else the path of a weights file."""
    freeze_encoder: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetFormerConfig(EncoderConfig):
    """An encoder with maps at strides 4, 8, 16 and 32, and a UNetFormer decoder."""

    architecture: Literal["unetformer"] = "unetformer"
    encoder: str = "maxvit_tiny_tf_512"
    decoder_width: int = 64
    """Channels of the decoder; a multiple of 16 (8 attention heads, squeeze by 16)."""
    auxiliary: bool = True
    """Whether training has the decoder's second head. It is never exported."""

    def __post_init__(self) -> None:
        """Refuse widths that the attention heads cannot share."""
        if self.decoder_width < 16 or self.decoder_width % 16:
            raise ValueError(f"decoder_width is {self.decoder_width}; use a multiple of 16")


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig(EncoderConfig):
    """An encoder with maps at strides 2, 4, 8, 16 and 32, and a U-Net's decoder."""

    architecture: Literal["unet"] = "unet"
    encoder: str = "resnet34"
    decoder_widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Channels of the decoder at strides 1, 2, 4, 8 and 16."""

    def __post_init__(self) -> None:
        """Refuse another number of levels."""
        require_levels("decoder_widths", self.decoder_widths, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class UPerNetConfig(EncoderConfig):
    """An encoder with maps at strides 4, 8, 16 and 32, and a UPerNet decoder."""

    architecture: Literal["upernet"] = "upernet"
    encoder: str = "swin_base_patch4_window12_384"
    width: int = 256
    """Channels of the pyramid."""
    head_width: int = 64
    """Channels of the map that the classes are read from."""


Upsampler = Literal["deconv", "bilinear", "nearest", "pixelshuffle"]
"""How a map is enlarged by four: a learned transposed convolution, an interpolation, or channels
that become pixels."""

LEARNED: tuple[Upsampler, ...] = ("deconv", "pixelshuffle")
"""Upsamplers with weights: of their own for each pixel of the stride."""

Context = Literal["dpc", "aspp"]
"""What looks around at stride 16: the published cell of DPC, or ASPP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepLabConfig(EncoderConfig):
    """What both architectures on DeepLabV3+ have in common; the encoder runs at stride 16."""

    architecture: str
    encoder: str = "xception65"
    context: Context = "dpc"
    width: int = 256
    """Channels of the context module and of the decoder."""
    low_width: int = 48
    """Channels of the aerial map at stride 4, and of the satellite map, that the decoder takes."""
    upsampler: Upsampler = "bilinear"
    head_width: int = 64
    """Channels of the last enlargement, to the size of the tile, where that has weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepLabV3PlusConfig(DeepLabConfig):
    """DeepLabV3+, for aerial input alone."""

    architecture: Literal["deeplabv3plus"] = "deeplabv3plus"


CseUNetVariant = Literal["figure", "deck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CseUNetConfig:
    """CSE-UNet, as the figure of its paper draws it or as a later slide deck built it."""

    architecture: Literal["cse-unet"] = "cse-unet"
    variant: CseUNetVariant = "figure"
    """Where the auxiliary convolutions read, and how the skips are built."""
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Channels at strides 1, 2, 4, 8 and 16. The paper's figure leaves them open."""
    dropout: float = 0.0
    """Rate at which whole channels are dropped after a double convolution; the deck has 0.2."""

    def __post_init__(self) -> None:
        """Refuse another number of levels."""
        require_levels("widths", self.widths, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiResUNetConfig:
    """MultiRes-UNet."""

    architecture: Literal["multires-unet"] = "multires-unet"
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Widths of the U-Net that it stands for, at strides 1, 2, 4, 8 and 16; a ResPath has that of
    its level."""
    alpha: float = 1.67
    """Channels of a MultiRes block over the U-Net's."""
    path_lengths: tuple[int, ...] = (4, 3, 2, 1)
    """Units of the ResPaths at strides 1, 2, 4 and 8."""

    def __post_init__(self) -> None:
        """Refuse another number of levels, and blocks without a channel."""
        require_levels("widths", self.widths, 5)
        require_levels("path_lengths", self.path_lengths, 4, most=MOST_UNITS)
        if self.alpha * min(self.widths) < 6:
            raise ValueError(
                f"alpha {self.alpha} times the smallest width {min(self.widths)} is below 6, which "
                "leaves a convolution without a channel; use larger ones"
            )


AerialConfig = (
    UNetFormerConfig
    | UNetConfig
    | CseUNetConfig
    | MultiResUNetConfig
    | DeepLabV3PlusConfig
    | UPerNetConfig
)
"""What `[[aerial]]` may hold; without the key `architecture` it is the first."""


def require_levels(
    name: str, values: tuple[int, ...], count: int, *, most: int = MOST_WIDTH
) -> None:
    """Refuse a list of another length, or with a value below 1 or above a limit.

    Raises:
        ValueError: Naming the key.
    """
    if len(values) != count or not 1 <= min(values) <= max(values) <= most:
        raise ValueError(f"{name} is {list(values)}; give {count} values of 1 to {most}")
