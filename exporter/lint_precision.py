"""Rules on what FP16 and INT8 do to a graph; see `lint`."""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from runtime.manifest import PartSpec, TensorSpec

from .lint_graph import LintGraph, cast_type
from .proof import LEAST_FP16, LEAST_INT8, MacShares, mac_shares, shortfall

FLOATS = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}

HALF_MAX = float(np.finfo(np.float16).max)

RAW = ("satellite", "days")
"""Inputs in floating point whose numbers mean something only when scaled."""

ARITHMETIC = frozenset({"Sub", "Add", "Mul", "Div"})

PASSING = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice"}
    | {"Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"}
)
"""Operators that hand numbers on as they are."""


def found_precision(model: ModelProto) -> str:
    """Precision of a graph: the one that has enough of its multiplications, else what it holds.

    Returns:
        `int8`, `fp16` or `fp32`; the shares where none has enough; and types of constants, such as
        `fp32/fp16`, where there are no multiplications, or all are in FP32.
    """
    shares = mac_shares(model)
    if shares.int8 >= LEAST_INT8:
        return "int8"
    if shares.fp16 >= LEAST_FP16:
        return "fp16"
    if shares not in (_NONE, _FULL):
        return str(shares)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    types = {item.data_type for item in model.graph.initializer}
    found = [name for kind, name in FLOATS.items() if kind in types]
    return "/".join(found) or "fp32"


_NONE = MacShares(int8=0.0, fp16=0.0, fp32=0.0)
_FULL = MacShares(int8=0.0, fp16=0.0, fp32=1.0)


def precision(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    """The work is done in the precision that was asked for."""
    if graph.is_foreign:
        return
    try:
        found = found_precision(graph.model)
        missing = shortfall(mac_shares(graph.model), spec.precision)
    except ValueError as error:
        yield f"{error}; expected sizes that are known for a batch of 1"
        return
    if spec.precision == "fp32" and found != "fp32":
        yield f"weights in {found}; fp32 was asked for"
    elif missing:
        yield f"{missing}; {spec.precision} was asked for"


def raw(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    """Inputs are scaled before FP16, which has whole numbers up to 2048 only."""
    for tensor in spec.inputs:
        if tensor.dtype == "uint8" or tensor.name in RAW:
            yield from _scaled_in_half(graph, tensor)


def _scaled_in_half(graph: LintGraph, tensor: TensorSpec) -> Iterator[str]:
    """Follow an input to where something is computed of it."""
    waiting: list[tuple[NodeProto, bool]]
    waiting = [(node, False) for node in graph.takers.get(tensor.name, [])]
    seen = set()
    while waiting:
        node, is_half = waiting.pop()
        if (node.output[0], is_half) in seen:
            continue
        seen.add((node.output[0], is_half))
        if node.op_type in PASSING:
            to = cast_type(node)
            half = to == TensorProto.FLOAT16 if to else is_half
            waiting += [(taker, half) for name in node.output for taker in _of(graph, name)]
        elif is_half and (node.op_type in ARITHMETIC or tensor.dtype == "uint8"):
            yield (
                f"{tensor.name} is cast to FP16 before {node.op_type} ({node.name}); expected it "
                "to be scaled in FP32"
            )


def _of(graph: LintGraph, name: str) -> list[NodeProto]:
    return graph.takers.get(name, [])


def constants(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    """Constants are finite, and in FP16 none is at its end, where masks like -1e9 land."""
    half = any(cast_type(node) == TensorProto.FLOAT16 for node in graph.nodes)
    half = half or spec.precision != "fp32"
    for name, values in graph.constants():
        largest = float(np.abs(values).max(initial=0.0))
        if np.isnan(largest) or (half and np.isinf(largest)):
            yield f"the constant {name} is not finite; expected a mask such as -1000"
        elif values.dtype == np.float16 and largest >= HALF_MAX:
            yield f"the constant {name} is {largest:g} in FP16; expected a mask such as -1000"
        elif half and largest > HALF_MAX and _goes_into_half(graph, name):
            yield (
                f"the constant {name} is {largest:g}, and goes into FP16, which ends at 65504; "
                "expected a mask such as -1000"
            )


def _goes_into_half(graph: LintGraph, name: str) -> bool:
    """Whether a constant is cast to FP16, or what one operator makes of it."""
    takers = _of(graph, name)
    after = [other for node in takers for value in node.output for other in _of(graph, value)]
    return any(cast_type(node) == TensorProto.FLOAT16 for node in (*takers, *after))


def transposed(graph: LintGraph, spec: PartSpec) -> Iterator[str]:
    """Transposed convolutions have no Q/DQ, which TensorRT has few kernels for."""
    for node in graph.nodes:
        if node.op_type != "ConvTranspose" or graph.transposed:
            continue
        if any(_is_dequantized(graph, name) for name in node.input):
            yield f"Q/DQ on ConvTranspose ({node.name}); expected none"


def _is_dequantized(graph: LintGraph, name: str) -> bool:
    node = graph.producers.get(name)
    return node is not None and node.op_type == "DequantizeLinear"
