"""Find the scores of the classes in a stranger's graph, behind what was added at its end."""

from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import ModelProto, NodeProto

from runtime.errors import BundleError, ConfigError

from .declaration import ImageLayout, Output
from .graph_edit import producers

ScoreKind = Literal["logits", "probabilities"]

CHANNELS: dict[ImageLayout, int] = {"NCHW": 1, "NHWC": 3}
"""Axis of the classes."""

PASSING = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze"})
"""Operators that stand between an ArgMax and the output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Where the scores are."""

    given: str
    """Value that the declaration speaks of; of classes, what the ArgMax takes."""
    given_kind: ScoreKind
    scores: str
    """Value that the bundle goes on from: logits where the graph has them."""
    scores_kind: ScoreKind
    notes: tuple[str, ...]
    """What is left out of the graph."""


def find_ending(model: ModelProto, output: Output) -> Ending:
    """Find the scores of a declared output.

    Raises:
        ConfigError: If there is no such output.
        BundleError: If classes are declared that come from no ArgMax.
    """
    given, notes = _name(model, output), []
    made, axis = producers(model), CHANNELS[output.layout]
    kind: ScoreKind = "logits"
    if output.kind == "classes":
        given = _before_argmax(made, given, axis)
        kind = "probabilities" if _softmax(made, given, axis) else "logits"
        notes.append("the ArgMax at the end is replaced, for the confidence")
    elif output.kind == "probabilities":
        kind = "probabilities"
    scores, scores_kind = given, kind
    softmax = _softmax(made, given, axis)
    if kind == "probabilities" and softmax is not None:
        scores, scores_kind = softmax.input[0], "logits"
        notes.append("the Softmax at the end is replaced by the one of all bundles")
    return Ending(
        given=given,
        given_kind=kind,
        scores=scores,
        scores_kind=scores_kind,
        notes=tuple(notes),
    )


def _name(model: ModelProto, output: Output) -> str:
    names = [value.name for value in model.graph.output]
    if output.output in names:
        return output.output
    if not output.output and len(names) == 1:
        return str(names[0])
    asked = f"output.output is '{output.output}'" if output.output else "output.output is not given"
    raise ConfigError(
        f"{asked}, and the graph gives {', '.join(names)}; expected one of them; correct the "
        "declaration"
    )


def _before_argmax(made: dict[str, NodeProto], name: str, axis: int) -> str:
    node = made.get(name)
    while node is not None and node.op_type in PASSING:
        node = made.get(node.input[0])
    if node is None or node.op_type != "ArgMax" or _axis(node, 0) not in (axis, axis - 4):
        found = "an input" if node is None else node.op_type
        raise BundleError(
            f"the classes '{name}' come from {found}; expected an ArgMax over axis {axis}, so that "
            "the scores before it give the confidence; export the model without its last step and "
            'declare kind = "logits" or "probabilities"'
        )
    return str(node.input[0])


def _softmax(made: dict[str, NodeProto], name: str, axis: int) -> NodeProto | None:
    node = made.get(name)
    while node is not None and node.op_type == "Identity":
        node = made.get(node.input[0])
    over = node is not None and node.op_type == "Softmax" and _axis(node, -1) in (axis, axis - 4)
    return node if over else None


def _axis(node: NodeProto, default: int) -> int:
    for attribute in node.attribute:
        if attribute.name == "axis":
            return int(onnx.helper.get_attribute_value(attribute))
    return default
