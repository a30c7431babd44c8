"""Compare two stages of an export on the same samples, part by part and as a whole.

    reference: sample -> aerial, satellite -> logits -> fusion -> classes
    each part: the reference's own inputs of a part -> the part again     blames one part
    the whole: sample -> all parts again, one after the other

A part is given the inputs that the stage before computed, so that a fault in one part is never
blamed on the next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ParityError
from runtime.manifest import PartSpec, Precision

Arrays = Mapping[str, NDArray[Any]]

Runner = Callable[[str, Arrays], Arrays]
"""Runs the part of this name on a feed."""

Source = Literal["data", "random"]
"""Whether samples come from a data set or are random numbers."""

EXPORT_AGAIN = "export again, and with another version of torch or onnx if it stays"

WHOLE = "whole"
"""Name of the row that compares all parts in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How close a result is to its reference."""

    max_abs: float
    """Largest difference of a number."""
    mean_abs: float
    cosine: float
    """Cosine of the angle between the two, 1 where they agree."""
    argmax: float | None
    """Share of pixels with the same winning class; None where the outputs tell no classes apart."""
    scale: float
    """Largest number of the reference: differences are judged against it."""
    step: float
    """Step in which the numbers are stored, 0 for floating point; rounding may move one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What is still called the same."""

    max_abs: float
    """Largest difference, as a share of the scale."""
    mean_abs: float
    """Mean difference, as a share of the scale."""
    cosine: float
    argmax: float


TOLERANCES: dict[Precision, Tolerance] = {
    # FP32 sums in another order: about 1e-6 of the scale on the presets, more in deep attention
    # with large norms. A wrong resize, norm or band is beyond 1e-2.
    "fp32": Tolerance(max_abs=5e-3, mean_abs=1e-4, cosine=0.9999, argmax=0.999),
    # Rounding to FP16 moves a logit by 1e-3 of the scale; BF16, in which CPUs run such a graph, by
    # 5e-2 in deep attention. What that costs is for the gate to say; this finds what is broken.
    "fp16": Tolerance(max_abs=0.2, mean_abs=2e-2, cosine=0.995, argmax=0.9),
    # A step of INT8 is 1e-2 of the scale; the layers of a trained network add up to 0.15, those of
    # a random one to 0.9, and half of its classes, which hardly differ, change. What that costs
    # is counted by the gate.
    "int8": Tolerance(max_abs=1.5, mean_abs=0.15, cosine=0.9, argmax=0.0),
}
"""What two stages of each precision may differ by: the only such table."""

CLASS_SCORES = ("logits", "probabilities")
"""Endings of the names of outputs whose second axis is the classes; others are features."""

CONFIDENCE_STEP = 1 / 254
"""Confidence is stored as a uint8 count of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One part, or the whole, over all samples."""

    part: str
    sample: str
    """The sample that agrees least."""
    agreement: Agreement
    """The worst of each number over all samples; `mean_abs` is their mean."""
    misses: tuple[str, ...]
    """What is out of tolerance on that sample, in words; empty if nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Two stages compared."""

    reference: str
    candidate: str
    tolerance: Tolerance
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Every stage against the one before: `parity.json`."""

    source: Source
    samples: tuple[str, ...]
    stages: tuple[Stage, ...]
    before: tuple[Stage, ...] = ()
    """Of a converted bundle: the stages of the FP32 bundle, on samples of their own."""

    @property
    def faults(self) -> tuple[tuple[Stage, Row], ...]:
        """Rows out of tolerance; the whole is left out where a part explains it."""
        found = [(stage, row) for stage in self.stages for row in stage.rows if row.misses]
        parts = [(stage, row) for stage, row in found if row.part != WHOLE]
        return tuple(parts or found)


def require(ledger: Ledger, remedy: str = EXPORT_AGAIN) -> None:
    """Refuse a ledger with a fault.

    Args:
        ledger: What was compared.
        remedy: What to do about one.

    Raises:
        ParityError: Naming the part, the sample, what was found and what is allowed.
    """
    if not ledger.faults:
        return
    stage, row = ledger.faults[0]
    others = sorted({other.part for _, other in ledger.faults} - {row.part})
    also = f"; so do {', '.join(others)}" if others else ""
    raise ParityError(
        f"part '{row.part}' in {stage.candidate} differs from {stage.reference} on sample "
        f"{row.sample}: {'; '.join(row.misses)}{also}; nothing was written; {remedy}"
    )


def extended(ledger: Ledger, stage: Stage, remedy: str = EXPORT_AGAIN) -> Ledger:
    """Add a stage, and stop at the first that is out of tolerance: what follows it says nothing.

    Raises:
        ParityError: See `require`.
    """
    longer = replace(ledger, stages=(*ledger.stages, stage))
    require(longer, remedy)
    return longer


def compare(
    parts: Sequence[PartSpec],
    samples: Mapping[str, Arrays],
    reference: tuple[str, Runner],
    candidate: tuple[str, Runner],
    *,
    precision: Precision = "fp32",
    on_sample: Callable[[], None] = lambda: None,
) -> Stage:
    """Compare two stages.

    Args:
        parts: All parts, both variants of the fusion included, in order.
        samples: Feed of each sample by its id.
        reference: Name and runner of the stage before.
        candidate: Name and runner of the stage that is judged.
        precision: Row of `TOLERANCES`.
        on_sample: Called after every sample.

    Raises:
        ParityError: If the reference itself gives a number that is not finite.
    """
    tolerance = TOLERANCES[precision]
    found: dict[str, dict[str, Agreement]] = {}
    for sample, feed in samples.items():
        expected, chained = dict(feed), dict(feed)
        for part in parts:
            outputs = _run(reference[1], part, expected)
            _require_finite(outputs, part.name, sample, reference[0])
            again = _run(candidate[1], part, expected)
            found.setdefault(part.name, {})[sample] = agree(outputs, again)
            is_branch = part.role != "fusion"
            chained.update(again if is_branch else _run(candidate[1], part, chained))
            expected.update(outputs)
        names = [spec.name for part in parts if part.role == "fusion" for spec in part.outputs]
        found.setdefault(WHOLE, {})[sample] = agree(
            {name: expected[name] for name in names}, {name: chained[name] for name in names}
        )
        on_sample()
    rows = tuple(_row(part, by_sample, tolerance) for part, by_sample in found.items())
    return Stage(reference=reference[0], candidate=candidate[0], tolerance=tolerance, rows=rows)


def _run(runner: Runner, part: PartSpec, known: Arrays) -> dict[str, NDArray[Any]]:
    outputs = runner(part.name, {spec.name: known[spec.name] for spec in part.inputs})
    # Sessions may use their buffers again.
    return {spec.name: np.array(outputs[spec.name]) for spec in part.outputs}


def _require_finite(outputs: Arrays, part: str, sample: str, stage: str) -> None:
    for name, array in outputs.items():
        if not np.isfinite(array).all():
            raise ParityError(
                f"part '{part}' gives NaN or infinity as {name} in {stage} on sample {sample}; "
                "expected finite numbers; the checkpoint or the input is damaged: train again"
            )


def agree(reference: Arrays, candidate: Arrays) -> Agreement:
    """Compare the outputs of a part, or of the whole.

    Numbers are compared on the outputs in floating point, or on the confidence as a share where
    there is none; winning classes on `classes`, or along the class axis of the numbers, which
    features have not.

    Args:
        reference: Outputs by name: logits or probabilities float32 (N, K, H, W), features float32
            (N, D, h, w), `classes` and `confidence` uint8 (N, H, W).
        candidate: The same from the stage that is judged.
    """
    floats = [name for name, array in reference.items() if array.dtype.kind == "f"]
    expected, found = (
        _flat([arrays[name] for name in floats])
        if floats
        else _flat([arrays["confidence"]]) * CONFIDENCE_STEP
        for arrays in (reference, candidate)
    )
    winners = [_winners(arrays) for arrays in (reference, candidate)]
    same = None if winners[0] is None else float(np.mean(winners[0] == winners[1]))
    return _agreement(expected, found, same=same, step=0.0 if floats else CONFIDENCE_STEP)


def _winners(arrays: Arrays) -> NDArray[Any] | None:
    if "classes" in arrays:
        return arrays["classes"]
    scores = [array for name, array in arrays.items() if name.endswith(CLASS_SCORES)]
    return scores[0].argmax(axis=1) if scores else None


def _flat(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays])


def _agreement(
    expected: NDArray[np.float64], found: NDArray[np.float64], *, same: float | None, step: float
) -> Agreement:
    difference = np.abs(expected - found)
    lengths = float(np.linalg.norm(expected) * np.linalg.norm(found))
    both_zero = not expected.any() and not found.any()
    return Agreement(
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        cosine=1.0 if both_zero else float(expected @ found) / lengths if lengths else 0.0,
        argmax=same,
        scale=float(np.abs(expected).max()),
        step=step,
    )


def misses(agreement: Agreement, tolerance: Tolerance) -> tuple[str, ...]:
    """Say what is out of tolerance; NaN always is."""
    a = agreement
    checks = (
        ("largest difference", a.max_abs, max(tolerance.max_abs * a.scale, 1.01 * a.step), "<="),
        ("mean difference", a.mean_abs, tolerance.mean_abs * a.scale, "<="),
        ("cosine", a.cosine, tolerance.cosine, ">="),
        ("same class", a.argmax, tolerance.argmax, ">="),
    )
    return tuple(
        f"{name} {value:.4g}, allowed {sign} {limit:.4g}"
        for name, value, limit, sign in checks
        if value is not None and not (value <= limit if sign == "<=" else value >= limit)
    )


def _row(part: str, by_sample: Mapping[str, Agreement], tolerance: Tolerance) -> Row:
    missed = {sample: misses(found, tolerance) for sample, found in by_sample.items()}
    worst = max(by_sample, key=lambda s: (len(missed[s]), by_sample[s].max_abs))
    values = list(by_sample.values())
    shares = [value.argmax for value in values if value.argmax is not None]
    return Row(
        part=part,
        sample=worst,
        agreement=Agreement(
            max_abs=float(np.max([v.max_abs for v in values])),
            mean_abs=float(np.mean([v.mean_abs for v in values])),
            cosine=float(np.min([v.cosine for v in values])),
            argmax=float(np.min(shares)) if shares else None,
            scale=float(np.max([v.scale for v in values])),
            step=values[0].step,
        ),
        misses=missed[worst],
    )
