"""Read what a bundle says of its own making: `gate.json`, `parity.json`, `calibration.json`.

Keys that no section shows are passed over; what a bundle does not hold is None.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from runtime.bundle import Bundle
from runtime.errors import BundleError

from .measurements import read_measurements

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateClass:
    """What became of one class; IoU 0 to 1."""

    name: str
    scored: bool
    reference_iou: float | None
    iou: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck:
    """One number and its budget."""

    name: str
    unit: str
    found: float | None
    limit: str
    budget: float | None
    passed: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCandidate:
    """What one way to run the bundle was found to be worth."""

    name: str
    executed: str
    miou: float | None
    checks: tuple[GateCheck, ...]
    classes: tuple[GateClass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """`gate.json`."""

    dataset: str
    split: str
    patches: int
    reference_miou: float | None
    single_mious: dict[str, float | None]
    candidates: tuple[GateCandidate, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityAgreement:
    """How close a result is to its reference."""

    max_abs: float | None
    mean_abs: float | None
    cosine: float | None
    argmax: float | None
    scale: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityTolerance:
    """What is still called the same, as a share of the scale."""

    mean_abs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityRow:
    """One part, or the whole."""

    part: str
    agreement: ParityAgreement
    misses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityStage:
    """Two stages compared."""

    reference: str
    candidate: str
    tolerance: ParityTolerance
    rows: tuple[ParityRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """`parity.json`."""

    source: str
    samples: tuple[str, ...]
    stages: tuple[ParityStage, ...]
    before: tuple[ParityStage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassShare:
    """Share of a class among the samples that were taken, and among all."""

    pick: float
    pool: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How well the samples stand for all."""

    pool: int
    classes: dict[str, ClassShare] = field(default_factory=dict)
    areas: dict[str, int] = field(default_factory=dict)
    cloudiness: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which samples were taken."""

    dataset: str
    split: str
    ids: tuple[str, ...]
    coverage: Coverage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """`calibration.json`."""

    selection: Selection
    method: str = ""


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """A bundle with what it says of its making."""

    bundle: Bundle
    gate: Gate | None
    parity: Parity | None
    calibration: Calibration | None


def read_bundle_files(bundle: Bundle) -> BundleFiles:
    """Read the three files.

    Raises:
        BundleError: If one is not what it must be.
    """
    return BundleFiles(
        bundle,
        _read(bundle, "gate.json", Gate),
        _read(bundle, "parity.json", Parity),
        _read(bundle, "calibration.json", Calibration),
    )


def _read(bundle: Bundle, name: str, kind: type[T]) -> T | None:
    # Only what the manifest lists has been checked against its hash.
    if name not in bundle.manifest.files:
        return None
    expected = "what `segx export` wrote; copy or export the bundle again"
    return read_measurements(bundle.path / name, kind, expected=expected, error=BundleError)
