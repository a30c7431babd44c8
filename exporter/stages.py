"""Compare the stages of an export in a row: PyTorch, ONNX Runtime, OpenVINO."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from runtime.backends import Backend
from runtime.manifest import PartSpec
from trainkit.models import Part

from .parity import Ledger, Runner, compare, extended
from .runners import SessionRunner, files_in, torch_runner
from .samples import Feed, Samples

BACKENDS: dict[Backend, str] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
"""Stages after PyTorch, each compared with the one before, and their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the comparison of all stages gave."""

    ledger: Ledger
    feed: Feed
    """The first sample."""
    outputs: Feed
    """Classes and confidence that ONNX Runtime makes of it."""


def check_stages(
    parts: Sequence[Part],
    specs: Sequence[PartSpec],
    folder: Path,
    samples: Samples,
    on_sample: Callable[[str], None] = lambda note: None,
) -> Checked:
    """Compare every stage with the one before.

    Args:
        parts: The model's parts.
        specs: The same as the manifest says them.
        folder: Where their ONNX files lie.
        samples: What they are compared on.
        on_sample: Called after every sample of every stage.

    Raises:
        ParityError: If two stages differ by more than their tolerance.
    """
    ledger = Ledger(source=samples.source, samples=tuple(samples.feeds), stages=())
    before: tuple[str, Runner] = ("PyTorch", torch_runner(parts))
    outputs: Feed = {}
    feed = next(iter(samples.feeds.values()))
    with ExitStack() as opened:
        for backend, label in BACKENDS.items():
            runner = SessionRunner(backend, files_in(folder, specs), specs)
            opened.callback(runner.close)
            note = partial(on_sample, f"{label} compared with {before[0]}")
            after = (label, runner)
            stage = compare(specs, samples.feeds, before, after, on_sample=note)
            ledger = extended(ledger, stage)
            outputs = outputs or class_map(runner, specs, feed)
            before = after
    return Checked(ledger=ledger, feed=feed, outputs=outputs)


def class_map(runner: Runner, parts: Sequence[PartSpec], feed: Feed) -> Feed:
    """Run the parts that lead to the class map, and give the map and its confidence."""
    known = dict(feed)
    for part in parts:
        if part.variant != "probabilities":
            known.update(runner(part.name, {spec.name: known[spec.name] for spec in part.inputs}))
    return {name: np.array(known[name]) for name in ("classes", "confidence")}
