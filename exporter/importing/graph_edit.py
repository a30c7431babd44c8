"""Cut, rename and read graphs: what the steps of an import share."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx
from onnx import ModelProto, NodeProto

from runtime.errors import BundleError, brief

INSIDE = "model/"
"""Beginning of all names inside the stranger's graph."""


def producers(model: ModelProto) -> dict[str, NodeProto]:
    """The node that gives each value."""
    return {name: node for node in model.graph.node for name in node.output if name}


def needed(model: ModelProto, outputs: Iterable[str]) -> ModelProto:
    """Keep what leads to these values; inputs and constants without a use are dropped.

    Args:
        model: Any graph without subgraphs; it is not changed.
        outputs: Values of it, which become the outputs; their types are not set.
    """
    wanted = list(outputs)
    made, waiting, used = producers(model), list(wanted), set[str]()
    kept: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in used or not name:
            continue
        used.add(name)
        if name in made:
            kept.add(made[name].output[0])
            waiting.extend(made[name].input)
    known = {value.name: value for value in (*model.graph.output, *model.graph.value_info)}
    cut = onnx.ModelProto(ir_version=model.ir_version)
    cut.opset_import.extend(model.opset_import)
    cut.graph.name = model.graph.name or "model"
    cut.graph.node.extend(n for n in model.graph.node if n.output[0] in kept)
    cut.graph.initializer.extend(t for t in model.graph.initializer if t.name in used)
    cut.graph.input.extend(v for v in model.graph.input if v.name in used)
    cut.graph.output.extend(known.get(n, onnx.ValueInfoProto(name=n)) for n in wanted)
    return cut


def renamed(model: ModelProto, names: Mapping[str, str], prefix: str = "") -> None:
    """Rename values in place: those of `names` as it says, others by the prefix."""

    def new(name: str) -> str:
        # The empty text is an input that an operator may do without.
        return names.get(name, f"{prefix}{name}") if name else name

    graph = model.graph
    for node in graph.node:
        node.name = f"{prefix}{node.name}"
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.name = new(item.name)


@dataclass(frozen=True, slots=True)
class Known:
    """Type and sizes of a value."""

    kind: int
    """As `TensorProto` numbers them."""
    shape: tuple[int, ...] | None
    """None where it is not known."""


def known_values(model: ModelProto, batch: int) -> dict[str, Known]:
    """Infer type and sizes of every value for a batch.

    Raises:
        BundleError: If the graph contradicts itself.
    """
    single = ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for value in single.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    for value in single.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise BundleError(
            f"the sizes of the graph do not fit together ({brief(error)}); expected those of the "
            "declared inputs; correct tile_size, bands or layout"
        ) from error
    found = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        whole = tensor.HasField("shape") and None not in dims
        found[value.name] = Known(
            tensor.elem_type, tuple(d for d in dims if d is not None) if whole else None
        )
    return found


def constants(model: ModelProto) -> Collection[str]:
    """Names of the constants."""
    return {item.name for item in model.graph.initializer}
