"""Models: branches that are fused late, and models that are trained as one."""

from ..config import TrainConfig
from .aerial import AerialBranch
from .architectures import build_joint
from .joint import JointModel
from .landcover import (
    ClassMap,
    Head,
    LandCoverModel,
    Part,
    PartTensor,
    ProbabilityMap,
)
from .late_fusion import LateFusionModel
from .utae import SatelliteBranch

__all__ = [
    "AerialBranch",
    "ClassMap",
    "Head",
    "JointModel",
    "LandCoverModel",
    "LateFusionModel",
    "Part",
    "PartTensor",
    "ProbabilityMap",
    "SatelliteBranch",
    "build",
]


def build(config: TrainConfig) -> LandCoverModel:
    """Build the model of a config; weights start at random unless an encoder is pretrained."""
    return LateFusionModel(config) if config.joint is None else build_joint(config)
