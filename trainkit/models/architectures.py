"""Which module is which architecture of a config."""

from collections.abc import Callable
from typing import Any

from ..aerial_config import (
    AerialConfig,
    CseUNetConfig,
    DeepLabV3PlusConfig,
    MultiResUNetConfig,
    UNetConfig,
    UNetFormerConfig,
    UPerNetConfig,
)
from ..config import InputConfig, TrainConfig
from ..factory_config import FactoryConfig
from ..joint_config import DifdConfig, FlairHubConfig, JointConfig, UTAndTConfig
from .aerial import AerialBranch
from .cse_unet import CseUNet
from .deeplab import DeepLabV3Plus
from .difd import Difd
from .factory import refuse_unnamed
from .flair_hub import FlairHubModel
from .landcover import LandCoverModel
from .multires_unet import MultiResUNet
from .u_t_and_t import UTAndT
from .unet import UNet
from .unetformer import UNetFormer
from .upernet import UPerNet

AERIAL: dict[type[AerialConfig], Callable[[Any, InputConfig, int], AerialBranch]] = {
    UNetFormerConfig: UNetFormer,
    UNetConfig: UNet,
    CseUNetConfig: CseUNet,
    MultiResUNetConfig: MultiResUNet,
    DeepLabV3PlusConfig: DeepLabV3Plus,
    UPerNetConfig: UPerNet,
}

JOINT: dict[type[JointConfig], Callable[[TrainConfig, Any], LandCoverModel]] = {
    DifdConfig: Difd,
    UTAndTConfig: UTAndT,
    FlairHubConfig: FlairHubModel,
    FactoryConfig: refuse_unnamed,
}


def build_aerial(config: AerialConfig, inputs: InputConfig, num_classes: int) -> AerialBranch:
    """Build an aerial branch.

    Args:
        config: Its architecture.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """
    return AERIAL[type(config)](config, inputs, num_classes)


def build_joint(config: TrainConfig) -> LandCoverModel:
    """Build the model of a config that has `[joint]`."""
    if config.joint is None:
        raise ValueError(f"{config.name} has no joint model; give [joint]")
    return JOINT[type(config.joint)](config, config.joint)
