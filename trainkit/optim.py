"""What moves the weights of a branch: groups, learning rate, momentum, moving average.

    polynomial    min_lr + (lr - min_lr) (1 - t)^power      t: share of the steps after the warm-up
    cosine        min_lr + (lr - min_lr) (1 + cos pi t) / 2
    constant      lr
    one-cycle     as cosine, after a rise from lr / start_div along half a cosine, too

In the other schedules the warm-up is linear and starts from 0. One-cycle also moves the momentum,
from `MOMENTA[0]` down to `MOMENTA[1]` while the rate rises, and back while it falls.

Reference: Smith and Topin 2018 (arXiv 1708.07120) for one-cycle, with the cosines and the momenta
that fastai and PyTorch use.
"""

import copy
import math
from typing import Any

import torch
from torch import nn

from .recipe import OptimConfig

MOMENTA = (0.95, 0.85)
"""Weight of the past in AdamW's mean of the gradient in a one-cycle schedule: at both ends, and
where the rate is highest."""

BETAS = (0.9, 0.999)
"""AdamW's weights of the past in its means of the gradient and of its square."""


def encoders(branch: nn.Module) -> list[nn.Module]:
    """List the encoders of a branch: the modules of that name."""
    return [m for name, m in branch.named_modules() if name.split(".")[-1] == "encoder"]


def parameter_groups(branch: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Sort weights by rate and decay: an encoder has its own rate, vectors are not decayed."""
    of_encoders = {id(weight) for module in encoders(branch) for weight in module.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for weight in branch.parameters():
        if weight.requires_grad:
            key = (id(weight) in of_encoders, weight.ndim <= 1)
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
    """Give the rate of a step, counted from 0, of so many."""
    warmup, t = _place(step, steps, optim)
    if step < warmup:
        if optim.schedule == "one-cycle":
            return _half_cosine(optim.lr / optim.start_div, optim.lr, t)
        return optim.lr * (step + 1) / warmup
    if optim.schedule == "constant":
        return optim.lr
    if optim.schedule == "polynomial":
        return optim.min_lr + (optim.lr - optim.min_lr) * float((1.0 - t) ** optim.power)
    return _half_cosine(optim.lr, optim.min_lr, t)


def momentum(step: int, steps: int, optim: OptimConfig) -> float:
    """Give the weight of the past in AdamW's mean of the gradient at a step, counted from 0."""
    if optim.schedule != "one-cycle":
        return BETAS[0]
    warmup, t = _place(step, steps, optim)
    return _half_cosine(*(MOMENTA if step < warmup else MOMENTA[::-1]), t)


def _place(step: int, steps: int, optim: OptimConfig) -> tuple[int, float]:
    """Give the steps of the warm-up, and the share of it, or of the rest, that is done."""
    warmup = round(optim.warmup * steps)
    if step < warmup:
        return warmup, step / warmup
    return warmup, min(1.0, (step - warmup) / max(1, steps - warmup))


def _half_cosine(first: float, last: float, t: float) -> float:
    """Go from one number to another, slowly at both ends; t is 0 to 1."""
    return last + (first - last) * (1.0 + math.cos(math.pi * t)) / 2.0


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
