"""How a model is trained: the table `[training]` of a config."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

COLOURS = ("red", "green", "blue")
"""Aerial bands that have a hue together."""

TILE_STEP = 256
"""Aerial sides are multiples of this: 8 px attention windows at a stride of 32."""

Schedule = Literal["polynomial", "cosine", "one-cycle", "constant"]
LossName = Literal["ce", "focal"]
ClassWeights = tuple[float, ...] | Literal["none", "inverse-sqrt", "inverse"]
"""How classes are weighed: by a rule, or one number each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """What one stage of a training does otherwise; what is left out is as in the table above it."""

    schedule: Schedule | None = None
    lr: float | None = None
    min_lr: float | None = None
    power: float | None = None
    warmup: float | None = None
    start_div: float | None = None
    encoder_lr_factor: float | None = None
    frozen_epochs: int | None = None
    frozen_steps: int | None = None
    weight_decay: float | None = None
    epochs: int | None = None
    """In place of both `epochs` and `steps`."""
    steps: int | None = None
    """In place of both `epochs` and `steps`."""
    patience: int | None = None
    checks: int | None = None
    loss: LossName | None = None
    focal_gamma: float | None = None
    ce_weight: float | None = None
    dice_weight: float | None = None
    dice_classes: Literal["present", "all"] | None = None
    dice_class_weights: bool | None = None
    label_smoothing: float | None = None
    class_weights: ClassWeights | None = None

    def changes(self) -> dict[str, Any]:
        """Give what it says, as keys of `OptimConfig`."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if ("epochs" in given) != ("steps" in given):
            given = {"epochs": 0, "steps": 0, **given}
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """How one branch is trained: AdamW, a learning rate that follows a schedule, and a loss."""

    schedule: Schedule = "polynomial"
    """How the learning rate goes from `lr` to `min_lr` once it has risen; see `optim`."""
    lr: float = 1e-4
    min_lr: float = 1e-7
    power: float = 1.0
    """Exponent of the polynomial decay from `lr` to `min_lr`."""
    warmup: float = 0.0
    """Share of all steps over which the learning rate rises, from 0 or as `start_div` says."""
    start_div: float = 25.0
    """A one-cycle schedule begins with `lr` over this."""
    encoder_lr_factor: float = 1.0
    """Learning rate of the encoder over that of the decoder (aerial branches)."""
    frozen_epochs: int = 0
    """Passes over the training patches, from the first, that leave the encoder as it is."""
    frozen_steps: int = 0
    """Steps, from the first, that leave the encoder as it is."""
    weight_decay: float = 0.01
    batch: int = 12
    """Patches, or crops, of one forward pass."""
    accumulate: int = 1
    """Forward passes per step of the optimizer."""
    crop_px: int = 512
    """Side of the square cut from an aerial patch; the satellite branch and joint models take
    whole patches."""
    epochs: int = 30
    """Passes over the training patches. Zero where `steps` says how long to train."""
    steps: int = 0
    """Steps of the optimizer. Zero where `epochs` says how long to train."""
    patience: int = 15
    """Checks without improvement after which training stops; 0 never stops early."""
    checks: int = 30
    """How often the patches set aside are looked at, evenly spread over training."""
    loss: LossName = "ce"
    """Loss of single pixels: cross-entropy, or focal loss."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss; 0 is cross-entropy."""
    ce_weight: float = 1.0
    """Weight of the loss of single pixels."""
    dice_weight: float = 1.0
    """Weight of the Dice loss."""
    dice_classes: Literal["present", "all"] = "present"
    """Whether Dice is averaged over the classes that occur in a batch, or over all."""
    dice_class_weights: bool = False
    """Whether `class_weights` weigh the classes of the Dice loss, too."""
    aux_weight: float = 0.4
    """Weight of the auxiliary head's loss."""
    loss_stride: Literal[1, 2, 4] = 1
    """The loss looks at every n-th pixel in both directions; 1 costs a third of a small step."""
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    """"inverse" weighs a class by the inverse of its share of the training pixels, "inverse-sqrt"
    by the root of that; a list holds one weight per class. Losses are divided by the sum of the
    weights, so that only their ratios matter."""
    ema: float = 0.0
    """Decay per step of the moving average of the weights that is kept as the model; 0 is off."""
    gradient_clip: float = 0.0
    """Largest norm of the gradient; 0 is off."""
    stages: tuple[StageConfig, ...] = ()
    """Trainings one after the other, each from the best weights of the one before, with a new
    optimizer and moving average; without any, there is one training."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, in the table or in one of its stages."""
        self._check_length()
        self._check_rate()
        self._check_loss()
        for number, _ in enumerate(self.stages, start=1):
            try:
                self.stage(number)
            except ValueError as error:
                raise ValueError(f"stage {number}: {error}") from error

    def _check_length(self) -> None:
        if (self.epochs > 0) == (self.steps > 0):
            raise ValueError(
                f"epochs is {self.epochs} and steps is {self.steps}; set one of them, the other 0"
            )
        require_multiple("crop_px", self.crop_px, TILE_STEP)
        if self.batch < 1 or self.accumulate < 1:
            raise ValueError("batch and accumulate must be at least 1")
        if self.frozen_epochs and self.frozen_steps:
            raise ValueError(
                f"frozen_epochs is {self.frozen_epochs} and frozen_steps is {self.frozen_steps}; "
                "set one of them at most"
            )

    def _check_rate(self) -> None:
        if not 0.0 <= self.min_lr <= self.lr or self.lr == 0.0:
            raise ValueError(
                f"lr is {self.lr} and min_lr is {self.min_lr}; expected lr above 0, and min_lr "
                "from 0 to lr"
            )
        if self.schedule == "one-cycle" and not (0.0 < self.warmup < 1.0 and self.start_div >= 1.0):
            raise ValueError(
                f"a one-cycle schedule has warmup {self.warmup} and start_div {self.start_div}; "
                "expected a share above 0 and below 1 (often 0.25), and at least 1"
            )

    def _check_loss(self) -> None:
        if min(self.ce_weight, self.dice_weight) < 0 or not self.ce_weight + self.dice_weight:
            raise ValueError(
                f"ce_weight is {self.ce_weight} and dice_weight is {self.dice_weight}; expected "
                "none below 0 and one above"
            )
        if self.focal_gamma < 0.0:
            raise ValueError(f"focal_gamma is {self.focal_gamma}; expected 0 or above")
        if isinstance(self.class_weights, tuple) and not (
            self.class_weights and min(self.class_weights) >= 0 and sum(self.class_weights) > 0
        ):
            raise ValueError(
                f"class_weights are {list(self.class_weights)}; expected one per class, none "
                "below 0 and one above"
            )
        if self.dice_class_weights and self.class_weights == "none":
            raise ValueError('dice_class_weights needs class_weights other than "none"')

    def stage(self, number: int) -> "OptimConfig":
        """Give a stage, counted from 1, as a training of its own."""
        return replace(self, stages=(), **self.stages[number - 1].changes())

    @property
    def trainings(self) -> tuple["OptimConfig", ...]:
        """The stages as trainings of their own, or this one where there are none."""
        numbers = range(1, len(self.stages) + 1)
        return tuple(self.stage(number) for number in numbers) or (self,)


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
    gamma: float = 0.0
    """Largest relative change of the exponent that the aerial bands, 0 to 1, are raised to."""
    clahe: float = 0.0
    """Chance of an adaptive histogram equalization, of lightness in colour and of other bands."""
    hue_saturation: float = 0.0
    """Largest shift of hue, as a share of half the circle, and of saturation, as a share of 1; of
    the bands red, green and blue, where all are there."""
    zoom: float = 0.0
    """Largest relative change of the scale of aerial patches; 0.1 zooms by 0.9 to 1.1. Aerial
    branches only: their training does not look at the satellite window."""
    rotate: float = 0.0
    """Largest turn of aerial patches beside quarter turns, in degrees, in either direction. Aerial
    branches only."""
    date_dropout: float | Literal["uniform"] = 0.0
    """Chance with which each month of the satellite series is masked, where three stay; "uniform"
    keeps any number of months, from one to all, with the same chance."""
    satellite_gain: float = 0.0
    """Largest relative change of the whole series; each month varies by up to half of it more."""
    modality_dropout: float = 0.0
    """Chance with which a joint model is trained without what its satellite branch gives; above 0
    the model also maps where there is no satellite input."""

    def __post_init__(self) -> None:
        """Refuse changes that leave nothing, and chances that are none."""
        for name in ("gamma", "hue_saturation", "zoom"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to below 1")
        for name in ("clahe", "date_dropout", "modality_dropout"):
            chance = getattr(self, name)
            if chance != "uniform" and not 0.0 <= chance <= 1.0:
                raise ValueError(f"{name} is {chance}; expected a chance from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How the branches are trained, one after the other, or a joint model as one."""

    aerial: OptimConfig = field(default_factory=OptimConfig)
    satellite: OptimConfig = field(default_factory=OptimConfig)
    joint: OptimConfig = field(default_factory=OptimConfig)
    """Of a model that is trained as one."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    amp: Literal["off", "bf16"] = "off"
    """Number format of the training's matrix products; losses are always in float32."""
    tune_share: float = 0.15
    """Share of the training patches set aside to choose weights and to stop early."""

    def check(self, *, classes: int, bands: tuple[str, ...], joint: bool) -> None:
        """Refuse what does not fit a model of so many classes and these aerial bands.

        Raises:
            ValueError: Naming the key.
        """
        for name in ("aerial", "satellite", "joint"):
            for optim in getattr(self, name).trainings:
                weights = optim.class_weights
                if isinstance(weights, tuple) and len(weights) != classes:
                    raise ValueError(
                        f"training.{name}.class_weights has {len(weights)} values for {classes} "
                        "classes; give one per class"
                    )
        if joint and (self.augment.zoom or self.augment.rotate):
            raise ValueError(
                "training.augment has zoom or rotate, which a joint model's satellite window "
                "cannot follow; leave them out, or use flips and rotations"
            )
        if self.augment.hue_saturation and not set(COLOURS) <= set(bands):
            raise ValueError(
                f"training.augment has hue_saturation and the aerial bands are {', '.join(bands)}; "
                f"expected {', '.join(COLOURS)} among them; leave it out"
            )


def require_multiple(name: str, value: int, step: int) -> None:
    """Refuse a size that is no multiple of a step.

    Raises:
        ValueError: Naming the next valid size.
    """
    if value < step or value % step:
        valid = max(step, -(-value // step) * step)
        raise ValueError(f"{name} is {value}; use a multiple of {step}, next {valid}")
