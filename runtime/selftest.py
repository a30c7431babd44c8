"""Run the golden tile of a bundle once, and refuse a model that does not give what is expected.

    NaN or infinity                     NotFiniteError      overflow in FP16
    nothing but zeros                   AllZeroError        an engine that was never really run
    one class all over                  CollapsedError      attention that lost its precision
    other classes, other confidence     DisagreementError   another model, input or precision

Random and briefly trained weights leave many pixels between two classes, where any rounding
decides. So the class must come out where the expected confidence is high, and on most of the other
pixels; the confidence is compared everywhere.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends import Backend
from .bundle import Bundle
from .errors import (
    AllZeroError,
    BundleError,
    CollapsedError,
    DisagreementError,
    NotFiniteError,
)
from .manifest import Precision
from .model import OpenModel, golden_feed, repeated
from .output.values import CONFIDENCE_SCALE

DECIDED = 0.6
"""Expected confidence from which on a pixel's class must come out."""

LEAST_DECIDED = 1000
"""Fewer decided pixels are not judged."""

COLLAPSED = 0.999
"""Share of the tile that one class takes in a collapsed result..."""

SEVERAL = 0.99
"""...and at most takes in the expected one, for several classes to be expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a result may be from the expected one."""

    decided: float
    """Share of the decided pixels whose class must be equal."""
    all: float
    """Share of all pixels whose class must be equal."""
    confidence: float
    """Mean absolute difference of the confidence, 0 to 1, at most."""


# At worst, of the bundles of toy, lf-dlm, lf-dlm-x2 and lf-dlm-tiny, on a CPU with neither BF16 nor
# VNNI; BF16 by emulation. Weights of lf-dlm and lf-dlm-x2 were random. No GPU was measured; with
# TF32 it rounds FP32 as FP16.
#
#   bundle  run in                         decided     all   confidence
#   fp32    FP32 (OpenVINO, ONNX Runtime)    1.000   1.000       0.0000
#   fp16    FP32 (OpenVINO, ONNX Runtime)    1.000   0.998       0.0002
#   fp16    BF16                             1.000   0.955       0.0024
#   int8    FP32 on Q/DQ (ONNX Runtime)      1.000   0.995       0.0020
#   int8    FP32 on Q/DQ, BF16               1.000   0.994       0.0036
#   int8    INT8 beside FP32 (OpenVINO)      1.000   0.934       0.0251
BOUNDS: dict[Precision, Bounds] = {
    "fp32": Bounds(decided=0.999, all=0.98, confidence=0.005),
    "fp16": Bounds(decided=0.99, all=0.85, confidence=0.02),
    "int8": Bounds(decided=0.97, all=0.7, confidence=0.08),
}
"""By precision of the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """What the golden tile gave; nothing is known where the test was skipped."""

    skipped: bool = False
    agreement: float | None = None
    """Share of all pixels whose class is the expected one."""
    decided: float | None = None
    """The same over the pixels whose expected confidence is high; None for too few of them."""
    confidence_difference: float | None = None
    """Mean absolute difference of the confidence, 0 to 1."""
    seconds: float | None = None
    """What the run took."""


SKIPPED = SelfTest(skipped=True)


@dataclass(frozen=True, slots=True)
class _Maps:
    """Classes and confidence, shape (N, H, W)."""

    classes: NDArray[Any]
    confidence: NDArray[Any]
    """0 to 1."""


def self_test(model: OpenModel, bundle: Bundle, backend: Backend) -> SelfTest:
    """Run the golden tile once and compare.

    Args:
        model: The opened model, of any batch.
        bundle: The bundle that it was opened from.
        backend: What it was opened with, for messages.

    Raises:
        NotFiniteError: If an output of any part holds NaN or infinity.
        AllZeroError: If all outputs of a part are zero and are not expected to be.
        CollapsedError: If one class covers the tile and several are expected.
        DisagreementError: If it differs by more than the bundle's precision explains.
        BundleError: If the golden tile cannot be read or is none of this model.
        DeviceError: If the GPU fails.
    """
    feed, expected = golden_feed(bundle)
    batch = model.batch
    begin = time.perf_counter()
    outputs = model.trace(repeated(feed, batch))
    seconds = time.perf_counter() - begin
    judge = _Judge(bundle, backend)
    judge.finite(outputs)
    judge.not_zero(model, outputs, expected)
    found, wanted = _maps(outputs), _maps(repeated(expected, batch))
    judge.same_shape(found, wanted)
    judge.not_collapsed(found, wanted)
    return judge.agrees(found, wanted, seconds)


def _maps(outputs: Mapping[str, NDArray[Any]]) -> _Maps:
    if "classes" in outputs:
        return _Maps(outputs["classes"], outputs["confidence"] / CONFIDENCE_SCALE)
    probabilities = outputs["probabilities"]
    return _Maps(probabilities.argmax(axis=1), probabilities.max(axis=1))


@dataclass(frozen=True, slots=True)
class _Judge:
    """The checks, and what their messages say besides."""

    bundle: Bundle
    backend: Backend

    def finite(self, outputs: Mapping[str, NDArray[Any]]) -> None:
        for name, array in outputs.items():
            bad = array.size - int(np.isfinite(array).sum())
            if bad:
                raise NotFiniteError(
                    f"{self._who} gives {bad} numbers of {array.size} in '{name}' that are NaN or "
                    f"infinite for its golden tile; expected none; {self._remedy}"
                )

    def not_zero(
        self,
        model: OpenModel,
        outputs: Mapping[str, NDArray[Any]],
        expected: Mapping[str, NDArray[Any]],
    ) -> None:
        for part in model.parts:
            names = [spec.name for spec in part.outputs]
            zero = not any(outputs[name].any() for name in names)
            known = [expected[name] for name in names if name in expected]
            if zero and (not known or any(array.any() for array in known)):
                raise AllZeroError(
                    f"{self._who} gives nothing but zeros in part '{part.name}' for its golden "
                    f"tile; expected {', '.join(names)}; {self._remedy}"
                )

    def same_shape(self, found: _Maps, wanted: _Maps) -> None:
        if found.classes.shape != wanted.classes.shape:
            raise BundleError(
                f"{self._who} gives classes of shape {found.classes.shape} for its golden tile; "
                f"expected {wanted.classes.shape}, as stored there; export the bundle again"
            )

    def not_collapsed(self, found: _Maps, wanted: _Maps) -> None:
        share, winner = _largest(found.classes)
        expected_share, _ = _largest(wanted.classes)
        if share >= COLLAPSED and expected_share <= SEVERAL:
            known = dict(enumerate(item.name for item in self.bundle.manifest.classes))
            name = known.get(winner, f"{winner} of {len(known)}")  # what is broken gives any number
            raise CollapsedError(
                f"{self._who} gives one class, {name}, on {share:.2%} of its golden tile; expected "
                f"{np.unique(wanted.classes).size} classes, none on more than "
                f"{expected_share:.2%}; {self._remedy}"
            )

    def agrees(self, found: _Maps, wanted: _Maps, seconds: float) -> SelfTest:
        precision = self.bundle.manifest.precision
        bounds = BOUNDS[precision]
        equal = found.classes == wanted.classes
        where = wanted.confidence >= DECIDED
        decided = float(equal[where].mean()) if where.sum() >= LEAST_DECIDED else None
        agreement = float(equal.mean())
        difference = float(np.abs(found.confidence - wanted.confidence).mean())
        rest = f"for {precision}; {self._remedy}"
        if decided is not None and decided < bounds.decided:
            raise DisagreementError(
                f"{self._who} gives the expected class on {decided:.2%} of the decided pixels of "
                f"its golden tile; expected {bounds.decided:.2%} at least {rest}"
            )
        if agreement < bounds.all:
            raise DisagreementError(
                f"{self._who} gives the expected class on {agreement:.2%} of its golden tile; "
                f"expected {bounds.all:.2%} at least {rest}"
            )
        if difference > bounds.confidence:
            raise DisagreementError(
                f"{self._who} gives a confidence that is {difference:.4f} from that of its golden "
                f"tile on average; expected {bounds.confidence} at most {rest}"
            )
        return SelfTest(
            agreement=agreement,
            decided=decided,
            confidence_difference=difference,
            seconds=seconds,
        )

    @property
    def _who(self) -> str:
        return f"{self.bundle.manifest.name} with {self.backend}"

    @property
    def _remedy(self) -> str:
        other = "onnxruntime" if self.backend == "openvino" else "openvino"
        again = "export the bundle again"
        if self.backend in ("tensorrt", "tensorrt-rtx"):
            again = "have its engines built anew (`segx cache --clear`, then `--rebuild auto`)"
        return f"use `--backend {other}`, {again}, or take the map as it is with `--skip-self-test`"


def _largest(classes: NDArray[Any]) -> tuple[float, int]:
    """Share of the most frequent class, and its index."""
    counts = np.bincount(classes.ravel())
    winner = int(counts.argmax())
    return float(counts[winner] / classes.size), winner
