"""Judge a converted bundle (FP16, INT8) by the FP32 bundle that it was made from.

Every candidate, such as the emulation of FP16 and the bundle as a backend runs it, must keep to
every budget; then the bundle passes. What only is reported has no budget and is not judged.
"""

from collections.abc import Sequence

from runtime.classes import LandCoverClass
from runtime.manifest import Precision
from runtime.metrics import ClassScore, Scores

from .gate_gain import NOT_DEFINED, POINTS, Gain, SingleBest, best_single, judge_gain
from .gate_measure import MapCounts, Measured
from .gate_report import (
    BUDGETS,
    GAIN_KEPT,
    MIOU_LOSS,
    Budgets,
    CandidateReport,
    Check,
    ClassChange,
    GateReport,
)

NAMED = 3
"""Classes that a verdict names at most."""


def judge_gate(
    measured: Measured, precision: Precision, budgets: Budgets | None = None
) -> GateReport:
    """Judge all candidates.

    Args:
        measured: What was counted on patches that nothing was chosen on.
        precision: What the bundle was converted to.
        budgets: What it may cost; those of the precision if None.

    Raises:
        ValueError: If there is no candidate, or no budget for the precision.
    """
    if not measured.candidates:
        raise ValueError("there is no candidate to judge")
    if budgets is None and precision not in BUDGETS:
        raise ValueError(f"no budgets for {precision}; give them")
    limits = BUDGETS[precision] if budgets is None else budgets
    single = best_single(measured)
    candidates = tuple(_judge(measured, single, name, limits) for name in measured.candidates)
    scores = measured.reference.scores(measured.classes)
    return GateReport(
        precision=precision,
        budgets=limits,
        dataset=measured.dataset,
        split=measured.split,
        fingerprint=measured.fingerprint,
        patches=len(measured.ids),
        ids=measured.ids,
        scored_classes=scores.scored_classes,
        reference_miou=scores.miou,
        reference_boundary_miou=measured.reference.boundary_scores(measured.classes).miou,
        single_mious={n: m.scores(measured.classes).miou for n, m in measured.singles.items()},
        candidates=candidates,
        passed=all(candidate.passed for candidate in candidates),
        text=_verdict(measured, precision, scores, candidates),
    )


def _verdict(
    measured: Measured,
    precision: Precision,
    scores: Scores,
    candidates: Sequence[CandidateReport],
) -> str:
    missed = [candidate for candidate in candidates if not candidate.passed]
    where = f"{measured.dataset} ({measured.split})" if measured.split else measured.dataset
    told = "; ".join(f"{item.name}: {item.text}" for item in missed or candidates)
    return (
        f"{precision} {'misses its' if missed else 'keeps to its'} budgets on {len(measured.ids)} "
        f"patches of {where}, {scores.scored_classes} classes, against "
        f"{100 * scores.miou:.2f} % mIoU in FP32; {told}"
    )


def _judge(
    measured: Measured, single: SingleBest | None, name: str, budgets: Budgets
) -> CandidateReport:
    found, classes = measured.candidates[name], measured.classes
    scores, near = found.scores(classes), found.boundary_scores(classes)
    changes = _changes(measured, single, found)
    gain = None if single is None else judge_gain(measured, single, name)
    checks = _loss_checks(measured, found, changes, budgets)
    checks += () if gain is None else _gain_checks(gain, budgets)
    passed = all(check.passed is not False for check in checks)
    return CandidateReport(
        name=name,
        executed=measured.executed[name],
        miou=scores.miou,
        boundary_miou=near.miou,
        agreement=100 * found.agreement,
        checks=checks,
        classes=changes,
        gain=gain,
        passed=passed,
        text=_text(checks, changes, gain) + (f", {NOT_DEFINED}" if measured.as_one else ""),
    )


def _loss_checks(
    measured: Measured, found: MapCounts, changes: Sequence[ClassChange], budgets: Budgets
) -> tuple[Check, ...]:
    classes, reference = measured.classes, measured.reference
    loss = reference.scores(classes).miou - found.scores(classes).miou
    near = reference.boundary_scores(classes).miou - found.boundary_scores(classes).miou
    worst = min((item for item in changes if item.scored), key=lambda item: item.change)
    return (
        _at_most(MIOU_LOSS, POINTS * loss, budgets.miou_loss),
        _at_most("worst class loss", 0.0 - worst.change, budgets.class_loss, worst.name),
        _at_most("boundary mIoU loss", POINTS * near, budgets.boundary_loss),
        Check(
            name="agreement",
            unit="%",
            found=100 * found.agreement,
            limit="at least",
            budget=budgets.agreement,
            passed=None
            if budgets.agreement is None
            else 100 * found.agreement >= budgets.agreement,
        ),
    )


def _at_most(name: str, found: float, budget: float | None, note: str = "") -> Check:
    # A loss that is no number is out of budget.
    passed = None if budget is None else found <= budget
    return Check(
        name=name,
        unit="points",
        found=found,
        limit="at most",
        budget=budget,
        passed=passed,
        note=note,
    )


def _gain_checks(gain: Gain, budgets: Budgets) -> tuple[Check, ...]:
    judged = gain.measurable
    note = "" if judged else gain.text
    return (
        Check(
            name=GAIN_KEPT,
            unit="%",
            found=gain.kept,
            limit="at least",
            budget=budgets.gain_kept,
            passed=gain.kept >= budgets.gain_kept if judged else None,
            note=note,
        ),
        Check(
            name="lower bound of the gain from fusion",
            unit="points",
            found=gain.bounds.lower,
            limit="above",
            budget=0.0,
            passed=gain.bounds.lower > 0 if judged else None,
            note=note,
        ),
    )


def _changes(
    measured: Measured, single: SingleBest | None, found: MapCounts
) -> tuple[ClassChange, ...]:
    """Compare class by class; `NO_CLASS` is left out."""
    known: Sequence[LandCoverClass] = measured.classes
    before, after = measured.reference.scores(known).classes, found.scores(known).classes
    alone: Sequence[ClassScore | None] = (
        [None] * len(known)
        if single is None
        else measured.singles[single.name].scores(known).classes
    )
    # What a candidate no longer draws, and no label holds either, has no IoU: that is NaN.
    return tuple(
        ClassChange(
            name=item.name,
            share=old.share,
            scored=old.scored,
            reference_iou=old.iou,
            iou=new.iou,
            change=POINTS * (new.iou - old.iou),
            gain_fp32=None if one is None else POINTS * (old.iou - one.iou),
            gain=None if one is None else POINTS * (new.iou - one.iou),
        )
        for item, old, new, one in zip(known, before, after, alone, strict=False)
    )


def _text(checks: Sequence[Check], changes: Sequence[ClassChange], gain: Gain | None) -> str:
    missed = [check.text for check in checks if check.passed is False]
    # The mIoU loss comes first, and is told whatever became of it.
    parts = missed if missed[:1] == [checks[0].text] else [checks[0].text, *missed]
    lost = sorted((c for c in changes if c.scored and c.change < 0), key=lambda c: c.change)
    if missed and lost:
        named = ", ".join(f"{item.name} ({item.change:+.2f})" for item in lost[:NAMED])
        parts.append(f"most lost by {named}")
    if gain is not None and not any(c.name == GAIN_KEPT and c.passed is False for c in checks):
        parts.append(gain.text)
    return ", ".join(parts)
