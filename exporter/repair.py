"""Find the nodes that a missed gate is owed to, and leave them in higher precision.

    gate missed --> part to blame --> FP16: results that leave it, or lose their bits  --> FP32
                                      else: nodes by the error that they add, in steps
                                            1, 2, 4, ...: INT8 --> FP16, FP16 --> FP32
                --> converted and measured again, until the gate is passed or the time is over
                --> what the gate is passed without is taken back

Written here because neither tool that exists sees what it must. NNCF's quantisation with accuracy
control takes one graph, turns INT8 back to FP32 only, and refuses a graph with FP16 in it.
`auto_mixed_precision` of onnxconverter-common checks FP16 graphs by running them on ONNX Runtime's
CPU provider, which computes in FP32: it accepts graphs that overflow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Literal

import onnx

from .attempts import Added, Attempts, Tried
from .emulate import EXACT
from .gate_blame import which_part
from .node_errors import SAMPLES, NodeError, measure_errors, takers_of
from .plan import Plan, branch_of
from .workshop import EMULATED, ConvertedPart, open_converted, open_emulation

FAULT = 0.01
"""Share of its result that a node of FP16 loses only by a fault: roundings of numbers and weights
cost 0.0002 to 0.001 (measured on trained parts)."""

STRESS = 4
"""Stress inputs that nodes are compared on at most, beside the samples."""

_Node = tuple[str, str]
"""Branch and name."""


def repair(attempts: Attempts, missed: Tried) -> Tried | None:
    """Leave nodes of a plan that missed the gate in higher precision until it passes.

    Args:
        attempts: Where plans are tried; says how much time there is.
        missed: The plan, tried.

    Returns:
        The plan that passed with the fewest nodes added; None if none passed.

    Raises:
        DataError: If a patch of the search is damaged or has no labels.
    """
    branches = _blamed(attempts, missed)
    current, added, step = missed, dict[_Node, Added](), 1
    while branches and current.parts and not attempts.over:
        parts = [
            _Part(attempts, part)
            for part in current.parts
            if branch_of(part.spec) in branches and part.spec.precision != "fp32"
        ]
        found = _new(added, (item for part in parts for item in part.faults()))
        if not found:
            found = _new(added, _worst(parts))[:step]
            step *= 2
        if not found:
            break
        added.update({(item.branch, item.node): item for item in found})
        current = attempts.try_plan(missed.plan, added.values())
        if current.passed:
            return _reduced(attempts, missed.plan, list(added.values()), current)
    return None


def _blamed(attempts: Attempts, missed: Tried) -> tuple[str, ...]:
    """Converted branches one of which brings the model back when in FP32; if none does, all."""
    report, trial = missed.report, attempts.trial
    if report is None:
        return ()
    names = [item.name for item in report.candidates if not item.passed]
    emulated = EMULATED in names
    if not emulated and all(part.spec.precision != "int8" for part in missed.parts):
        # A backend that computes in BF16 does so whatever the graph leaves in FP32.
        return ()
    model = (
        open_emulation(missed.parts, report.precision)
        if emulated
        else open_converted(missed.parts, trial.choice)
    )
    name = EMULATED if emulated else names[0]
    with closing(model):
        models = (trial.reference, model)
        blame = which_part(report, name, models, trial.source.card, trial.data.dataset)
    twins = () if blame is None else blame.twins
    passing = {twin.part for twin in twins if twin.passed}
    converted = [part.spec for part in missed.parts if part.spec.precision != "fp32"]
    chosen = [spec for spec in converted if spec.name in passing] or converted
    return tuple(dict.fromkeys(map(branch_of, chosen)))


class _Part:
    """A converted part, and what its nodes do to exact inputs."""

    def __init__(self, attempts: Attempts, part: ConvertedPart) -> None:
        source, store = attempts.workshop.source.file(part.spec), attempts.workshop.store
        samples = store.feeds("calibration", part.spec, SAMPLES)
        self.errors = measure_errors(source, part.emulation, samples)
        # Under stress a node can only fail by leaving FP16.
        stress = store.feeds("stress", part.spec, STRESS)
        for name, error in measure_errors(source, part.emulation, stress).items():
            self.errors[name] = self.errors[name].united(NodeError(nonfinite=error.nonfinite))
        self.branch, self.kept = branch_of(part.spec), part.kept
        self.nodes = {node.name: node for node in onnx.load(source).graph.node}
        self.takers = takers_of(self.nodes.values())

    def faults(self) -> Iterator[Added]:
        """Nodes that FP16 breaks, each with those that take its results: these leave FP16 too."""
        for name, error in self.errors.items():
            lost = max(error.relative, error.flushed)
            if not error.nonfinite and (error.quantized or lost <= FAULT):
                continue
            yield self._in_fp32(name, f"in FP16 {_lost(error)}")
            for taker in self._takers(name):
                # What the rules keep in FP32 already needs no second reason.
                if taker not in self.kept:
                    yield self._in_fp32(taker, f"it takes the result of {name}")

    def ranked(self) -> list[tuple[float, Added]]:
        """Nodes by what they add to the error, the worst first: those in INT8, else in FP16."""
        rated = {n: e for n, e in self.errors.items() if e.quantized} or self.errors
        worst = sorted(rated.items(), key=lambda item: -item[1].relative)
        return [(e.relative, self._spared(name, e)) for name, e in worst if e.relative > 0]

    def _takers(self, name: str) -> Iterator[str]:
        """Nodes that take a node's results, also through nodes that only arrange numbers."""
        waiting, seen = [name], {name}
        while waiting:
            for output in self.nodes[waiting.pop()].output:
                for taker in self.takers.get(output, ()):
                    if taker.name in seen:
                        continue
                    seen.add(taker.name)
                    yield taker.name
                    if taker.op_type in EXACT:
                        waiting.append(taker.name)

    def _in_fp32(self, name: str, reason: str) -> Added:
        return Added(branch=self.branch, node=name, stays="fp32", reason=reason)

    def _spared(self, name: str, error: NodeError) -> Added:
        stays: Literal["fp32", "fp16"] = "fp16" if error.quantized else "fp32"
        reason = f"in {'INT8' if error.quantized else 'FP16'} {_lost(error)}"
        return Added(branch=self.branch, node=name, stays=stays, reason=reason)


def _lost(error: NodeError) -> str:
    if error.nonfinite:
        return "its result is NaN or infinite, though finite in FP32"
    if error.flushed > error.relative and not error.quantized:
        return f"{100 * error.flushed:.3g} % of its numbers become 0"
    return f"its result is off by {100 * error.relative:.3g} %"


def _worst(parts: Sequence[_Part]) -> Iterator[Added]:
    ranked = (item for part in parts for item in part.ranked())
    return (item for _, item in sorted(ranked, key=lambda item: -item[0]))


def _new(added: Mapping[_Node, Added], found: Iterable[Added]) -> list[Added]:
    """Leave out what is added already, each node once."""
    known = {node: item.stays for node, item in added.items()}
    new = []
    for item in found:
        node = (item.branch, item.node)
        if known.get(node) not in ("fp32", item.stays):
            known[node] = item.stays
            new.append(item)
    return new


def _reduced(attempts: Attempts, plan: Plan, added: list[Added], passed: Tried) -> Tried:
    """Take back what the gate is passed without: halves, quarters and so on to single nodes."""
    size = len(added) // 2
    while size:
        start = 0
        while start < len(added):
            if attempts.over:
                return passed
            fewer = added[:start] + added[start + size :]
            # Without any of them the plan is the one that missed.
            tried = attempts.try_plan(plan, fewer) if fewer else None
            if tried is not None and tried.passed:
                added, passed = fewer, tried
            else:
                start += size
        size //= 2
    return passed
