"""The tables of a config for what takes a Sentinel-2 series.

`[satellite]` is the U-TAE alone, `[joint]` a network over both inputs: one dataclass each, told
apart by the key `architecture`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .aerial_config import DeepLabConfig, EncoderConfig, Upsampler, require_levels
from .factory_config import FactoryConfig
from .recipe import require_multiple
from .satellite_channels import check_channels

if TYPE_CHECKING:
    from .config import InputConfig


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
