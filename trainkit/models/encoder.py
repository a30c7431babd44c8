"""Aerial encoders from timm that give maps at the strides that a decoder takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from runtime.errors import CheckpointError, ConfigError

from ..aerial_config import IMAGENET_HUB, MOST_UNITS, EncoderConfig

STRIDES = (4, 8, 16, 32)
COARSEST = 32

_RGB = 3

_WINDOWED = ("maxvit", "swin")
"""Families whose attention windows are laid out for one size of the input."""

# Family -> names of timm's arguments for the widths and the depths of the four stages.
_STAGE_ARGUMENTS = {"resnet": ("channels", "layers"), "convnext": ("dims", "depths")}


class Encoder(nn.Module):
    """A timm backbone, cut down to its maps at some strides.

    Args:
        config: Name, widths, depths and source of weights.
        channels: Channels of the input.
        tile_size: Side of the input in pixels; fixes the attention windows of MaxViT and Swin.
        strides: Strides of the maps, finest first; of several maps of a stride, the last one.
        output_stride: Stride of the coarsest map; below 32, convolutions are dilated instead.

    Raises:
        ConfigError: If timm lacks the encoder, or it has no map at one of the strides.
        CheckpointError: If the pretrained weights cannot be had.
    """

    def __init__(
        self,
        config: EncoderConfig,
        channels: int,
        tile_size: int,
        strides: Sequence[int] = STRIDES,
        output_stride: int = COARSEST,
    ) -> None:
        super().__init__()
        # Pretrained stems read RGB; further channels are added to them afterwards.
        stem_channels = _RGB if config.pretrained else channels
        self.backbone = _build(config, stem_channels, tile_size, output_stride)
        reduction = list(self.backbone.feature_info.reduction())
        missing = [stride for stride in strides if stride not in reduction]
        if missing:
            raise ConfigError(
                f"encoder {config.encoder} has maps at strides {reduction}; expected also "
                f"{missing}; choose another encoder"
            )
        last = {stride: level for level, stride in enumerate(reduction)}
        self.levels = tuple(last[stride] for stride in strides)
        widths = self.backbone.feature_info.channels()
        self.widths: tuple[int, ...] = tuple(widths[level] for level in self.levels)
        self.fixed_size = tile_size if config.encoder.startswith(_WINDOWED) else 0
        """Side of the only input it takes, in pixels; 0 where any multiple of 32 will do."""
        self.channels_last = getattr(self.backbone, "output_fmt", None) == "NHWC"
        if stem_channels != channels:
            widen_stem(self.backbone, channels)

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        """Give the maps, finest first."""
        maps = self.backbone(image_NCHW)
        taken = [maps[level] for level in self.levels]
        return [item.permute(0, 3, 1, 2) for item in taken] if self.channels_last else taken


def widen_stem(backbone: nn.Module, channels: int) -> None:
    """Let the first convolution read further channels, whose weights start at random.

    LF-DLM adds near infrared and elevation in this way and keeps the weights for red, green, blue.
    """
    stem = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d))
    weight = torch.empty(stem.out_channels, channels, *stem.kernel_size)
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    known = min(channels, stem.in_channels)
    weight[:, :known] = stem.weight.data[:, :known]
    stem.weight = nn.Parameter(weight)
    stem.in_channels = channels


def _build(config: EncoderConfig, channels: int, tile_size: int, output_stride: int) -> Any:
    arguments = _stage_arguments(config)
    if output_stride != COARSEST:
        arguments["output_stride"] = output_stride
    if config.encoder.startswith(_WINDOWED):
        arguments["img_size"] = tile_size
    if config.drop_path:
        arguments["drop_path_rate"] = config.drop_path
    if config.pretrained and config.pretrained != IMAGENET_HUB:
        if not Path(config.pretrained).is_file():
            raise CheckpointError(
                f"there are no weights at {config.pretrained}; give the path of a weights file, "
                'or pretrained = "" for random weights'
            )
        arguments["pretrained_cfg_overlay"] = {"file": config.pretrained}
    if config.encoder.partition(".")[0] not in cast(Sequence[str], timm.list_models()):
        raise ConfigError(f"timm has no encoder '{config.encoder}'; choose one of its models")
    try:
        return timm.create_model(
            config.encoder,
            features_only=True,
            in_chans=channels,
            pretrained=bool(config.pretrained),
            **arguments,
        )
    except (OSError, RuntimeError, KeyError) as error:
        if not config.pretrained:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"no pretrained weights for {config.encoder} from {config.pretrained}: {reason}; "
            'give the path of a weights file, or pretrained = "" for random weights'
        ) from error


def _stage_arguments(config: EncoderConfig) -> dict[str, Any]:
    given = (config.encoder_widths, config.encoder_depths)
    if not any(given):
        return {}
    if not all(1 <= depth <= MOST_UNITS for depth in config.encoder_depths):
        raise ConfigError(
            f"encoder_depths is {list(config.encoder_depths)}; expected 1 to {MOST_UNITS} blocks "
            "in each stage; correct it"
        )
    for family, names in _STAGE_ARGUMENTS.items():
        if config.encoder.startswith(family):
            return {name: value for name, value in zip(names, given, strict=True) if value}
    raise ConfigError(
        f"encoder {config.encoder} has fixed widths and depths; leave encoder_widths and "
        f"encoder_depths out, or use an encoder of {', '.join(_STAGE_ARGUMENTS)}"
    )
