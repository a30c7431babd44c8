"""What moves the weights of a branch: groups, learning rate, moving average."""

import copy
from typing import Any

import torch
from torch import nn

from .recipe import OptimConfig


def parameter_groups(branch: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Sort weights by rate and decay: an encoder has its own rate, vectors are not decayed."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, weight in branch.named_parameters():
        if weight.requires_grad:
            key = (name.startswith("encoder."), weight.ndim <= 1)
            groups.setdefault(key, []).append(weight)
    return [
        {
            "params": weights,
            "lr": optim.lr * (optim.encoder_lr_factor if is_encoder else 1.0),
            "weight_decay": 0.0 if is_vector else optim.weight_decay,
        }
        for (is_encoder, is_vector), weights in groups.items()
    ]


def learning_rate(step: int, steps: int, optim: OptimConfig) -> float:
    """Give the rate of a step, counted from 0: linear warm-up, then polynomial decay."""
    warmup = round(optim.warmup * steps)
    if step < warmup:
        return optim.lr * (step + 1) / warmup
    left = 1.0 - min(1.0, (step - warmup) / max(1, steps - warmup))
    return optim.min_lr + (optim.lr - optim.min_lr) * float(left**optim.power)


class MovingAverage:
    """Exponential moving average of a module's weights and statistics.

    Args:
        module: The module that is trained.
        decay: Weight of the past at each update; smaller in the first updates, when there is
            little past.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, updates: int) -> None:
        """Move towards the module's present weights; `updates` counts from 1."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        theirs = module.state_dict()
        for name, mine in self.module.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], 1.0 - decay)
            else:
                mine.copy_(theirs[name])
