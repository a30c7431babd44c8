"""Prove from a graph which precision its work is done in: shares of multiply-accumulates.

Asked for INT8 and given FP32 is what exporters do when a calibration file is missing or a flag is
gone (DeepStream-Yolo #349, rf-detr #1453). What counts is where the multiplications are, not
whether a node of some kind is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from runtime.errors import BundleError
from runtime.manifest import Precision

from .int8_nodes import WEIGHTED

LEAST_FP16 = 0.9
"""Share of the work of an FP16 part that is in FP16."""

LEAST_INT8 = 0.5
"""Share of the work of an INT8 part that is in INT8; TensorRT gains nothing from small layers."""

REMEDIES: dict[Precision, str] = {
    "fp32": "export the checkpoint again",
    "fp16": "keep fewer nodes in FP32, or leave the part in fp32",
    "int8": "quantise more nodes, or leave the part in fp16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MacShares:
    """Share of multiply-accumulates in each precision; all 0 where a graph has none."""

    int8: float
    fp16: float
    fp32: float

    def __str__(self) -> str:
        """Such as `62 % INT8, 38 % FP16`."""
        named = (("INT8", self.int8), ("FP16", self.fp16), ("FP32", self.fp32))
        shares = [f"{100 * share:.0f} % {name}" for name, share in named if share]
        return ", ".join(shares) or "no multiplications"


def mac_shares(model: ModelProto) -> MacShares:
    """Count the multiply-accumulates of one tile by precision.

    Convolutions, transposed ones and products of matrices count. One is in INT8 if both factors
    come from DequantizeLinear: TensorRT then runs it as one INT8 kernel.

    Args:
        model: Any graph whose sizes follow from a batch of 1.

    Raises:
        ValueError: If the size of a product does not follow from the inputs.
    """
    shapes, types = _inferred(model)
    from_int8 = _dequantized(model)
    counts = {"int8": 0, "fp16": 0, "fp32": 0}
    for node in model.graph.node:
        macs = _macs(node, shapes)
        if from_int8.issuperset(node.input[:2]):
            counts["int8"] += macs
        else:
            is_half = types.get(node.output[0]) == TensorProto.FLOAT16
            counts["fp16" if is_half else "fp32"] += macs
    total = max(sum(counts.values()), 1)
    return MacShares(**{name: count / total for name, count in counts.items()})


def work_shares(model: ModelProto) -> dict[str, float]:
    """Share of each node in the multiply-accumulates of one tile, 0 to 1, by name.

    Raises:
        ValueError: If the size of a product does not follow from the inputs.
    """
    shapes, _ = _inferred(model)
    counts = {node.name: _macs(node, shapes) for node in model.graph.node}
    total = max(sum(counts.values()), 1)
    return {name: count / total for name, count in counts.items()}


def int8_layers(model: ModelProto) -> float:
    """Share of the layers with weights that are in INT8, 0 to 1; 0 where a graph has none."""
    from_int8 = _dequantized(model)
    layers = [node for node in model.graph.node if node.op_type in WEIGHTED]
    return sum(from_int8.issuperset(node.input[:2]) for node in layers) / max(len(layers), 1)


def _dequantized(model: ModelProto) -> set[str]:
    return {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}


def shortfall(shares: MacShares, asked: Precision) -> str:
    """Say what is missing of a precision; empty if nothing is.

    FP32 means all of the work, FP16 at least 90 %, INT8 at least half; a part without
    multiplications has nothing to miss.
    """
    found, least = {
        "fp32": (shares.fp32, 1.0),
        "fp16": (shares.fp16, LEAST_FP16),
        "int8": (shares.int8, LEAST_INT8),
    }[asked]
    if found >= least or not (shares.int8 or shares.fp16 or shares.fp32):
        return ""
    return f"{shares} of the multiplications; expected at least {100 * least:.0f} % {asked.upper()}"


def require_precision(model: ModelProto, asked: Precision, part: str) -> MacShares:
    """Refuse a part whose work is not done in the precision that was asked for.

    Raises:
        BundleError: Naming the part, what was asked for and what was found; see `shortfall`. Or
            the size of a product does not follow from the inputs.
    """
    try:
        shares = mac_shares(model)
    except ValueError as error:
        raise BundleError(
            f"part '{part}' in {asked}: {error}; expected sizes that follow from a batch of 1; "
            f"{REMEDIES['fp32']}"
        ) from error
    missing = shortfall(shares, asked)
    if missing:
        raise BundleError(
            f"part '{part}' was asked for in {asked} and has {missing}; {REMEDIES[asked]}"
        )
    return shares


Shapes = Mapping[str, Sequence[int]]


def _inferred(model: ModelProto) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Sizes for a batch of 1, and element types, by the name of the value; 0: not known."""
    single = ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for value in (*single.graph.input, *single.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in values}
    shapes.update({item.name: list(item.dims) for item in graph.initializer})
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return shapes, types


def _macs(node: NodeProto, shapes: Shapes) -> int:
    if node.op_type not in WEIGHTED:
        return 0
    left, right, out = (shapes.get(name, ()) for name in (*node.input[:2], node.output[0]))
    if not all((left, right, out, *left, *right, *out)):
        raise ValueError(f"the sizes of {node.op_type} ({node.name}) are not known")
    if node.op_type == "Conv":
        # Each number of the result sums over one filter: [out, in / group, kernel...].
        return prod((*out, *right[1:]))
    if node.op_type == "ConvTranspose":
        # Each number that is taken goes into one filter: [in, out / group, kernel...].
        return prod((*left, *right[1:]))
    is_transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod((*out, left[0 if is_transposed else -1]))
