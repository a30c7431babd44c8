"""Compare the stages of a conversion in a row, after those that the FP32 bundle went through.

FP32 (ONNX Runtime) --> emulation (ONNX Runtime) --> the bundle's graphs, by every backend
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import onnx

from runtime.backends import Backend
from runtime.bundle import Bundle
from runtime.errors import BundleError
from runtime.jsonfile import read_json
from runtime.manifest import PartSpec, Precision
from runtime.openvino_session import OpenVinoSession
from runtime.schema import parse

from .package import PARITY_NAME
from .parity import Ledger, Row, Runner, Stage, compare, extended
from .proof import int8_layers
from .runners import SessionRunner, files_in
from .samples import Feed
from .stages import BACKENDS, Checked, class_map
from .workshop import ConvertedPart

CONVERT_OTHERWISE = (
    "take other calibration samples or another --calibration-method, leave the part in higher "
    "precision (--plan), or give more --repair-minutes"
)

LEAST_EXECUTED = 0.5
"""Share of the layers in INT8, by the same of the graph, that OpenVINO runs in INT8 at least. It
joins layers and folds others, and was found to run 1.0 to 1.1 of them so."""

MOST_NOISE = 3.0
"""Mean difference of an INT8 part on a backend from its emulation at most, by that of the emulation
from FP32: both come of numbers that are rounded to the next step. Found were 0.02 to 1.05, and 3.8
and 18 where a library computed wrongly."""

LEAST_NOISE = 5e-3
"""Share of the scale that a mean difference may have in any case."""


def check_converted(
    source: Bundle,
    parts: Sequence[ConvertedPart],
    feeds: Mapping[str, Feed],
    precision: Precision,
) -> Checked:
    """Compare FP32 graphs, emulations, and the new graphs on each backend.

    Args:
        source: The FP32 bundle.
        parts: Its parts, converted.
        feeds: What they are compared on, by the id of the sample.
        precision: Row of tolerances.

    Returns:
        The ledger, with the stages of the source before its own; and what the emulation makes of
        the first sample.

    Raises:
        ParityError: If two stages differ by more than their tolerance.
        BundleError: If the ledger of the source cannot be read.
    """
    ledger = Ledger(source="data", samples=tuple(feeds), stages=(), before=ledger_of(source).stages)
    old = source.manifest.parts
    specs = [part.spec for part in parts]
    exact = [replace(spec, precision="fp32") for spec in specs]
    emulations = {part.spec.name: part.emulation for part in parts}
    graphs = {part.spec.name: part.path for part in parts}
    with ExitStack() as opened:

        def runner(
            backend: Backend, files: Mapping[str, Path], given: Sequence[PartSpec]
        ) -> Runner:
            made = SessionRunner(backend, files, given)
            opened.callback(made.close)
            return made

        full = ("FP32 (ONNX Runtime)", runner("onnxruntime", files_in(source.path, old), old))
        emulated = (
            f"{precision.upper()} emulated (ONNX Runtime)",
            runner("onnxruntime", emulations, exact),
        )
        rounding = compare(specs, feeds, full, emulated, precision=precision)
        ledger = extended(ledger, rounding, CONVERT_OTHERWISE)
        int8 = {spec.name for spec in specs if spec.precision == "int8"}
        for backend, label in BACKENDS.items():
            after = (f"{precision.upper()} graph ({label})", runner(backend, graphs, specs))
            stage = compare(specs, feeds, emulated, after, precision=precision)
            stage = held_to(rounding, stage, int8)
            ledger = extended(ledger, stage, CONVERT_OTHERWISE)
        feed = next(iter(feeds.values()))
        outputs = class_map(emulated[1], specs, feed)
    return Checked(ledger=ledger, feed=feed, outputs=outputs)


def held_to(rounding: Stage, stage: Stage, parts: Collection[str]) -> Stage:
    """Add to what a backend misses where it differs further than rounding explains.

    Args:
        rounding: FP32 and the emulation compared.
        stage: The emulation and a backend compared.
        parts: Parts in INT8, which are judged; in others a backend rounds elsewhere.
    """
    explained = {row.part: row.agreement.mean_abs for row in rounding.rows}

    def judged(row: Row) -> Row:
        limit = max(MOST_NOISE * explained[row.part], LEAST_NOISE * row.agreement.scale)
        found = row.agreement.mean_abs
        if row.part not in parts or found <= limit:  # NaN is not.
            return row
        miss = f"mean difference {found:.4g}, allowed <= {limit:.4g} beside rounding to INT8"
        return replace(row, misses=(*row.misses, miss))

    return replace(stage, rows=tuple(judged(row) for row in stage.rows))


def prove_executed(parts: Sequence[ConvertedPart]) -> dict[str, dict[str, int]]:
    """Ask OpenVINO, which can tell, what the layers of every part are computed in.

    Returns:
        Layers with weights by precision, by part; see `OpenVinoSession.computed`.

    Raises:
        BundleError: If a part does not run in the precision that it was converted to.
    """
    found = {}
    for part in parts:
        with closing(OpenVinoSession(part.path, part.spec, batch=1, threads=None)) as session:
            session.require_executed()
            found[part.spec.name] = session.computed()
        # Where this processor's INT8 sums saturate, the session computes what Q/DQ round in FP32.
        if session.precision.startswith("int8"):
            _require_int8(part, found[part.spec.name])
    return found


def _require_int8(part: ConvertedPart, computed: Mapping[str, int]) -> None:
    made = int8_layers(onnx.load(part.path))
    share = computed.get("int8", 0) / max(sum(computed.values()), 1)
    if share < LEAST_EXECUTED * made:
        raise BundleError(
            f"part '{part.spec.name}' has {100 * made:.0f} % of its layers with weights in INT8, "
            f"and OpenVINO runs {100 * share:.0f} %; expected at least "
            f"{100 * LEAST_EXECUTED * made:.0f} %; leave it in fp16 (--plan)"
        )


def ledger_of(source: Bundle) -> Ledger:
    """Read what the stages of a bundle agreed on when it was made.

    Raises:
        BundleError: If it cannot be read.
    """
    path = source.path / PARITY_NAME
    expected = "the comparison that every export writes; export the bundle again"
    data = read_json(path, expected=expected, error=BundleError)
    return parse(Ledger, data, where=str(path), error=BundleError)
