"""Models that are trained as one: the branches give features, and a decoder brings them together.

aerial uint8 (N,C,H,W) ----------------- aerial ------ features --+
satellite (N,T,B,h,w), date mask, days - satellite --- features --+- decoder - logits (N,K,H,W)
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .landcover import AERIAL_INPUTS, SATELLITE_INPUTS, Head, LandCoverModel, Part, PartTensor

# Shape letters: N batch, C aerial channels, H W aerial pixels, T dates, B Sentinel-2 bands,
# h w Sentinel-2 cells, K classes.

UNIT = "joint"
"""Name under which the whole model is trained."""

Features = tuple[Tensor, ...]


class JointModel(LandCoverModel):
    """Two branches without logits of their own and a decoder over both; trained as one.

    Each architecture is a subclass that sets the attributes below. Zeros for all features of the
    satellite branch mean that there is no satellite input; training with modality dropout teaches
    a model to do without.

    Args:
        config: A whole training run.
    """

    aerial: nn.Module
    """Takes uint8 (N, C, H, W) and normalises inside; gives a tuple of features."""
    satellite: nn.Module
    """Takes what `satellite_takes` names; gives a tuple of features."""
    satellite_takes: tuple[str, ...] = SATELLITE_INPUTS
    """Inputs of `satellite`, in its order: the series (N, T, B, h, w), date mask (N, T) and days
    (N, T), or those of them that it has a use for."""
    decoder: nn.Module
    """Takes the features of both, aerial ones first; gives logits on the tile's grid."""
    aerial_features: tuple[PartTensor, ...]
    """Names and shapes of what `aerial` gives."""
    satellite_features: tuple[PartTensor, ...]
    """Names and shapes of what `satellite` gives."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.modality_dropout = config.training.augment.modality_dropout

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The parts before the fusion."""
        return ("aerial", "satellite")

    @property
    def units(self) -> tuple[str, ...]:
        """The model as one."""
        return (UNIT,)

    def unit(self, name: str) -> nn.Module:
        """Give the model itself."""
        if name != UNIT:
            raise ValueError(f"there is no unit '{name}'; a joint model is trained as '{UNIT}'")
        return self

    def features(self, feed: Mapping[str, Tensor]) -> tuple[Features, Features]:
        """Give the features of the aerial and of the satellite branch."""
        aerial: Features = self.aerial(*(feed[name] for name in AERIAL_INPUTS))
        satellite: Features = self.satellite(*(feed[name] for name in self.satellite_takes))
        return aerial, satellite

    def forward(self, feed: Mapping[str, Tensor]) -> Tensor:
        """Give logits on the tile's grid, shape (N, K, H, W)."""
        aerial, satellite = self.features(feed)
        logits: Tensor = self.decoder(*aerial, *satellite)
        return logits

    def forward_train(self, feed: Mapping[str, Tensor]) -> tuple[Head, ...]:
        """Give what training compares with labels: the main head first, auxiliary ones after."""
        aerial, satellite = self.features(feed)
        logits = self.decoder(*aerial, *self.drop_modality(satellite))
        return (Head(name=UNIT, logits=logits, weight=1.0, stride=1),)

    def drop_modality(self, satellite: Features) -> Features:
        """Set the satellite features of some items to zero, each with the chance of the config."""
        if not self.modality_dropout:
            return satellite
        first = satellite[0]
        keep = torch.rand(len(first), device=first.device) >= self.modality_dropout
        return tuple(
            item * keep.to(item.dtype).view(-1, *(1,) * (item.ndim - 1)) for item in satellite
        )

    def own_logits(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give nothing: no branch has a map of its own."""
        return {}

    def parts(self) -> tuple[Part, ...]:
        """The pieces to export, in order of execution; the last one is a variant of the fusion."""
        aerial = Part(
            name="aerial",
            role="aerial",
            module=self.aerial,
            inputs=self.aerial_inputs(),
            outputs=self.aerial_features,
        )
        satellite = Part(
            name="satellite",
            role="satellite",
            module=self.satellite,
            inputs=tuple(
                spec for spec in self.satellite_inputs() if spec.name in self.satellite_takes
            ),
            outputs=self.satellite_features,
        )
        given = (*self.aerial_features, *self.satellite_features)
        return (aerial, satellite, *self.fusion_parts(self.decoder, given))
