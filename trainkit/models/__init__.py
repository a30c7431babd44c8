"""Models: an aerial branch, a satellite branch, and what brings them together."""

from ..config import TrainConfig
from .aerial import AerialBranch
from .landcover import (
    ClassMap,
    LandCoverModel,
    Part,
    PartTensor,
    ProbabilityMap,
)
from .utae import SatelliteBranch

__all__ = [
    "AerialBranch",
    "ClassMap",
    "LandCoverModel",
    "Part",
    "PartTensor",
    "ProbabilityMap",
    "SatelliteBranch",
    "build",
]


def build(config: TrainConfig) -> LandCoverModel:
    """Build the model of a config; weights start at random unless an encoder is pretrained."""
    return LandCoverModel(config)
