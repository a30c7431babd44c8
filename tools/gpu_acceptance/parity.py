"""Compare what a backend makes of every part with ONNX Runtime, on the inputs that it had.

A part is given to ONNX Runtime with the inputs that the backend itself computed for it, so that a
fault is blamed on one engine only. Beside the golden tile, inputs at the limits are taken: black,
white, saturated cloud, one date, no date.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from exporter.parity import TOLERANCES, agree, misses
from exporter.stress import stress_feeds
from runtime.backends import BackendChoice, BackendOption
from runtime.bundle import Bundle, open_bundle
from runtime.model import OpenModel, TileModel, golden_feed, open_model

from .job import Job
from .opening import open_with

Arrays = Mapping[str, NDArray[Any]]


def compare(job: Job, bundle: str, backend: str) -> dict[str, Any]:
    """Compare all parts of a bundle on every input."""
    opened = open_bundle(job.bundles[int(bundle)])
    found = open_with(job, opened, cast(BackendOption, backend))
    reference = open_model(opened, BackendChoice(name="onnxruntime", reason="the reference"))
    with closing(found.model), closing(reference):
        rows = [
            row
            for name, feed in _feeds(opened)
            for row in _compare(found.model, reference, name, feed, opened)
        ]
    return {
        "precision": found.model.precision,
        "passed": not any(row["misses"] for row in rows),
        "rows": rows,
    }


def _feeds(bundle: Bundle) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    golden, _ = golden_feed(bundle)
    yield "golden tile", golden
    seen = set()
    for part in bundle.manifest.parts:
        inputs = {spec.name for spec in part.inputs}
        if part.role == "fusion" or not inputs <= golden.keys() or part.role in seen:
            continue
        seen.add(part.role)
        for name, feed in stress_feeds(part, bundle.card, golden).items():
            yield name, golden | feed


def _compare(
    model: OpenModel, reference: TileModel, name: str, feed: Arrays, bundle: Bundle
) -> Iterator[dict[str, Any]]:
    known = {**feed, **model.trace(feed)}
    for part, session in zip(reference.parts, reference.sessions, strict=True):
        expected = session.run({spec.name: known[spec.name] for spec in part.inputs})
        given = {spec.name: known[spec.name] for spec in part.outputs}
        finite = all(np.isfinite(array).all() for array in given.values())
        agreement = agree(expected, given)
        missed = misses(agreement, TOLERANCES[bundle.manifest.precision])
        yield {
            "input": name,
            "part": part.name,
            "agreement": agreement,
            "misses": (*missed, *([] if finite else ["not finite"])),
        }
