"""How a model is trained: the table `[training]` of a config."""

from dataclasses import dataclass, field
from typing import Literal

TILE_STEP = 256
"""Aerial sides are multiples of this: 8 px attention windows at a stride of 32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """How one branch is trained: AdamW, linear warm-up, then polynomial decay."""

    lr: float = 1e-4
    min_lr: float = 1e-7
    power: float = 1.0
    """Exponent of the decay from `lr` to `min_lr`."""
    warmup: float = 0.0
    """Share of all steps over which the learning rate rises from 0."""
    encoder_lr_factor: float = 1.0
    """Learning rate of the encoder over that of the decoder (aerial branches)."""
    weight_decay: float = 0.01
    batch: int = 12
    """Patches, or crops, of one forward pass."""
    accumulate: int = 1
    """Forward passes per step of the optimizer."""
    crop_px: int = 512
    """Side of the square cut from an aerial patch; the satellite branch takes whole windows."""
    epochs: int = 30
    """Passes over the training patches. Zero where `steps` says how long to train."""
    steps: int = 0
    """Steps of the optimizer. Zero where `epochs` says how long to train."""
    patience: int = 15
    """Checks without improvement after which training stops; 0 never stops early."""
    checks: int = 30
    """How often the patches set aside are looked at, evenly spread over training."""
    dice_weight: float = 1.0
    """Weight of the Dice loss beside that of cross-entropy, which is 1."""
    aux_weight: float = 0.4
    """Weight of the auxiliary head's loss."""
    loss_stride: Literal[1, 2, 4] = 1
    """The loss looks at every n-th pixel in both directions; 1 costs a third of a small step."""
    label_smoothing: float = 0.0
    class_weights: Literal["none", "inverse-sqrt"] = "none"
    """"inverse-sqrt" weighs a class by the inverse square root of its share of the pixels."""
    ema: float = 0.0
    """Decay per step of the moving average of the weights that is kept as the model; 0 is off."""
    gradient_clip: float = 0.0
    """Largest norm of the gradient; 0 is off."""

    def __post_init__(self) -> None:
        """Refuse a length said twice or not at all."""
        if (self.epochs > 0) == (self.steps > 0):
            raise ValueError(
                f"epochs is {self.epochs} and steps is {self.steps}; set one of them, the other 0"
            )
        require_multiple("crop_px", self.crop_px, TILE_STEP)
        if self.batch < 1 or self.accumulate < 1:
            raise ValueError("batch and accumulate must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Random changes to training patches; geometry is the same for both inputs and the labels."""

    flips: bool = True
    rotations: bool = True
    """Quarter turns."""
    brightness: float = 0.0
    """Largest shift of all aerial bands together, as a share of 255."""
    contrast: float = 0.0
    """Largest relative change of the aerial bands' spread."""
    date_dropout: float = 0.0
    """Chance with which each month of the satellite series is masked."""
    satellite_gain: float = 0.0
    """Largest relative change of the whole series; each month varies by up to half of it more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How the branches are trained, one after the other."""

    aerial: OptimConfig = field(default_factory=OptimConfig)
    satellite: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    amp: Literal["off", "bf16"] = "off"
    """Number format of the training's matrix products; losses are always in float32."""
    tune_share: float = 0.15
    """Share of the training patches set aside to choose weights and to stop early."""


def require_multiple(name: str, value: int, step: int) -> None:
    """Refuse a size that is no multiple of a step.

    Raises:
        ValueError: Naming the next valid size.
    """
    if value < step or value % step:
        valid = max(step, -(-value // step) * step)
        raise ValueError(f"{name} is {value}; use a multiple of {step}, next {valid}")
