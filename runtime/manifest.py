"""What a bundle's `manifest.json` says.

`format_version` is MAJOR.MINOR. A runtime reads every manifest of its own major version and of the
one before; keys that it does not know are passed over, but a feature named in `requires` that it
lacks is refused by name. Names follow STAC MLM where it has one (without its prefix).
"""

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from .classes import LandCoverClass
from .drift import InputRanges
from .errors import BundleError
from .part_shapes import check_sizes, check_tensors, known_tensors
from .satellite import SatelliteSpec
from .schema import parse

FORMAT_MAJOR = 1
FORMAT_MINOR = 2
FORMAT_VERSION = f"{FORMAT_MAJOR}.{FORMAT_MINOR}"
FEATURES: frozenset[str] = frozenset()
"""Features that a manifest may require of this runtime."""

MANIFEST_NAME = "manifest.json"

_VERSION = re.compile(r"([0-9]{1,4})\.[0-9]{1,4}")

Precision = Literal["fp32", "fp16", "int8"]
DType = Literal["uint8", "float32"]
Role = Literal["aerial", "satellite", "fusion"]
Variant = Literal["classes", "probabilities"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output of a part."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]
    """Sizes; the batch is the text `N`."""

    def __post_init__(self) -> None:
        """Refuse sizes that no tensor of a tile has."""
        check_sizes(self.name, self.shape)

    def with_batch(self, batch: int) -> tuple[int, ...]:
        """Shape with the batch filled in."""
        return tuple(batch if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """One ONNX graph of the model."""

    name: str
    role: Role
    file: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    variant: Variant | None = None
    """Of a fusion part: what it ends in. Exactly one variant is run."""

    def __post_init__(self) -> None:
        """Refuse a file outside the bundle."""
        require_plain("part", self.name)
        if PurePosixPath(self.file).name != self.file or "\\" in self.file:
            raise ValueError(f"part '{self.name}' names '{self.file}'; expected a plain file name")
        if (self.role == "fusion") != (self.variant is not None):
            raise ValueError(f"part '{self.name}' ({self.role}) has the variant {self.variant}")

    def is_given(self, names: Container[str]) -> bool:
        """Whether all outputs are among these, so that the part need not be run."""
        return all(spec.name in names for spec in self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """How the aerial part scales its input: (value - mean) / std, inside the graph."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what nothing can be divided by."""
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if not finite or min(self.std, default=1.0) <= 0:
            raise ValueError(
                f"normalization by mean {list(self.mean)} and std {list(self.std)}; expected "
                "numbers, and std above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueScaling:
    """Which stored values of imagery of 16 bits become 0 and 255, one per band."""

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse ranges without an extent."""
        if len(self.minimum) != len(self.maximum) or not all(
            -math.inf < low < high < math.inf
            for low, high in zip(self.minimum, self.maximum, strict=True)
        ):
            raise ValueError(
                f"value_scaling from {list(self.minimum)} to {list(self.maximum)}; expected a "
                "smaller and a larger number for each band"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AerialSpec:
    """The aerial input."""

    bands: tuple[str, ...]
    resolution_m: float
    """Metres per pixel that the model was trained at."""
    tile_size: int
    """Side of a tile, in pixels."""
    halo: int
    """Context on each side of a tile's interior, in pixels, where a raster needs several tiles."""
    stride: int
    """Tiles must start at multiples of this many pixels from each other (network stride)."""
    halo_exact: bool
    """Whether the halo covers the whole receptive field."""
    normalization: Normalization
    dtype: Literal["uint8"] = "uint8"
    value_scaling: ValueScaling | None = None
    """How imagery of 16 bits becomes uint8; such imagery is refused without a rule."""

    def __post_init__(self) -> None:
        """Refuse tiles without an interior or off the network's lattice."""
        if self.tile_size < 1 or self.halo < 0 or self.tile_size <= 2 * self.halo:
            raise ValueError(f"a halo of {self.halo} px leaves no interior in {self.tile_size} px")
        if self.stride < 1 or (self.tile_size - 2 * self.halo) % self.stride:
            raise ValueError(
                f"tiles of {self.tile_size} px with a halo of {self.halo} px step by "
                f"{self.tile_size - 2 * self.halo} px; expected a multiple of {self.stride} px"
            )
        if not 0 < self.resolution_m < math.inf:
            raise ValueError(f"resolution_m is {self.resolution_m}; expected metres above 0")
        if not len(self.bands) == len(self.normalization.mean) == len(self.normalization.std):
            raise ValueError("bands, mean and std differ in length")
        if self.value_scaling is not None and len(self.value_scaling.minimum) != len(self.bands):
            raise ValueError("bands and value_scaling differ in length")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Which model the bundle holds."""

    config: str
    """Name of the configuration it was trained with."""
    parameters: int
    """Weights of all parts."""
    steps: int
    """Optimizer steps of all stages; 0: the weights are random."""
    toy: bool = False
    """Trained on generated imagery only, and of use for nothing else."""
    imported: bool = False
    """Made of a stranger's ONNX file: how it was trained is not known, and `steps` is 0."""

    def __post_init__(self) -> None:
        """Refuse a name that leads elsewhere: bundles are called by it."""
        require_plain("config", self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What was measured through this bundle."""

    dataset: str
    split: str
    patches: int
    miou: float
    accuracy: float
    scored_classes: int
    iou: dict[str, float]
    """IoU by class name, of the scored classes."""
    reference_miou: float
    """mIoU of the checkpoint, in PyTorch FP32, on the same patches."""
    executed: str = ""
    """Library and precision that ran the bundle, such as `openvino fp32`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole manifest."""

    format_version: str
    name: str
    created: str
    """UTC, ISO 8601."""
    segx_version: str
    model: ModelInfo
    precision: Precision
    parts: tuple[PartSpec, ...]
    """In the order in which they run."""
    aerial: AerialSpec
    satellite: SatelliteSpec | None
    classes: tuple[LandCoverClass, ...]
    files: dict[str, str]
    """sha256 of every file of the bundle but the manifest, by name."""
    verified: bool
    """Whether the bundle passed its gate."""
    verdict: str
    """Why it is or is not verified, in one sentence."""
    requires: tuple[str, ...] = ()
    single_branch: bool = False
    """Whether the model maps without its satellite branch, with zeros for what that gives."""
    accuracy: Accuracy | None = None
    input_ranges: InputRanges | None = None
    """Where the means of calibration tiles lay, by band."""
    licences: dict[str, str] = field(default_factory=dict)
    """Licence and attribution of weights and training data, by what they cover."""
    provenance: dict[str, object] = field(default_factory=dict)
    """Where checkpoint and data come from."""

    def __post_init__(self) -> None:
        """Refuse parts that cannot be run one after the other."""
        require_plain("bundle", self.name)
        if not 1 <= len(self.classes) <= 255:
            raise ValueError(f"{len(self.classes)} classes; expected 1 to 255")
        known = {"aerial"} | ({"satellite", "date_mask", "days"} if self.satellite else set())
        for part in self.parts:
            missing = [spec.name for spec in part.inputs if spec.name not in known]
            if missing:
                raise ValueError(f"part '{part.name}' takes {missing}, which no part before gives")
            known |= {spec.name for spec in part.outputs}
            if part.file not in self.files:
                raise ValueError(f"part '{part.name}' names {part.file}, which has no sha256")
        if not any(part.variant == "classes" for part in self.parts):
            raise ValueError("no part ends in a class map")
        if self.input_ranges is not None:
            bands = self.satellite.bands if self.satellite else ()
            self.input_ranges.check(self.aerial.bands, bands)

    @property
    def works_without_satellite(self) -> bool:
        """Whether the satellite part can be left out; a merged one cannot."""
        return self.single_branch and any(part.role == "satellite" for part in self.parts)

    def parts_for(self, variant: Variant) -> tuple[PartSpec, ...]:
        """Parts to run for a kind of result, in order."""
        return tuple(part for part in self.parts if part.variant in (None, variant))


def require_plain(what: str, name: str) -> None:
    """Refuse a name that would lead elsewhere as part of a path.

    Raises:
        ValueError: If it is empty or holds a separator.
    """
    if not name or not {"/", "\\"}.isdisjoint(name):
        raise ValueError(
            f"the {what} is called '{name[:60]}'; expected a name without / and \\; give another"
        )


def parse_manifest(data: object, *, where: str) -> Manifest:
    """Check a manifest read from JSON.

    Raises:
        BundleError: If its version or a feature it requires is not known here, a key is missing or
            mistyped, or parts do not fit together.
    """
    if not isinstance(data, Mapping):
        raise BundleError(f"{where} holds no table; expected a bundle manifest; export it again")
    _check_version(data, where)
    _check_features(data, where)
    try:
        manifest = parse(Manifest, data, where=where, unknown="ignore", error=BundleError)
    except BundleError as error:
        raise BundleError(f"{error}; export the bundle again") from error
    tensors = known_tensors(manifest.aerial, manifest.satellite, len(manifest.classes))
    try:
        for part in manifest.parts:
            check_tensors(part, tensors)
    except ValueError as error:
        raise BundleError(f"{where}: {error}; export the bundle again") from error
    return manifest


def _check_version(data: "Mapping[Any, Any]", where: str) -> None:
    version = data.get("format_version")
    found = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if found is None:
        raise BundleError(
            f"{where} has format_version {str(version)[:20]!r}; expected MAJOR.MINOR such as "
            f"'{FORMAT_VERSION}'; export the bundle again"
        )
    if not FORMAT_MAJOR - 1 <= int(found[1]) <= FORMAT_MAJOR:
        raise BundleError(
            f"{where} has format_version {version}; expected {FORMAT_MAJOR - 1}.x or "
            f"{FORMAT_MAJOR}.x, which this segx reads; update segx or export the bundle again"
        )


def _check_features(data: "Mapping[Any, Any]", where: str) -> None:
    # Before the rest is looked at: a feature may change what the other keys hold.
    required = data.get("requires", [])
    if not isinstance(required, list):
        return
    missing = sorted({str(name) for name in required} - FEATURES)
    if missing:
        raise BundleError(
            f"{where} requires {', '.join(missing)}; expected only features that this segx has "
            f"({', '.join(sorted(FEATURES)) or 'none'}); update segx or export the bundle with "
            "this version"
        )
