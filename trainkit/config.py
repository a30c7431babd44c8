"""What a training run is: the tables of a preset or of a user's TOML file as frozen dataclasses.

Every file is complete: there is no inheritance, and a key that is not known is an error.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime import schema
from runtime.errors import ConfigError
from runtime.manifest import ValueScaling, require_plain
from runtime.satellite import BANDS, DatePolicy
from runtime.tomlfile import read_toml

from .aerial_config import LEARNED, AerialConfig, DeepLabConfig
from .factory_config import FactoryConfig
from .joint_config import JointConfig, SatelliteBranchConfig
from .recipe import TILE_STEP, TrainingConfig, require_multiple


@dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig:
    """What both inputs look like; the same in training and in the field."""

    aerial_bands: tuple[str, ...] = ("red", "green", "blue", "nir", "elevation")
    aerial_mean: tuple[float, ...] = (105.08, 110.87, 101.82, 106.38, 53.26)
    """Mean of each aerial band, 0 to 255. The default is FLAIR #1's."""
    aerial_std: tuple[float, ...] = (52.17, 45.38, 44.00, 39.69, 79.30)
    """Standard deviation of each aerial band, 0 to 255. The default is FLAIR #1's."""
    value_scaling: ValueScaling | None = None
    """Stored values of imagery of 16 bits that became 0 and 255 before training; `segx infer` does
    the same. Data sets are of 8 bits."""
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
        require_multiple("tile_size", self.tile_size, TILE_STEP)
        for name in ("aerial_mean", "aerial_std"):
            count = len(getattr(self, name))
            if count != len(self.aerial_bands):
                raise ValueError(
                    f"{name} has {count} values for {len(self.aerial_bands)} aerial bands; "
                    "give one per band"
                )
        scaling = self.value_scaling
        if scaling is not None and len(scaling.minimum) != len(self.aerial_bands):
            raise ValueError(
                f"value_scaling has {len(scaling.minimum)} values for {len(self.aerial_bands)} "
                "aerial bands; give one per band"
            )
        if self.satellite_window < 1:
            raise ValueError(f"satellite_window is {self.satellite_window}; use at least 1 cell")
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
    joint: JointConfig | None = None
    """A model of both inputs that is trained as one, in place of branches."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuse a run without a model, or one whose parts do not fit together."""
        require_plain("config", self.name)
        branches = len(self.aerial) + (self.satellite is not None)
        self.training.check(
            classes=self.num_classes, bands=self.input.aerial_bands, joint=self.joint is not None
        )
        if self.joint is not None:
            if branches:
                raise ValueError("[joint] is a whole model; leave [[aerial]] and [satellite] out")
            self.joint.check(self.input)
            self._check_loss_stride("joint", self.joint)
            return
        if not branches:
            raise ValueError("there is no branch; give [[aerial]], [satellite], both, or [joint]")
        weights = self.fusion_weights
        if isinstance(weights, tuple) and len(weights) != branches:
            raise ValueError(
                f"fusion.weights has {len(weights)} values for {branches} branches; "
                "give one per branch"
            )
        if self.satellite is not None:
            self.satellite.check_window(self.input.satellite_window)
            if self.satellite.head == "original" and branches > 1:
                raise ValueError(
                    'satellite.head is "original", whose scores are never negative; '
                    'use "linear" beside another branch'
                )
        for network in self.aerial:
            self._check_loss_stride("aerial", network)
        if self.training.aerial.crop_px > self.input.tile_size:
            raise ValueError(
                f"training.aerial.crop_px is {self.training.aerial.crop_px}; "
                f"use at most tile_size, {self.input.tile_size}"
            )

    def _check_loss_stride(
        self, unit: Literal["aerial", "joint"], network: AerialConfig | JointConfig
    ) -> None:
        """Refuse to train a learned enlargement on some of its pixels: the others learn nothing."""
        stride = getattr(self.training, unit).loss_stride
        if stride > 1 and isinstance(network, DeepLabConfig) and network.upsampler in LEARNED:
            raise ValueError(
                f"training.{unit}.loss_stride is {stride}; upsampler = "
                f'"{network.upsampler}" has weights of its own for each pixel of its stride, of '
                "which the loss would see some only; use 1"
            )

    @property
    def takes_satellite(self) -> bool:
        """Whether the model takes a Sentinel-2 series."""
        if isinstance(self.joint, FactoryConfig):
            return self.joint.satellite
        return self.satellite is not None or self.joint is not None

    @property
    def fusion_weights(self) -> FusionWeights:
        """One weight per branch, or how to choose them."""
        return self.fusion.of(aerial=len(self.aerial), satellite=self.satellite is not None)


PRESETS = Path(__file__).with_name("presets")


def presets() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def load(name_or_path: str | Path) -> TrainConfig:
    """Read a preset by name, or a TOML file by path.

    Raises:
        ConfigError: If there is no such preset or file, or if a key is missing, mistyped or
            unknown.
    """
    path, where = _find(str(name_or_path))
    return schema.parse(TrainConfig, read_toml(path), where=where)


def require_trainable(config: TrainConfig) -> None:
    """Refuse a user's own module: what it needs of losses and stages is not declared.

    Raises:
        ConfigError: If the config is of one.
    """
    if isinstance(config.joint, FactoryConfig):
        raise ConfigError(_not_trained(config.name, config.joint.factory))


def _not_trained(name: str, factory: str) -> str:
    return (
        f"{name} is a module of your own code, which segx does not train; expected a preset or a "
        f"TOML file; train it with that code, then `segx import WEIGHTS --as {factory}`"
    )


def _find(name: str) -> tuple[Path, str]:
    """Find the file of a preset or of a user, and say what messages call it."""
    if name in presets():
        return PRESETS / f"{name}.toml", f"preset {name}"
    path = Path(name)
    if path.is_file():
        return path, name
    if path.suffix == ".toml" or path.parent != Path():
        raise ConfigError(f"there is no file {name}; give an existing TOML file or a preset's name")
    if FactoryConfig.is_name(name):
        raise ConfigError(_not_trained(name, name))
    near = difflib.get_close_matches(name, presets(), n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"there is no preset '{name}'; did you mean '{near}'? Presets: {', '.join(presets())}"
    )
