"""Say how much of what fusion gains over a single branch a converted model keeps.

    kept = (fused, converted - single, FP32) / (fused, FP32 - single, FP32)

with the same single branch in both, the better one in FP32. A mIoU loss hides in this what matters:
a satellite branch that is wiped out may cost no more than a point, and be all that fusion gained.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Bounds, bounds, draw_mious
from .gate_measure import Measured

POINTS = 100.0
"""Points of mIoU or IoU per unit."""

NOT_DEFINED = "gain from fusion not defined for a model trained as one"
"""What is said where no branch has a map of its own."""

LEAST_GAIN = 1.0
"""Points that fusion must gain in FP32 before a share of it means anything."""

LEAST_PATCHES = 5
"""Fewer patches can be drawn in so few ways (4: 35) that a bound says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What fusion gains over the better single branch, in points of mIoU."""

    single: str
    """`aerial` or `satellite`."""
    single_miou: float
    """mIoU of that branch alone in FP32, 0 to 1."""
    reference: float
    """Gain of the FP32 model."""
    reference_bounds: Bounds
    found: float
    """Gain of the candidate, over the same FP32 branch."""
    bounds: Bounds
    measurable: bool
    """Whether the FP32 gain is large and certain enough to judge by."""
    kept: float
    """Per cent of the FP32 gain; NaN where that is not measurable."""
    text: str
    """The same in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleBest:
    """The better single branch in FP32, and what fusion gains over it on patches that are drawn."""

    name: str
    miou: float
    """0 to 1."""
    reference: NDArray[np.float64]
    """Gain of the FP32 model in points, shape (draws,)."""
    candidates: dict[str, NDArray[np.float64]]
    """The same of each candidate by name; all of the same draws."""


def best_single(measured: Measured) -> SingleBest | None:
    """Choose the single branch of the higher mIoU; None for a model without two kinds."""
    if not measured.singles:
        return None
    classes, found = measured.classes, measured.candidates
    mious = {name: counts.scores(classes).miou for name, counts in measured.singles.items()}
    name = max(mious, key=mious.__getitem__)
    maps = (measured.singles[name], measured.reference, *found.values())
    scored = [item.scored for item in measured.reference.scores(classes).classes]
    alone, *fused = draw_mious([item.by_patch for item in maps], np.array(scored))
    reference, *candidates = (POINTS * (drawn - alone) for drawn in fused)
    return SingleBest(
        name=name,
        miou=mious[name],
        reference=reference,
        candidates=dict(zip(found, candidates, strict=True)),
    )


def judge_gain(measured: Measured, single: SingleBest, name: str) -> Gain:
    """Compare a candidate's gain with that of the FP32 model.

    Args:
        measured: What was counted.
        single: What both are compared with.
        name: Of the candidate.
    """
    classes, patches = measured.classes, len(measured.ids)
    reference = POINTS * (measured.reference.scores(classes).miou - single.miou)
    found = POINTS * (measured.candidates[name].scores(classes).miou - single.miou)
    limits = bounds(single.reference)
    why = _unmeasurable(reference, limits, patches)
    kept = float("nan") if why else POINTS * found / reference
    if why:
        text = f"gain not measurable on this data ({patches} patches; {why})"
    else:
        text = (
            f"{kept:.0f} % of the gain from fusion kept ({found:+.2f} of {reference:+.2f} points "
            f"over {single.name} alone)"
        )
    return Gain(
        single=single.name,
        single_miou=single.miou,
        reference=reference,
        reference_bounds=limits,
        found=found,
        bounds=bounds(single.candidates[name]),
        measurable=not why,
        kept=kept,
        text=text,
    )


def _unmeasurable(gain: float, limits: Bounds, patches: int) -> str:
    """Why the FP32 gain cannot be judged by; empty if it can."""
    if not gain > 0:
        return "no gain at FP32"
    if patches < LEAST_PATCHES or not limits.lower > 0:
        needed = max(limits.patches_for(gain, patches), patches + 1, LEAST_PATCHES)
        return f"about {_rounded_up(needed)} needed"
    if gain < LEAST_GAIN:
        return f"{gain:.2f} points at FP32, {LEAST_GAIN:.2f} needed"
    return ""


def _rounded_up(number: float) -> int:
    """Round up to two digits: more would be a claim."""
    scale = 10 ** max(len(str(int(number))) - 2, 0)
    return int(-(-number // scale) * scale)
