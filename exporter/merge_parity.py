"""Prove that a merged graph gives what the parts give, on the golden tile.

parts, one after the other --> merged graph      without optimisation: the same numbers
                           --> ONNX Runtime      as it runs: it joins operators across the
                           --> OpenVINO          borders of parts, which moves last digits
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from runtime.bundle import Bundle
from runtime.manifest import PartSpec
from runtime.model import golden_feed

from .parity import (
    TOLERANCES,
    Arrays,
    Ledger,
    Row,
    Runner,
    Stage,
    Tolerance,
    agree,
    extended,
    misses,
)
from .precision_stages import ledger_of
from .runners import SessionRunner, files_in, run_as_written
from .stages import BACKENDS

EXACT = Tolerance(max_abs=0.0, mean_abs=0.0, cosine=1.0, argmax=1.0)
"""Merging may not move a number."""

GOLDEN = "golden tile"

UNMERGED = "leave the parts as they are"


def check_merged(source: Bundle, specs: Sequence[PartSpec], folder: Path) -> Ledger:
    """Compare the merged graphs with the chained parts, and backends with each other.

    Args:
        source: The bundle whose parts are merged.
        specs: The merged parts, one for each kind of result.
        folder: Where their files lie.

    Returns:
        The stages, with those of the source before them.

    Raises:
        ParityError: If the numbers are not the same, or backends differ by more than the tolerance
            of the bundle's precision.
        BundleError: If the golden tile or the ledger of the source cannot be read.
    """
    feed, _ = golden_feed(source)
    before = ledger_of(source)
    ledger = Ledger(
        source=before.source,
        samples=(GOLDEN,),
        stages=(),
        before=(*before.before, *before.stages),
    )
    chained = _AsWritten(source.path, source.manifest.parts)
    reference = "parts, as written (ONNX Runtime)"
    expected = {spec.name: _chain(chained, source, spec, feed) for spec in specs}
    for candidate, found in _candidates(specs, folder, feed):
        tolerance = TOLERANCES[source.manifest.precision] if ledger.stages else EXACT
        rows = tuple(_row(name, expected[name], found[name], tolerance) for name in expected)
        stage = Stage(reference=reference, candidate=candidate, tolerance=tolerance, rows=rows)
        ledger = extended(ledger, stage, UNMERGED)
        reference, expected = candidate, found
    return ledger


def _candidates(
    specs: Sequence[PartSpec], folder: Path, feed: Arrays
) -> Iterator[tuple[str, dict[str, Arrays]]]:
    """Run the merged graphs in every way, one after the other."""
    exact = _AsWritten(folder, specs)
    yield (
        "merged, as written (ONNX Runtime)",
        {spec.name: _run(exact, spec, feed) for spec in specs},
    )
    for backend, label in BACKENDS.items():
        with closing(SessionRunner(backend, files_in(folder, specs), specs)) as runner:
            yield f"merged ({label})", {spec.name: _run(runner, spec, feed) for spec in specs}


class _AsWritten:
    """Run graphs node by node, with none of ONNX Runtime's optimisations."""

    def __init__(self, folder: Path, parts: Sequence[PartSpec]) -> None:
        self._files = files_in(folder, parts)

    def __call__(self, name: str, feed: Arrays) -> Arrays:
        """Run a part on one sample; its session is not kept."""
        return run_as_written(self._files[name], feed)


def _chain(runner: Runner, source: Bundle, spec: PartSpec, feed: Arrays) -> Arrays:
    known = dict(feed)
    for part in source.manifest.parts:
        if part.variant in (None, spec.variant):
            known.update(_run(runner, part, known))
    return {tensor.name: known[tensor.name] for tensor in spec.outputs}


def _run(runner: Runner, part: PartSpec, known: Arrays) -> Arrays:
    outputs = runner(part.name, {spec.name: known[spec.name] for spec in part.inputs})
    # Sessions may use their buffers again.
    return {spec.name: np.array(outputs[spec.name]) for spec in part.outputs}


def _row(part: str, expected: Arrays, found: Arrays, tolerance: Tolerance) -> Row:
    agreement = agree(expected, found)
    if tolerance is EXACT:
        different = [name for name in expected if not np.array_equal(expected[name], found[name])]
        missed = tuple(f"{name} is not the same" for name in different)
    else:
        missed = misses(agreement, tolerance)
    return Row(part=part, sample="golden tile", agreement=agreement, misses=missed)
