"""Simplify a graph in a child process, and keep the graph as it was when that goes wrong.

Simplifiers crash, hang, and fold constants into gigabytes (onnxsim #136, #187, #206, #178). None of
this may lose an export: the child has a time limit and a memory limit, its result is checked
against the graph it started from, and every failure is a warning with a reason.
"""

import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from runtime.child import run_child
from runtime.errors import BundleError
from runtime.manifest import PartSpec
from runtime.onnxruntime_session import OnnxRuntimeSession

from .parity import TOLERANCES, agree, misses
from .to_onnx import interface_of

logger = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("simplify_worker.py")

TIME_LIMIT_S = 300.0

FEWEST_NODES = 50
"""Graphs of fewer nodes have nothing to gain."""

LARGEST_GROWTH = 1.5
"""A result of more than this share of the original's size has folded what it should not."""

GROWTH_ALLOWANCE = 8 << 20
"""Bytes that a small graph may grow by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplified:
    """A graph, and what the simplifier did to it."""

    model: onnx.ModelProto
    note: str
    """Such as `simplified, 242 to 200 nodes`, or why the graph is as it was."""
    is_simplified: bool


def simplify(
    model: onnx.ModelProto,
    spec: PartSpec,
    feed: Mapping[str, NDArray[Any]],
    *,
    command: Sequence[str] = (sys.executable, str(WORKER)),
    time_limit_s: float = TIME_LIMIT_S,
) -> Simplified:
    """Simplify a graph if that can be done safely.

    Args:
        model: Graph to simplify; it is not changed.
        spec: Its name, inputs and outputs.
        feed: Input to compare both graphs on; its batch should be above 1.
        command: Program that is called with the path of the graph and the path of the result.
        time_limit_s: Seconds after which the program is ended.

    Returns:
        The simplified graph, or the same graph with the reason in `note`.
    """
    before = len(model.graph.node)
    if before < FEWEST_NODES:
        return Simplified(model=model, note=f"left as it is: {before} nodes", is_simplified=False)
    with tempfile.TemporaryDirectory(prefix="segx-simplify-") as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        onnx.save(model, source)
        ended = run_child(
            [*command, str(source), str(target)], time_limit_s=time_limit_s, folder=Path(folder)
        ).reason
        reason = f"it {ended}" if ended else _difference(source, target, spec, feed)
        if reason:
            logger.warning("part %s is not simplified: %s", spec.name, reason)
            return Simplified(model=model, note=f"not simplified: {reason}", is_simplified=False)
        candidate = onnx.load(target)
    note = f"simplified, {before} to {len(candidate.graph.node)} nodes"
    return Simplified(model=candidate, note=note, is_simplified=True)


def _difference(
    source: Path, target: Path, spec: PartSpec, feed: Mapping[str, NDArray[Any]]
) -> str:
    """Empty if the result can stand for the source, else why not."""
    if not target.is_file():
        return "it gave no result"
    size, limit = target.stat().st_size, source.stat().st_size * LARGEST_GROWTH + GROWTH_ALLOWANCE
    if size > limit:
        return f"its result has {size / 2**20:.0f} MiB, at most {limit / 2**20:.0f} are taken"
    try:
        onnx.checker.check_model(str(target))
        if interface_of(onnx.load(target)) != interface_of(onnx.load(source)):
            return "its result has other inputs or outputs"
        expected, found = _run_graph(source, spec, feed), _run_graph(target, spec, feed)
    except (onnx.checker.ValidationError, BundleError) as error:
        return f"its result is not valid ({str(error).splitlines()[0][:200]})"
    missed = misses(agree(expected, found), TOLERANCES["fp32"])
    return f"its result differs ({missed[0]})" if missed else ""


def _run_graph(
    path: Path, spec: PartSpec, feed: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    batch = len(next(iter(feed.values())))
    session = OnnxRuntimeSession(path, spec, batch=batch, threads=None)
    outputs = session.run(feed)
    session.close()
    return outputs
