"""The networks of a config: one dataclass each, told apart by the key `architecture`.

A new aerial or joint architecture is a dataclass here, a module in `models`, and its line in
`models.architectures`.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .factory_config import FactoryConfig
from .recipe import require_multiple
from .satellite_channels import check_channels

if TYPE_CHECKING:
    from .config import InputConfig

IMAGENET_HUB = "imagenet"
"""Value of `pretrained` that fetches weights from the encoder's hub by name."""


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
        require_levels("path_lengths", self.path_lengths, 4)
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


def require_levels(name: str, values: tuple[int, ...], count: int) -> None:
    """Refuse a list of another length, or with a value below 1.

    Raises:
        ValueError: Naming the key.
    """
    if len(values) != count or min(values) < 1:
        raise ValueError(f"{name} is {list(values)}; give {count} values of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteBranchConfig:
    """U-TAE; widths run from the finest to the coarsest level."""

    encoder_widths: tuple[int, ...] = (64, 64, 128, 128)
    decoder_widths: tuple[int, ...] = (64, 64, 128, 128)
    n_head: int = 16
    d_model: int = 256
    d_k: int = 4
    temporal_norm: Literal["reference", "masked"] = "reference"
    """"reference" pools statistics over masked dates too, as published weights expect; with
    "masked" the number of masked dates changes nothing."""
    stride: Literal[2, 1] = 2
    """From level to level: 2 halves the map; with 1, as FLAIR-HUB has it, all have one size."""
    head: Literal["linear", "original"] = "linear"
    """"linear" ends in a convolution; "original" ends in BatchNorm and ReLU and cannot be fused."""

    def __post_init__(self) -> None:
        """Refuse widths that the groups of the norms or the attention heads cannot share."""
        if not len(self.encoder_widths) == len(self.decoder_widths) == 4:
            raise ValueError("encoder_widths and decoder_widths need four values each")
        if self.encoder_widths[-1] != self.decoder_widths[-1]:
            raise ValueError(
                f"the last encoder width is {self.encoder_widths[-1]} and the last decoder width "
                f"{self.decoder_widths[-1]}; they must be equal"
            )
        shared = (*self.encoder_widths, self.d_model)
        if any(width % self.n_head for width in shared) or any(w % 4 for w in shared):
            raise ValueError(
                f"encoder_widths and d_model {shared} must be multiples of n_head {self.n_head} "
                "and of 4"
            )

    def check_window(self, cells: int) -> None:
        """Refuse a satellite window that cannot be halved from level to level.

        Raises:
            ValueError: Naming the next valid size.
        """
        # Borders are reflected, which takes a second cell.
        step = max(self.stride ** (len(self.encoder_widths) - 1), 2)
        require_multiple("input.satellite_window", cells, step)


Geometry = Literal["R3", "R2"]
"""How the satellite window comes to the tile's map at stride 4. "R3": one cell per 16 aerial
pixels, enlarged by four, exactly aligned. "R2": 26 cells by one transposed convolution of stride 5,
off by up to one pixel of that map."""

R2_CELLS, R2_TILE = 26, 512
"""Window and tile of geometry "R2"."""

FOOTPRINT_TOLERANCE = 1e-3
"""By how much, as a share, a satellite window may differ from the tile that it is to cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifdConfig(DeepLabConfig):
    """DIFD: DeepLabV3+ over aerial features and those of a Sentinel-2 composite.

    Reference: Berka et al. 2025, arXiv 2503.22909; what it leaves open is a key here.
    """

    architecture: Literal["difd"] = "difd"
    upsampler: Upsampler = "deconv"
    satellite_channels: tuple[str, ...] = ("NDVI", "NDWI", "B02E", "B03E", "B04E", "B08E", "B08")
    """Bands, indices (NDVI, NDWI) and enhanced bands (B02E: stretched between two percentiles) that
    the satellite branch makes of the bands that it is given."""
    satellite_widths: tuple[int, ...] = (64, 128, 256)
    """Channels of the satellite branch, one per layer."""
    geometry: Geometry = "R3"

    def __post_init__(self) -> None:
        """Refuse a satellite branch without a layer."""
        if len(self.satellite_widths) < 2 or min(self.satellite_widths) < 1:
            raise ValueError(
                f"satellite_widths is {list(self.satellite_widths)}; give two or more of at least 1"
            )

    def check(self, inputs: "InputConfig") -> None:
        """Refuse inputs that do not fit.

        Raises:
            ValueError: Saying what would fit.
        """
        check_channels(self.satellite_channels, inputs.satellite_bands)
        cells, low = inputs.satellite_window, inputs.tile_size // 4
        fitting = low // 4 if self.geometry == "R3" else R2_CELLS
        pixels = cells * 4 if self.geometry == "R3" else cells * 5 - 2
        if pixels != low:
            raise ValueError(
                f"input.satellite_window is {cells} and input.tile_size {inputs.tile_size}; "
                f'geometry "{self.geometry}" takes {fitting} cells'
                + ("" if self.geometry == "R3" else f" for a tile of {R2_TILE}")
            )
        side_m, tile_m = (
            cells * inputs.satellite_resolution_m,
            inputs.tile_size * inputs.resolution_m,
        )
        if abs(side_m - tile_m) > FOOTPRINT_TOLERANCE * tile_m:
            raise ValueError(
                f"the satellite window is {side_m:.3f} m wide and the tile {tile_m:.3f} m; they "
                f"must be equal; set input.satellite_resolution_m to {tile_m / cells:.6f}"
            )


Footprint = Literal["exact", "whole-cells"]
"""What of a satellite window lies under a tile: its side in metres, or as many whole cells as fit
into it, drawn out to its side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UTAndTConfig(EncoderConfig):
    """U-T&T: a U-Net whose skips take what a U-TAE makes of the Sentinel-2 series.

    Reference: Garioud et al. 2023, FLAIR #2, arXiv 2310.13336.
    """

    architecture: Literal["u-t-and-t"] = "u-t-and-t"
    encoder: str = "resnet34"
    decoder_widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Channels of the U-Net's decoder at strides 1, 2, 4, 8 and 16."""
    satellite: SatelliteBranchConfig = field(default_factory=SatelliteBranchConfig)
    footprint: Footprint = "exact"
    """"exact" takes 10.24 cells under a tile of 102.4 m; "whole-cells" is the original's crop of 10
    cells, which is off by up to 1.2 m."""
    dropout: float = 0.3
    """Rate in the fusion of the whole window."""
    satellite_weight: float = 1.0
    """Weight of the loss of the satellite branch's own logits; that of the model's is 1."""
    satellite_ignore: tuple[int, ...] = ()
    """Classes that the satellite branch's own logits are not trained for."""
    metadata: bool = False
    """Whether the model takes 45 numbers about each image. No data set and no map brings them: such
    a model runs from Python only."""
    unread_layers: bool = False
    """Whether to hold, without training them, also the layers of the original that nothing reads:
    the U-TAE's own head, and the fusion at stride 1, where its decoder has no skip."""

    def __post_init__(self) -> None:
        """Refuse another number of levels, and a satellite head that ends in ReLU."""
        require_levels("decoder_widths", self.decoder_widths, 5)
        if self.satellite.head != "linear":
            raise ValueError(f'satellite.head is "{self.satellite.head}"; use "linear"')
        if self.satellite_weight < 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"satellite_weight is {self.satellite_weight} and dropout {self.dropout}; expected "
                "none below 0, and dropout below 1"
            )

    def check(self, inputs: "InputConfig") -> None:
        """Refuse a window that a U-TAE cannot halve.

        Raises:
            ValueError: Naming the next valid size.
        """
        self.satellite.check_window(inputs.satellite_window)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlairHubConfig(EncoderConfig):
    """FLAIR-HUB's model of aerial images and a Sentinel-2 series.

    The four maps of a U-TAE join those of the aerial encoder, the coarsest the finest, before a
    UPerNet decoder.

    Reference: Garioud et al. 2025, FLAIR-HUB, arXiv 2506.07080, and its published code.
    """

    architecture: Literal["flair-hub"] = "flair-hub"
    encoder: str = "swin_base_patch4_window12_384"
    width: int = 256
    """Channels of the decoder's pyramid."""
    head_width: int = 64
    """Channels of the map that the classes are read from."""
    satellite: SatelliteBranchConfig = field(
        default_factory=lambda: SatelliteBranchConfig(stride=1)
    )
    satellite_scale: float = 10_000.0
    """The series is multiplied by this: FLAIR-HUB's models take digital numbers."""

    def __post_init__(self) -> None:
        """Refuse a scale that takes the series away."""
        if self.satellite_scale <= 0:
            raise ValueError(f"satellite_scale is {self.satellite_scale}; give one above 0")

    def check(self, inputs: "InputConfig") -> None:
        """Refuse a window that does not cover the tile, or that the U-TAE cannot halve.

        Raises:
            ValueError: Saying what would fit.
        """
        cells, cell_m = inputs.satellite_window, inputs.satellite_resolution_m
        tile_m = inputs.tile_size * inputs.resolution_m
        if abs(cells * cell_m - tile_m) > FOOTPRINT_TOLERANCE * tile_m:
            raise ValueError(
                f"input.satellite_window is {cells} cells of {cell_m:g} m, and a tile is "
                f"{tile_m:.2f} m wide; they must be equal; use {max(2, round(tile_m / cell_m))} "
                "cells, or another input.satellite_resolution_m"
            )
        self.satellite.check_window(cells)


JointConfig = DifdConfig | UTAndTConfig | FlairHubConfig | FactoryConfig
"""What `[joint]` may hold; without the key `architecture` it is the first. Each has `check`, which
refuses inputs that do not fit it."""

NetworkT = TypeVar("NetworkT", bound=AerialConfig | JointConfig)


def pretrained_weights(config: AerialConfig | JointConfig) -> str:
    """Give what the key `pretrained` says; empty for architectures without."""
    return config.pretrained if isinstance(config, EncoderConfig) else ""


def without_pretrained(config: NetworkT) -> NetworkT:
    """Give the same architecture with random weights."""
    unset: dict[str, Any] = {"pretrained": ""}
    return replace(config, **unset) if pretrained_weights(config) else config
