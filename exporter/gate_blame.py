"""Find the part of a converted model that a missed gate is to blame on.

One part after the other is replaced by its FP32 twin. What brings the model back into its budgets
tells which part to keep in FP32, or to convert with more care. The nodes of that part which add
most to the error are named beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.card import ModelCard
from runtime.dataset import Dataset
from runtime.evaluate import OnPatch
from runtime.model import TileModel

from .gate import judge_gate
from .gate_measure import measure_gate
from .gate_report import GateReport
from .node_errors import NodeError

NAMED = 3
"""Nodes that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """What became of the model when one part ran in FP32."""

    part: str
    miou_loss: float
    """Points of mIoU that are still lost."""
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoss:
    """What a node adds to the error."""

    part: str
    node: str
    relative: float
    """Mean magnitude of the error over that of the result, inputs being exact; may be infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Which part a missed gate is to blame on."""

    miou_loss: float
    """Points of mIoU lost with all parts converted."""
    twins: tuple[Twin, ...]
    """The least loss first."""
    text: str
    worst: tuple[NodeLoss, ...] = ()
    """The nodes that add most to the error of the part, the worst first; empty if not measured."""


def which_part(
    report: GateReport,
    name: str,
    models: tuple[TileModel, TileModel],
    card: ModelCard,
    dataset: Dataset,
    *,
    on_patch: OnPatch = lambda done, total: None,
) -> Blame | None:
    """Run a candidate that missed its budgets again, with one part at a time in FP32.

    Args:
        report: What the gate found; the same patches and budgets are used again.
        name: The candidate.
        models: The FP32 model and the candidate, opened, of the same parts.
        card: What to know of the model.
        dataset: What the gate measured on.
        on_patch: Called after every patch.

    Returns:
        What was found; None for a candidate that passed.

    Raises:
        DataError: If a patch has gone or is damaged.
        ValueError: If there is no such candidate, or the parts differ.
    """
    found = next((item for item in report.candidates if item.name == name), None)
    if found is None:
        raise ValueError(f"the gate knows no candidate '{name}'")
    if found.passed:
        return None
    measured = measure_gate(
        models[0], mixed(*models), card, dataset, report.ids, split=report.split, on_patch=on_patch
    )
    again = judge_gate(measured, report.precision, report.budgets)
    twins = sorted(
        (Twin(part=c.name, miou_loss=c.miou_loss, passed=c.passed) for c in again.candidates),
        key=lambda twin: twin.miou_loss,
    )
    return Blame(miou_loss=found.miou_loss, twins=tuple(twins), text=_text(found.miou_loss, twins))


def with_nodes(blame: Blame, part: str, errors: Mapping[str, NodeError]) -> Blame:
    """Name the worst nodes of a part.

    Args:
        blame: What was found of the parts.
        part: The part.
        errors: Error by node of the part.
    """
    rated = sorted(errors.items(), key=lambda item: -item[1].relative)[:NAMED]
    worst = tuple(
        NodeLoss(part=part, node=name, relative=error.relative)
        for name, error in rated
        if error.relative > 0
    )
    if not worst:
        return blame
    named = ", ".join(f"{item.node} ({_share(item.relative)})" for item in worst)
    return replace(blame, worst=worst, text=f"{blame.text}; worst nodes of {part}: {named}")


def _share(relative: float) -> str:
    return f"{100 * relative:.2g} %" if np.isfinite(relative) else "NaN or infinite"


def mixed(reference: TileModel, candidate: TileModel) -> Mapping[str, TileModel]:
    """Make a model for each part of a candidate: all parts its own but that one, which is FP32.

    The sessions are shared, so that only one of the models may run at a time.

    Raises:
        ValueError: If the parts differ.
    """
    names = [part.name for part in reference.parts]
    if names != [part.name for part in candidate.parts]:
        raise ValueError(f"the candidate's parts are not {', '.join(names)}")
    models = {}
    for index, name in enumerate(names):
        parts, sessions = list(candidate.parts), list(candidate.sessions)
        parts[index], sessions[index] = reference.parts[index], reference.sessions[index]
        models[name] = TileModel(parts=tuple(parts), sessions=tuple(sessions))
    return models


def _text(loss: float, twins: Sequence[Twin]) -> str:
    passing = [twin for twin in twins if twin.passed]
    best = (passing or twins)[0]
    change = f"mIoU loss {best.miou_loss:.2f} instead of {loss:.2f} points"
    if not passing:
        return f"no single part in FP32 brings it back; {best.part} does most ({change})"
    others = "".join(f" or {twin.part}" for twin in passing[1:])
    return f"with {best.part}{others} in FP32 it keeps to its budgets ({change})"
