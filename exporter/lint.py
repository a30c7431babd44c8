"""Rules that every exported graph keeps; each one is a fault that users of others have met.

versions      opset 17 to 20 and IR 10, which the oldest supported runtimes read
interface     names, types and shapes of the manifest; only the batch varies
operators     no data-dependent shapes, branches, loops or random numbers
norms         no BatchNormalization, no LayerNormalization taken apart
resize        linear, pixel corners on pixel corners, no smoothing
uint8         goes into a Cast and comes out of a Cast from float32, or TensorRT refuses it
precision     weights have the type that was asked for
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from runtime.errors import BundleError
from runtime.manifest import PartSpec, TensorSpec

from .to_onnx import IR_VERSION

OPSETS = range(17, 21)

DYNAMIC = frozenset({"NonZero", "Unique", "Compress", "If", "Loop", "Scan"})
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    | {"Multinomial", "Bernoulli", "Dropout"}
)

DTYPES: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}

FLOATS = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a graph breaks."""

    rule: str
    text: str
    """What was found and expected."""


def lint(model: ModelProto, spec: PartSpec) -> tuple[Finding, ...]:
    """Check a graph against every rule; the graph should hold inferred shapes."""
    graph = _Graph(model)
    return tuple(Finding(name, text) for name, rule in RULES.items() for text in rule(graph, spec))


def require_clean(model: ModelProto, spec: PartSpec) -> None:
    """Refuse a graph that breaks a rule.

    Raises:
        BundleError: Naming the part and the first rule.
    """
    findings = lint(model, spec)
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise BundleError(
            f"the graph of part '{spec.name}' breaks the rule '{findings[0].rule}': "
            f"{findings[0].text}{more}; change the model, or export with the versions of "
            "torch and onnx in constraints/"
        )


def found_precision(model: ModelProto) -> str:
    """Precision of a graph by what it holds: int8 with Q/DQ, else the types of its weights."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    types = {item.data_type for item in model.graph.initializer}
    found = [name for kind, name in FLOATS.items() if kind in types]
    return "/".join(found) or "fp32"


class _Graph:
    """A graph, with who gives and who takes each value."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.takers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)

    def before(self, node: NodeProto, index: int = 0) -> NodeProto | None:
        """The node that gives an input of a node."""
        return self.producers.get(node.input[index]) if len(node.input) > index else None


def _versions(graph: _Graph, spec: PartSpec) -> Iterator[str]:
    opsets = {item.domain: item.version for item in graph.model.opset_import}
    if set(opsets) != {""} or opsets[""] not in OPSETS:
        yield f"opsets {opsets}; expected one of 17 to 20 in the default domain alone"
    if graph.model.ir_version != IR_VERSION:
        yield f"IR version {graph.model.ir_version}; expected {IR_VERSION}"


def _interface(graph: _Graph, spec: PartSpec) -> Iterator[str]:
    pairs = ((graph.model.graph.input, spec.inputs), (graph.model.graph.output, spec.outputs))
    for values, specs in pairs:
        found, expected = [_described(value) for value in values], [_expected(s) for s in specs]
        if found != expected:
            yield f"{', '.join(found)}; expected {', '.join(expected)}"


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    sizes = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return f"{value.name} {DTYPES.get(tensor.elem_type, str(tensor.elem_type))}{sizes}"


def _expected(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}{list(spec.shape)}"


def _operators(graph: _Graph, spec: PartSpec) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type in DYNAMIC | RANDOM or node.domain not in ("", "ai.onnx"):
            yield f"{node.op_type} ({node.name}); expected none"


def _norms(graph: _Graph, spec: PartSpec) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type == "BatchNormalization":
            yield f"BatchNormalization ({node.name}); expected a convolution, or Mul and Add"
        if node.op_type == "ReduceMean" and _is_variance(graph, node):
            yield f"a LayerNormalization in pieces ({node.name}); expected one operator"


def _is_variance(graph: _Graph, node: NodeProto) -> bool:
    """Mean of the square of (x - mean of x)."""
    square = graph.before(node)
    if square is None or square.op_type not in ("Pow", "Mul"):
        return False
    centred = graph.before(square)
    if centred is None or centred.op_type != "Sub":
        return False
    mean = graph.before(centred, 1)
    return mean is not None and mean.op_type == "ReduceMean" and mean.input[0] == centred.input[0]


def _resize(graph: _Graph, spec: PartSpec) -> Iterator[str]:
    defaults = {"mode": b"nearest", "coordinate_transformation_mode": b"half_pixel", "antialias": 0}
    # PyTorch's half pixels differ only where the output is one pixel wide.
    good = ("half_pixel", "pytorch_half_pixel")
    for node in graph.nodes:
        if node.op_type != "Resize":
            continue
        values: dict[str, Any] = dict(defaults)
        values.update({a.name: onnx.helper.get_attribute_value(a) for a in node.attribute})
        corners = values["coordinate_transformation_mode"].decode()
        if values["mode"] != b"linear" or corners not in good or values["antialias"]:
            yield (
                f"a resize {values['mode'].decode()}, {corners}, antialias {values['antialias']} "
                f"({node.name}); expected linear, half_pixel, without antialias"
            )


def _uint8(graph: _Graph, spec: PartSpec) -> Iterator[str]:
    for tensor in spec.inputs:
        takers = graph.takers.get(tensor.name, [])
        if tensor.dtype == "uint8" and [node.op_type for node in takers] != ["Cast"]:
            kinds = ", ".join(node.op_type for node in takers) or "nothing"
            yield f"{tensor.name} goes into {kinds}; expected one Cast"
    for tensor in spec.outputs:
        cast = graph.producers.get(tensor.name)
        if tensor.dtype != "uint8" or cast is None:
            continue
        source = graph.before(cast)
        integer = source is not None and source.op_type in ("ArgMax", "ArgMin")
        if cast.op_type != "Cast" or integer:
            given = source.op_type if integer and source is not None else cast.op_type
            yield f"{tensor.name} comes from {given}; expected a Cast from float32"


def _precision(graph: _Graph, spec: PartSpec) -> Iterator[str]:
    found = found_precision(graph.model)
    if found != spec.precision:
        yield f"weights in {found}; {spec.precision} was asked for"


RULES: dict[str, Callable[[_Graph, PartSpec], Iterator[str]]] = {
    "versions": _versions,
    "interface": _interface,
    "operators": _operators,
    "norms": _norms,
    "resize": _resize,
    "uint8": _uint8,
    "precision": _precision,
}
