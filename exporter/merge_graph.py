"""Join the graphs of the parts of a model into one.

aerial ──► aerial_logits ────┐                  every name inside a part gets the part's name
                             ├─► fusion ──►     before it; inputs of the model and outputs of
satellite ► satellite_logits ┘                  parts, by which they are joined, keep theirs
"""

from collections.abc import Mapping, Sequence

import onnx
from onnx import ModelProto, NodeProto

from runtime.errors import BundleError
from runtime.manifest import PartSpec, Precision, TensorSpec

from .lint_graph import cast_type
from .to_onnx import IR_VERSION

LOWEST_FIRST: tuple[Precision, ...] = ("int8", "fp16", "fp32")


def is_merged(parts: Sequence[PartSpec]) -> bool:
    """Tell whether the parts of a bundle are merged: then no branch is left by itself."""
    return all(part.role == "fusion" for part in parts)


def merged_spec(parts: Sequence[PartSpec], name: str) -> PartSpec:
    """Say what the manifest says of the graph that all parts make.

    Args:
        parts: Parts in the order in which they run; the last is a fusion.
        name: Name of the merged part.
    """
    given = {spec.name for part in parts for spec in part.outputs}
    inputs: dict[str, TensorSpec] = {}
    for part in parts:
        inputs.update({spec.name: spec for spec in part.inputs if spec.name not in given})
    found = {part.precision for part in parts}
    return PartSpec(
        name=name,
        role="fusion",
        file=f"{name}.onnx",
        precision=next(precision for precision in LOWEST_FIRST if precision in found),
        inputs=tuple(inputs.values()),
        outputs=parts[-1].outputs,
        variant=parts[-1].variant,
    )


def merge_graphs(parts: Sequence[PartSpec], models: Mapping[str, ModelProto]) -> ModelProto:
    """Join the parts' graphs, in their order.

    Args:
        parts: Parts in the order in which they run.
        models: Graph of each part by its name; they are not changed.

    Returns:
        One graph; its shapes are not inferred yet.

    Raises:
        BundleError: If the graphs are of different operator sets, or define functions.
    """
    kept = {spec.name for part in parts for spec in (*part.inputs, *part.outputs)}
    spec = merged_spec(parts, "merged")
    # Without a version, weights are looked for among the inputs.
    merged = ModelProto(ir_version=IR_VERSION)
    merged.opset_import.extend(_common_opsets(parts, models))
    merged.graph.name = spec.name
    inputs = {}
    for part in parts:
        graph = _renamed(models[part.name], part.name, kept)
        merged.graph.node.extend(graph.node)
        merged.graph.initializer.extend(graph.initializer)
        inputs.update({value.name: value for value in graph.input})
    merged.graph.input.extend(inputs[tensor.name] for tensor in spec.inputs)
    merged.graph.output.extend(models[parts[-1].name].graph.output)
    for tensor in spec.inputs:
        if tensor.dtype == "uint8":
            _share_cast(merged, tensor.name)
    return merged


def _common_opsets(
    parts: Sequence[PartSpec], models: Mapping[str, ModelProto]
) -> list[onnx.OperatorSetIdProto]:
    first = {item.domain: item.version for item in models[parts[0].name].opset_import}
    for part in parts:
        model = models[part.name]
        found = {item.domain: item.version for item in model.opset_import}
        if found != first or model.functions:
            what = "functions of its own" if found == first else f"the operator sets {found}"
            raise BundleError(
                f"part '{part.name}' has {what}; expected none, and the operator sets {first} of "
                f"part '{parts[0].name}'; export the checkpoint again before its parts are merged"
            )
    return list(models[parts[0].name].opset_import)


def _renamed(model: ModelProto, part: str, kept: set[str]) -> onnx.GraphProto:
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)

    def new(name: str) -> str:
        # The empty text is a node without a name, or an input that an operator may do without.
        return name if not name or name in kept else f"{part}/{name}"

    for node in graph.node:
        node.name = f"{part}/{node.name}" if node.name else ""
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for item in graph.initializer:
        item.name = new(item.name)
    return graph


def _share_cast(model: ModelProto, name: str) -> None:
    """Cast a uint8 input once where several parts take it: TensorRT wants it to go into one."""
    nodes = model.graph.node
    casts = [node for node in nodes if node.op_type == "Cast" and list(node.input) == [name]]
    first: dict[int, NodeProto] = {}
    for cast in casts:
        kind = cast_type(cast)
        if kind not in first:
            first[kind] = cast
            continue
        _replace(model, cast.output[0], first[kind].output[0])
        nodes.remove(cast)


def _replace(model: ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
