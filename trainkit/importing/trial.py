"""Try a stranger's module before it becomes a checkpoint."""

import torch
from torch import Tensor

from runtime.errors import ConfigError

from ..models import LandCoverModel

CLOSE = 1e-3
"""Largest difference, as a share of the largest logit, that the order of sums explains."""


@torch.no_grad()
def check_batch(model: LandCoverModel) -> None:
    """Refuse a model whose map of a tile depends on the other tiles of a batch, or is no number.

    Raises:
        ConfigError: Saying which.
    """
    feed: dict[str, Tensor] = {}
    for part in model.parts():
        if part.role != "fusion":
            feed |= part.example(batch=2)
    try:
        both = model(feed)
        alone = torch.cat([model({k: v[i : i + 1] for k, v in feed.items()}) for i in range(2)])
    except Exception as error:  # the user's code can raise anything
        raise ConfigError(
            f"{model.config.name} runs on one tile and fails on a batch of two with "
            f"{type(error).__name__}; expected parts that take any batch; correct the module"
        ) from error
    if not torch.isfinite(both).all():
        raise ConfigError(
            f"{model.config.name} gives NaN or infinity for random tiles; expected numbers; check "
            "the weights, and the mean and standard deviation of the bands"
        )
    difference = float((both - alone).abs().max() / both.abs().max().clamp(min=1e-12))
    if difference > CLOSE:
        raise ConfigError(
            f"{model.config.name} gives other logits for a tile in a batch of two than alone (by "
            f"{100 * difference:.2g} % of the largest); expected tiles that do not mix; normalise "
            "over each item, or call eval() on what the parts use"
        )
