"""Rules that every exported graph keeps; each one is a fault that users of others have met.

versions      opset 17 to 20 and IR 10, which the oldest supported runtimes read
interface     names, types and shapes of the manifest; only the batch varies
operators     no data-dependent shapes, branches, loops or random numbers
sizes         all sizes inside follow from the batch
norms         no BatchNormalization, no LayerNormalization taken apart
resize        linear, pixel corners on pixel corners, no smoothing; or pixels that are repeated
uint8         goes into a Cast and comes out of a Cast from float32, or TensorRT refuses it
indices       no ArgMax leaves the graph in 64 bits, which are eight times the bytes to copy
raw           inputs are scaled before they are cast to FP16
constants     finite, and no mask of -1e9 where FP16 is
transposed    no Q/DQ on transposed convolutions, unless they are wanted
precision     the work is done in the precision that was asked for
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from runtime.errors import BundleError
from runtime.manifest import Manifest, PartSpec, TensorSpec

from .lint_graph import DOMAINS, LintGraph
from .lint_precision import constants, precision, raw, transposed
from .to_onnx import IR_VERSION

OPSETS = range(17, 21)

DYNAMIC = frozenset({"NonZero", "Unique", "Compress", "If", "Loop", "Scan"})
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    | {"Multinomial", "Bernoulli", "Dropout"}
)

DTYPES: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}

IMPORTED = frozenset({"norms", "resize"})
"""Rules that graphs of other makers may break: these are ways to build a model that runs as it is,
but that is better built anew."""

INDICES = (TensorProto.INT64, TensorProto.INT32)
"""Types of ArgMax; what leaves in one of them breaks the rule of that name only."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a graph breaks."""

    rule: str
    text: str
    """What was found and expected."""


def lint(model: ModelProto, spec: PartSpec, *, transposed: bool = False) -> tuple[Finding, ...]:
    """Check a graph against every rule; the graph should hold inferred shapes.

    Args:
        model: Any graph.
        spec: What the manifest says of it, its precision too.
        transposed: Whether Q/DQ on transposed convolutions are wanted.
    """
    graph = LintGraph(model, transposed=transposed)
    return tuple(Finding(name, text) for name, rule in RULES.items() for text in rule(graph, spec))


def require_clean(
    model: ModelProto,
    spec: PartSpec,
    *,
    transposed: bool = False,
    allowed: Collection[str] = (),
) -> None:
    """Refuse a graph that breaks a rule; see `lint`.

    Args:
        model: Any graph.
        spec: What the manifest says of it.
        transposed: Whether Q/DQ on transposed convolutions are wanted.
        allowed: Rules that it may break; see `allowed_rules`.

    Raises:
        BundleError: Naming the part and the first rule.
    """
    found = lint(model, spec, transposed=transposed)
    findings = [finding for finding in found if finding.rule not in allowed]
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise BundleError(
            f"the graph of part '{spec.name}' breaks the rule '{findings[0].rule}': "
            f"{findings[0].text}{more}; change the model, or export with the versions of "
            "torch and onnx in constraints/"
        )


def allowed_rules(manifest: Manifest) -> frozenset[str]:
    """Rules that the graphs of a bundle may break: some of them if its graphs are a stranger's."""
    return IMPORTED if manifest.model.imported else frozenset()


def _versions(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    opsets = {item.domain: item.version for item in graph.model.opset_import}
    if set(opsets) != {""} or opsets[""] not in OPSETS:
        yield f"opsets {opsets}; expected one of 17 to 20 in the default domain alone"
    if graph.model.ir_version != IR_VERSION:
        yield f"IR version {graph.model.ir_version}; expected {IR_VERSION}"


def _interface(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    indices = {value.name for value in graph.model.graph.output if _is_index(value)}
    pairs = ((graph.model.graph.input, spec.inputs), (graph.model.graph.output, spec.outputs))
    for values, specs in pairs:
        found = [_described(value) for value in values if value.name not in indices]
        expected = [_expected(tensor) for tensor in specs if tensor.name not in indices]
        if found != expected:
            yield f"{', '.join(found)}; expected {', '.join(expected)}"


def _is_index(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type in INDICES


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    sizes = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return f"{value.name} {DTYPES.get(tensor.elem_type, str(tensor.elem_type))}{sizes}"


def _expected(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}{list(spec.shape)}"


def _sizes(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    if graph.is_foreign or any(node.op_type in DYNAMIC for node in graph.nodes):
        return
    model = _with_sizes(graph.model, spec)
    for value in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info:
        tensor = value.type.tensor_type
        if not tensor.HasField("shape") or not all(
            d.HasField("dim_value") for d in tensor.shape.dim
        ):
            sizes = [dim.dim_value or "?" for dim in tensor.shape.dim]
            yield f"{value.name} has sizes {sizes} for a batch of 1; expected them to be known"
            return


def _with_sizes(model: ModelProto, spec: PartSpec) -> ModelProto:
    """One tile of the manifest's size, and nothing known of the values after it."""
    single = ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for value in single.graph.output:
        value.type.tensor_type.ClearField("shape")
    shapes = {tensor.name: tensor.with_batch(1) for tensor in spec.inputs}
    for value in single.graph.input:
        shape = shapes.get(value.name, ())
        if len(shape) == len(value.type.tensor_type.shape.dim):
            for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
                dim.dim_value = size
    return single


def _operators(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type in DYNAMIC | RANDOM or node.domain not in DOMAINS:
            yield f"{node.op_type} ({node.name}); expected none"


def _norms(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type == "BatchNormalization":
            yield f"BatchNormalization ({node.name}); expected a convolution, or Mul and Add"
        if node.op_type == "ReduceMean" and _is_variance(graph, node):
            yield f"a LayerNormalization in pieces ({node.name}); expected one operator"


def _is_variance(graph: LintGraph, node: NodeProto) -> bool:
    """Mean of the square of (x - mean of x), with or without changes of type between them."""
    square = graph.producers.get(graph.source(node.input[0]))
    if square is None or square.op_type not in ("Pow", "Mul"):
        return False
    centred = graph.producers.get(graph.source(square.input[0]))
    if centred is None or centred.op_type != "Sub":
        return False
    value, average = (graph.source(name) for name in centred.input)
    mean = graph.producers.get(average)
    return (
        mean is not None and mean.op_type == "ReduceMean" and graph.source(mean.input[0]) == value
    )


def _resize(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    defaults = {
        "mode": b"nearest",
        "coordinate_transformation_mode": b"half_pixel",
        "antialias": 0,
        "nearest_mode": b"round_prefer_floor",
    }
    # PyTorch's half pixels differ only where the output is one pixel wide.
    good = ("half_pixel", "pytorch_half_pixel")
    for node in graph.nodes:
        if node.op_type != "Resize":
            continue
        values: dict[str, Any] = dict(defaults)
        values.update({a.name: onnx.helper.get_attribute_value(a) for a in node.attribute})
        corners = values["coordinate_transformation_mode"].decode()
        # The one way to the nearest pixel that no library rounds otherwise.
        repeats = values["mode"] == b"nearest" and values["nearest_mode"] == b"floor"
        if repeats and corners == "asymmetric":
            continue
        if values["mode"] != b"linear" or corners not in good or values["antialias"]:
            yield (
                f"a resize {values['mode'].decode()}, {corners}, antialias {values['antialias']} "
                f"({node.name}); expected linear, half_pixel, without antialias"
            )


def _uint8(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
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


def _indices(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    for value in graph.model.graph.output:
        if _is_index(value):
            kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
            yield f"{value.name} leaves as {kind}; expected a Cast to float32 and one to uint8"


RULES: dict[str, Callable[[LintGraph, PartSpec], Iterator[str]]] = {
    "versions": _versions,
    "interface": _interface,
    "operators": _operators,
    "sizes": _sizes,
    "norms": _norms,
    "resize": _resize,
    "uint8": _uint8,
    "indices": _indices,
    "raw": raw,
    "constants": constants,
    "transposed": transposed,
    "precision": precision,
}
