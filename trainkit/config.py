"""What a training run is: the tables of a preset or of a user's TOML file as frozen dataclasses.

Every file is complete: there is no inheritance, and a key that is not known is an error.
"""

import difflib
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from runtime import schema
from runtime.errors import ConfigError
from runtime.satellite import BANDS, DatePolicy

from .architectures import AerialConfig, SatelliteBranchConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TILE_STEP = 256
"""Aerial sides are multiples of this: 8 px attention windows at a stride of 32."""

SATELLITE_STEP = 8
"""Satellite windows are multiples of this: three halvings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig:
    """What both inputs look like; the same in training and in the field."""

    aerial_bands: tuple[str, ...] = ("red", "green", "blue", "nir", "elevation")
    aerial_mean: tuple[float, ...] = (105.08, 110.87, 101.82, 106.38, 53.26)
    """Mean of each aerial band, 0 to 255. The default is FLAIR #1's."""
    aerial_std: tuple[float, ...] = (52.17, 45.38, 44.00, 39.69, 79.30)
    """Standard deviation of each aerial band, 0 to 255. The default is FLAIR #1's."""
    tile_size: int = 512
    """Side of an aerial tile, in pixels; the side the network is exported with."""
    resolution_m: float = 0.2
    """Metres per aerial pixel."""
    satellite_bands: tuple[str, ...] = BANDS
    satellite_window: int = 40
    """Side of the Sentinel-2 window around a tile's centre, in cells."""
    satellite_resolution_m: float = 10.0
    """Metres per Sentinel-2 cell."""

    def __post_init__(self) -> None:
        """Refuse sizes and statistics that cannot belong together."""
        _require_multiple("tile_size", self.tile_size, TILE_STEP)
        _require_multiple("satellite_window", self.satellite_window, SATELLITE_STEP)
        for name in ("aerial_mean", "aerial_std"):
            count = len(getattr(self, name))
            if count != len(self.aerial_bands):
                raise ValueError(
                    f"{name} has {count} values for {len(self.aerial_bands)} aerial bands; "
                    "give one per band"
                )
        if min(self.aerial_std) <= 0 or self.resolution_m <= 0 or self.satellite_resolution_m <= 0:
            raise ValueError("a standard deviation or resolution is not positive; give one above 0")


FusionWeights = Literal["auto", "per-class"] | tuple[float, ...]
"""One weight per branch, or how to choose them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """How the logits of the branches are weighed before they are added."""

    weights: Literal["auto", "per-class"] | float | tuple[float, ...] = "auto"
    """One number is the weight of the aerial side, and the satellite branch takes the rest; a list
    holds one per branch (aerial ones first, satellite last); "auto" chooses one number and
    "per-class" one per class, on patches that training has set aside."""

    def __post_init__(self) -> None:
        """Refuse a share of the aerial side that is none."""
        if isinstance(self.weights, float) and not 0.0 <= self.weights <= 1.0:
            raise ValueError(f"fusion.weights is {self.weights}; a single number must be 0 to 1")

    def of(self, *, aerial: int, satellite: bool) -> FusionWeights:
        """Give one weight per branch, where a number or list says them, for so many branches."""
        if not isinstance(self.weights, float):
            return self.weights
        if not aerial or not satellite:
            return (1.0 / max(aerial, 1),) * max(aerial, 1)
        return (*(self.weights / aerial,) * aerial, 1.0 - self.weights)


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
        _require_multiple("crop_px", self.crop_px, TILE_STEP)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole training run."""

    name: str
    seed: int = 2022
    num_classes: int = 13
    """Number of class indices that the logits tell apart."""
    input: InputConfig = field(default_factory=InputConfig)
    dates: DatePolicy = field(default_factory=DatePolicy)
    aerial: tuple[AerialConfig, ...] = ()
    """Aerial branches; they differ by their seed where they are otherwise equal."""
    satellite: SatelliteBranchConfig | None = None
    fusion: FusionConfig = field(default_factory=FusionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuse a run without a branch, or one whose fusion cannot be computed."""
        branches = len(self.aerial) + (self.satellite is not None)
        if not branches:
            raise ValueError("there is no branch; give [[aerial]], [satellite] or both")
        weights = self.fusion_weights
        if isinstance(weights, tuple) and len(weights) != branches:
            raise ValueError(
                f"fusion.weights has {len(weights)} values for {branches} branches; "
                "give one per branch"
            )
        if self.satellite is not None and self.satellite.head == "original" and branches > 1:
            raise ValueError(
                'satellite.head is "original", whose scores are never negative; '
                'use "linear" beside another branch'
            )
        if self.training.aerial.crop_px > self.input.tile_size:
            raise ValueError(
                f"training.aerial.crop_px is {self.training.aerial.crop_px}; "
                f"use at most tile_size, {self.input.tile_size}"
            )

    @property
    def fusion_weights(self) -> FusionWeights:
        """One weight per branch, or how to choose them."""
        return self.fusion.of(aerial=len(self.aerial), satellite=self.satellite is not None)


def presets() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    folder = resources.files(__package__) / "presets"
    return tuple(
        sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".toml"))
    )


def load(name_or_path: str | Path) -> TrainConfig:
    """Read a preset by name, or a TOML file by path.

    Raises:
        ConfigError: If there is no such preset or file, or if a key is missing, mistyped or
            unknown.
    """
    text, where = _read(str(name_or_path))
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not TOML: {error}; correct that line") from error
    return schema.parse(TrainConfig, data, where=where)


def _read(name: str) -> tuple[str, str]:
    if name in presets():
        item = resources.files(__package__) / "presets" / f"{name}.toml"
        return item.read_text(encoding="utf-8"), f"preset {name}"
    path = Path(name)
    if path.is_file():
        return path.read_text(encoding="utf-8"), name
    if path.suffix == ".toml" or path.parent != Path():
        raise ConfigError(f"there is no file {name}; give an existing TOML file or a preset's name")
    near = difflib.get_close_matches(name, presets(), n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"there is no preset '{name}'; did you mean '{near}'? Presets: {', '.join(presets())}"
    )


def _require_multiple(name: str, value: int, step: int) -> None:
    if value < step or value % step:
        valid = max(step, -(-value // step) * step)
        raise ValueError(f"{name} is {value}; use a multiple of {step}, next {valid}")
