"""What a user declares of an ONNX file: its inputs, its output and its classes, in TOML."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.classes import LandCoverClass
from runtime.errors import ConfigError
from runtime.manifest import AerialSpec, Normalization, ValueScaling, require_plain
from runtime.satellite import BANDS, DatePolicy, SatelliteSpec
from runtime.schema import parse
from runtime.tomlfile import read_toml

HALO_SHARE = 8
"""A halo that is not declared is at most this part of a tile."""

ImageLayout = Literal["NCHW", "NHWC"]
SeriesLayout = Literal["NTBhw", "NBThw", "NBhw"]
"""Order of the axes of a series: batch, months, bands, rows, columns; without months, it is the
mean of all months that hold a date."""

MaskMeans = Literal["present", "absent"]
Kind = Literal["logits", "probabilities", "classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AerialInput:
    """The aerial input: (value / divisor - mean) / std, of values 0 to 255."""

    bands: tuple[str, ...]
    """In the order of the graph's channels."""
    resolution_m: float
    tile_size: int
    """Side of a tile, in pixels."""
    input: str = ""
    """Name in the graph; may be left out where the graph has one input."""
    layout: ImageLayout = "NCHW"
    divisor: float = 1.0
    mean: tuple[float, ...] = ()
    """By band; 0 if left out."""
    std: tuple[float, ...] = ()
    """By band; 1 if left out."""
    value_scaling: ValueScaling | None = None
    """Stored values of imagery of 16 bits that become 0 and 255."""
    halo: int | None = None
    """Context on each side of a tile, in pixels; an eighth of the tile, on the lattice of the
    stride, if left out."""
    stride: int = 32
    """Aerial pixels per pixel of the coarsest map."""

    def __post_init__(self) -> None:
        """Refuse scales that do not fit the bands."""
        check_scale("aerial", self.bands, self.mean, self.std)
        if not self.divisor > 0 or self.stride < 1 or self.tile_size < 1:
            raise ValueError("divisor, stride and tile_size must be above 0")

    @property
    def chosen_halo(self) -> int:
        """The halo that is declared, else the largest that fits, up to an eighth of a tile."""
        if self.halo is not None:
            return self.halo
        fitting = range(self.tile_size // HALO_SHARE, -1, -1)
        return next((h for h in fitting if (self.tile_size - 2 * h) % self.stride == 0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteInput:
    """The satellite input: (reflectance x scale - mean) / std, reflectance being 0 to about 1."""

    input: str
    """Name of the series in the graph."""
    bands: tuple[str, ...] = BANDS
    """In the order of the graph's channels."""
    window: int = 40
    """Cells on each side of the window."""
    cell_m: float = 10.0
    layout: SeriesLayout = "NTBhw"
    scale: float = 1.0
    """10000 for a graph that takes digital numbers."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    mask: str = ""
    """Name of the input (N, T) that says which months hold a date; empty for none."""
    mask_means: MaskMeans = "present"
    """What a 1 in it means."""
    days: str = ""
    """Name of the input (N, T) of days from the reference day; empty for none."""
    dates: DatePolicy = field(default_factory=DatePolicy)

    def __post_init__(self) -> None:
        """Refuse scales that do not fit the bands, and months that are already averaged."""
        check_scale("satellite", self.bands, self.mean, self.std)
        if not self.scale > 0:
            raise ValueError(f"satellite.scale is {self.scale}; expected a number above 0")
        if self.layout == "NBhw" and (self.mask or self.days):
            raise ValueError('satellite.layout "NBhw" has no months; leave mask and days out')


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The output that holds the classes."""

    kind: Kind
    """`classes` are taken apart: the ArgMax at the end is replaced, for the confidence."""
    output: str = ""
    """Name in the graph; may be left out where the graph has one output."""
    layout: ImageLayout = "NCHW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A whole declaration."""

    aerial: AerialInput
    output: Output
    classes: tuple[LandCoverClass, ...]
    """By index; a graph of one channel has two, of which the second is what it looks for."""
    satellite: SatelliteInput | None = None
    name: str = ""
    """Name of the model; that of the file if left out."""
    training_data_licence: str = "not known: the ONNX file does not say; ask whoever trained it"

    def __post_init__(self) -> None:
        """Refuse classes that no map can hold, and sizes that leave no interior."""
        if self.name:  # without one it is that of the file
            require_plain("model", self.name)
        if not 2 <= len(self.classes) <= 255:
            raise ValueError(f"{len(self.classes)} classes; expected 2 to 255")
        self.aerial_spec(is_exact=False)
        self.satellite_spec()

    def aerial_spec(self, *, is_exact: bool) -> AerialSpec:
        """What the manifest says of the aerial input."""
        aerial = self.aerial
        mean, std = scale_of(aerial)
        return AerialSpec(
            bands=aerial.bands,
            resolution_m=aerial.resolution_m,
            tile_size=aerial.tile_size,
            halo=aerial.chosen_halo,
            stride=aerial.stride,
            halo_exact=is_exact,
            normalization=Normalization(mean=tuple(map(float, mean)), std=tuple(map(float, std))),
            value_scaling=aerial.value_scaling,
        )

    def satellite_spec(self) -> SatelliteSpec | None:
        """What the manifest says of the satellite input."""
        given = self.satellite
        if given is None:
            return None
        return SatelliteSpec(
            bands=given.bands, window=given.window, cell_m=given.cell_m, dates=given.dates
        )

    def card(self) -> ModelCard:
        """What reading samples must know of the model."""
        return ModelCard(
            name=self.name,
            sha256="",
            verified=False,
            toy=False,
            aerial=self.aerial_spec(is_exact=False),
            satellite=self.satellite_spec(),
            classes=self.classes,
        )


def check_scale(
    where: str, bands: tuple[str, ...], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Refuse a scale that does not fit the bands.

    Raises:
        ValueError: Saying what would fit.
    """
    if not bands or len(set(bands)) < len(bands):
        raise ValueError(f"{where}.bands are {list(bands)}; expected names, each once")
    for name, values in (("mean", mean), ("std", std)):
        if values and len(values) != len(bands):
            raise ValueError(
                f"{where}.{name} has {len(values)} values for {len(bands)} bands; give one per band"
            )
    if std and min(std) <= 0:
        raise ValueError(f"{where}.std has {min(std)}; expected numbers above 0")


def scale_of(given: AerialInput) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation by band, both 0 to 255."""
    count = len(given.bands)
    mean = np.array(given.mean or (0.0,) * count) * given.divisor
    std = np.array(given.std or (1.0,) * count) * given.divisor
    return mean, std


def load_declaration(path: Path, model: Path) -> Declaration:
    """Read the declaration of an ONNX file.

    Args:
        path: The TOML file.
        model: The ONNX file, for the name of the model where none is declared.

    Raises:
        ConfigError: If it is missing, too large, no TOML, or a key is missing, mistyped or unknown.
    """
    if not path.exists():
        raise ConfigError(
            f"there is no {path}; expected a TOML file that declares the inputs and classes of "
            f"{model.name}; write one, or name it with --as"
        )
    return parse(Declaration, {"name": model.stem, **read_toml(path)}, where=str(path))
