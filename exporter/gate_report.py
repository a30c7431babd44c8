"""Say what a conversion may cost, and what a gate found: the content of `gate.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from runtime.manifest import Precision

from .gate_gain import Gain

MIOU_LOSS = "mIoU loss"
GAIN_KEPT = "gain from fusion kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What a conversion may cost; None: reported, not judged. A point is 0.01 of mIoU or IoU."""

    miou_loss: float
    """Points of mIoU at most."""
    agreement: float | None = None
    """Per cent of pixels at least that are as in the FP32 map."""
    class_loss: float | None = None
    """Points of IoU at most that any scored class may lose."""
    boundary_loss: float | None = None
    """Points of mIoU at most along borders between labels."""
    gain_kept: float = 80.0
    """Per cent of the gain from fusion at least."""


BUDGETS: Mapping[Precision, Budgets] = MappingProxyType(
    {
        "fp16": Budgets(miou_loss=0.1, agreement=99.5),
        "int8": Budgets(miou_loss=0.5, class_loss=2.0),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One number and its budget."""

    name: str
    unit: Literal["points", "%"]
    found: float
    limit: Literal["at most", "at least", "above"]
    budget: float | None
    passed: bool | None
    """None: not judged."""
    note: str = ""
    """Which class it is, or why it is not judged."""

    @property
    def text(self) -> str:
        """The check in a few words."""
        unit = "points" if self.unit == "points" else "%"
        of = f" of {self.note}" if self.note else ""
        allowed = "" if self.budget is None else f" ({self.limit} {self.budget:g})"
        # Zero is added so that what rounds to it has no sign.
        return f"{self.name}{of} {round(self.found, 3) + 0.0:.3f} {unit}{allowed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassChange:
    """What became of one class."""

    name: str
    share: float
    """Share of the evaluated pixels, 0 to 1."""
    scored: bool
    reference_iou: float
    """IoU in FP32, 0 to 1; NaN where nothing can be said."""
    iou: float
    """IoU of the candidate, 0 to 1."""
    change: float
    """Points; below zero: lost."""
    gain_fp32: float | None
    """Points that fusion gains in FP32 over the better single branch; None without two kinds."""
    gain: float | None
    """Points that the candidate gains over the same FP32 branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateReport:
    """What one candidate was found to be worth."""

    name: str
    executed: str
    """Precision that was computed in."""
    miou: float
    """0 to 1."""
    boundary_miou: float
    """Along borders between labels, 0 to 1; NaN without any."""
    agreement: float
    """Per cent of pixels as in the FP32 map."""
    checks: tuple[Check, ...]
    classes: tuple[ClassChange, ...]
    gain: Gain | None
    """None for a model of one input, and for one whose branches have no map of their own."""
    passed: bool
    text: str
    """Why, in part of a sentence."""

    @property
    def miou_loss(self) -> float:
        """Points of mIoU lost."""
        return next(check.found for check in self.checks if check.name == MIOU_LOSS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What a gate found: `gate.json`."""

    precision: Precision
    budgets: Budgets
    dataset: str
    split: str
    fingerprint: str
    """Hash of what the data set holds."""
    patches: int
    ids: tuple[str, ...]
    """Patches that were measured."""
    scored_classes: int
    reference_miou: float
    """Of the FP32 bundle, 0 to 1."""
    reference_boundary_miou: float
    single_mious: dict[str, float]
    """Of the branches alone in FP32, 0 to 1."""
    candidates: tuple[CandidateReport, ...]
    passed: bool
    text: str
    """The verdict in one sentence."""
