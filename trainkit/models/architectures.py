"""Which module is which architecture of a config."""

from collections.abc import Callable
from typing import Any

from ..architectures import AerialConfig, UNetFormerConfig
from ..config import InputConfig
from .aerial import AerialBranch
from .unetformer import UNetFormer

AERIAL: dict[type[AerialConfig], Callable[[Any, InputConfig, int], AerialBranch]] = {
    UNetFormerConfig: UNetFormer,
}


def build_aerial(config: AerialConfig, inputs: InputConfig, num_classes: int) -> AerialBranch:
    """Build an aerial branch.

    Args:
        config: Its architecture.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """
    return AERIAL[type(config)](config, inputs, num_classes)
