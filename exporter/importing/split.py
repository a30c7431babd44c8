"""Split a graph where its inputs meet.

    aerial ---- what takes nothing else ------ features --+
                                                          +-- what takes both -- scores
    satellite - what takes nothing else ------ features --+

Features are numbers in FP32 with the batch as their first axis; what computes anything else that is
wanted on the other side, such as a size, is computed there again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from runtime.manifest import PartSpec, Role, TensorSpec
from runtime.part_shapes import BATCH

from .graph_edit import Known, known_values, needed, producers, renamed
from .wrap import SCORES

SIDES: dict[str, Role] = {
    "aerial": "aerial",
    "satellite": "satellite",
    "date_mask": "satellite",
    "days": "satellite",
}
"""Branch of each input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of the model before the class map is put behind it."""

    spec: PartSpec
    model: ModelProto


def inputs_of(model: ModelProto) -> tuple[TensorSpec, ...]:
    """What a graph from `wrap` takes."""
    return tuple(
        TensorSpec(
            name=value.name,
            dtype="uint8" if value.type.tensor_type.elem_type == TensorProto.UINT8 else "float32",
            shape=tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim),
        )
        for value in model.graph.input
    )


def split(model: ModelProto, scores: TensorSpec) -> tuple[Piece, ...]:
    """Split a graph of both inputs; what takes one input only stays whole.

    Args:
        model: Graph from `settle`; it is not changed.
        scores: Its output; a graph of one input gives it under this name.

    Returns:
        The branches, and last what takes both, which gives `scores`; one piece, in the role of a
        fusion, where there are both inputs and no way to split.
    """
    roles = {SIDES[value.name] for value in model.graph.input}
    if len(roles) == 1:
        return (_piece(model, "aerial", roles.pop(), [SCORES], {SCORES: scores}),)
    crossing = _crossing(model)
    if crossing is None:
        return (_piece(model, "merged", "fusion", [SCORES], {SCORES: scores}),)
    pieces, taken = [], dict[str, TensorSpec]()
    branches: tuple[Role, ...] = ("aerial", "satellite")
    for role in branches:
        names = [name for name, (side, _) in crossing.items() if side == role]
        specs = {
            name: _feature(f"{role}_features_{index + 1}", crossing[name][1])
            for index, name in enumerate(names)
        }
        pieces.append(_piece(model, role, role, names, specs))
        taken.update(specs)
    pieces.append(_fusion(model, taken, scores))
    return tuple(pieces)


def _feature(name: str, known: Known) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=(BATCH, *(known.shape or ())[1:]))


def _crossing(model: ModelProto) -> dict[str, tuple[Role, Known]] | None:
    """Values that leave a branch, with the branch; None if one cannot be a feature."""
    sides = _sides(model)
    made, single, double = producers(model), known_values(model, 1), known_values(model, 2)
    both = [node for node in model.graph.node if len(sides[node.output[0]]) == 2]
    found: dict[str, tuple[Role, Known]] = {}
    waiting = [name for node in both for name in node.input]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        of = sides.get(name, frozenset())
        if name in seen or len(of) != 1:
            continue
        seen.add(name)
        if name in SIDES:
            return None
        if _is_feature(single.get(name), double.get(name)):
            (role,) = of
            found[name] = (role, single[name])
        else:
            waiting.extend(made[name].input)
    complete = {role for role, _ in found.values()} == {"aerial", "satellite"}
    return found if complete else None


def _sides(model: ModelProto) -> dict[str, frozenset[Role]]:
    """Which inputs each value follows from."""
    sides = {value.name: frozenset({SIDES[value.name]}) for value in model.graph.input}
    for node in model.graph.node:
        of: frozenset[Role] = frozenset().union(*(sides.get(n, frozenset()) for n in node.input))
        sides.update(dict.fromkeys(node.output, of))
    return sides


def _is_feature(single: Known | None, double: Known | None) -> bool:
    if single is None or double is None or single.kind != TensorProto.FLOAT:
        return False
    one, two = single.shape, double.shape
    return bool(one and two and len(one) > 1 and two == (2, *one[1:]) and one[0] == 1)


def _piece(
    model: ModelProto,
    name: str,
    role: Role,
    outputs: Sequence[str],
    specs: Mapping[str, TensorSpec],
) -> Piece:
    """Cut a piece out that ends in these values, under the names of their specs."""
    part = needed(model, outputs)
    _name_outputs(part, specs)
    spec = PartSpec(
        name=name,
        role=role,
        file=f"{name}.onnx",
        precision="fp32",
        inputs=inputs_of(part),
        outputs=tuple(specs[output] for output in outputs),
        variant="classes" if role == "fusion" else None,
    )
    return Piece(spec=spec, model=part)


def _fusion(model: ModelProto, taken: Mapping[str, TensorSpec], scores: TensorSpec) -> Piece:
    cut = ModelProto()
    cut.CopyFrom(model)
    nodes = [node for node in cut.graph.node if not set(node.output) & taken.keys()]
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del cut.graph.node[:]
    cut.graph.node.extend(kept)
    cut.graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, spec.shape)
        for name, spec in taken.items()
    )
    part = needed(cut, [SCORES])
    renamed(part, {name: spec.name for name, spec in taken.items()})
    _name_outputs(part, {SCORES: scores})
    spec = PartSpec(
        name="fusion",
        role="fusion",
        file="fusion.onnx",
        precision="fp32",
        inputs=inputs_of(part),
        outputs=(scores,),
        variant="classes",
    )
    return Piece(spec=spec, model=part)


def _name_outputs(model: ModelProto, specs: Mapping[str, TensorSpec]) -> None:
    renamed(model, {name: spec.name for name, spec in specs.items()})
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, spec.shape)
        for spec in specs.values()
    )
