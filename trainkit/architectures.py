"""The networks of a config: one dataclass each, told apart by the key `architecture`.

A new aerial architecture is a dataclass here, a module in `models`, and its line in
`models.architectures`.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

IMAGENET_HUB = "imagenet"
"""Value of `pretrained` that fetches weights from the encoder's hub by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetFormerConfig:
    """An encoder from timm and a UNetFormer decoder."""

    architecture: Literal["unetformer"] = "unetformer"
    encoder: str = "maxvit_tiny_tf_512"
    """Name in timm; it must give maps at strides 4, 8, 16 and 32."""
    encoder_widths: tuple[int, ...] = ()
    """Channels of the four stages instead of the encoder's own (ResNet and ConvNeXt families)."""
    encoder_depths: tuple[int, ...] = ()
    """Blocks of the four stages instead of the encoder's own (ResNet and ConvNeXt families)."""
    drop_path: float = 0.0
    """Rate of stochastic depth in the encoder."""
    decoder_width: int = 64
    """Channels of the decoder; a multiple of 16 (8 attention heads, squeeze by 16)."""
    auxiliary: bool = True
    """Whether training has the decoder's second head. It is never exported."""
    pretrained: str = ""
    """Empty for random weights, "imagenet" for the hub's, else the path of a weights file."""
    freeze_encoder: bool = False

    def __post_init__(self) -> None:
        """Refuse widths that the attention heads cannot share."""
        if self.decoder_width < 16 or self.decoder_width % 16:
            raise ValueError(f"decoder_width is {self.decoder_width}; use a multiple of 16")


AerialConfig = UNetFormerConfig
"""What `[[aerial]]` may hold; without the key `architecture` it is the first."""


def pretrained_weights(config: AerialConfig) -> str:
    """Give what the key `pretrained` says; empty for architectures without."""
    return str(getattr(config, "pretrained", ""))


def without_pretrained(config: AerialConfig) -> AerialConfig:
    """Give the same architecture with random weights."""
    unset: dict[str, Any] = {"pretrained": ""}
    return replace(config, **unset) if pretrained_weights(config) else config


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
