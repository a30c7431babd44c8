"""Store quantised weights as INT8, with scales that FP16 can hold."""

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from runtime.openvino_session import SMALL_WEIGHT

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that multiply by weights."""

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
"""6e-8: nothing between this and 0 is an FP16 number."""

LARGEST = float(np.finfo(np.float16).max)

FULL_LEVELS = 127
"""Largest INT8 weight where all levels are used, those below 0 alike."""


def fold_weights(model: ModelProto, *, full_range: bool = False) -> int:
    """Replace every QuantizeLinear of a constant by the INT8 constant, in place.

    Scales, of activations too, become FP16 numbers first, and never 0: a channel whose weights are
    nearly 0 has a scale of 1e-8, which FP16 does not hold. The integers are made with the scale as
    it is stored.

    Args:
        model: Graph with Q/DQ around weights, whose scales map the largest one to 127.
        full_range: Keep all levels; otherwise, weights go to -64..64, with larger scales, which x86
            processors without VNNI sum exactly.

    Returns:
        How many constants are INT8 now.
    """
    constants = {item.name: item for item in model.graph.initializer}
    folded = [node for node in _quantizers(model) if node.input[0] in constants]
    levels = FULL_LEVELS if full_range else SMALL_WEIGHT
    of_weights = {node.input[1] for node in folded}
    for name in {node.input[1] for node in _quantizers(model)}:
        scale = numpy_helper.to_array(constants[name])
        if name in of_weights:
            half = as_half(scale * np.float32(FULL_LEVELS / levels), levels=levels)
        else:
            half = as_half(scale)
        constants[name].CopyFrom(numpy_helper.from_array(half, name))
    for node in folded:
        weight, scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input)
        integers = _integers(weight, scale, zero, _axis(node), levels)
        model.graph.initializer.append(numpy_helper.from_array(integers, node.output[0]))
        model.graph.node.remove(node)
    _drop_unused(model)
    return len(folded)


def as_half(scale: NDArray[np.float32], *, levels: int = FULL_LEVELS) -> NDArray[np.float32]:
    """Round scales to FP16 numbers above 0; those beyond FP16 stay as they are.

    Tiny ones are rounded up, so that the largest weight still fits.

    Args:
        scale: What one level stands for; any shape.
        levels: Largest level.
    """
    rounded = np.clip(scale, SMALLEST, LARGEST).astype(np.float16)
    # Below 6.1e-5, FP16 has less than 11 bits: rounding down would cut off the largest weights.
    short = rounded.astype(np.float32) * (levels + 0.5) < scale * levels
    above = np.nextafter(np.minimum(rounded, np.float16(1.0)), np.float16(2.0))
    rounded = np.where(short, above, rounded)
    return np.where(scale > LARGEST, scale, rounded.astype(np.float32)).astype(np.float32)


def round_tiny_weights(model: ModelProto, keep: set[str]) -> None:
    """Round weights that FP16 does not hold to 0, in place.

    AutoCast stores 6e-8 for each of them, whatever its sign, so that a sum of small terms gets an
    offset.

    Args:
        model: Any graph.
        keep: Names of nodes that stay in FP32: their weights stay as they are.
    """
    uses = Counter(name for node in model.graph.node for name in node.input)
    half = {
        name
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.name not in keep
        for name in node.input
        if uses[name] == 1
    }
    for item in model.graph.initializer:
        if item.name in half and item.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(item)
            tiny = np.abs(values) < SMALLEST
            if values[tiny].any():
                kept = np.where(tiny, np.float32(0.0), values)
                item.CopyFrom(numpy_helper.from_array(kept, item.name))


def _quantizers(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "QuantizeLinear"]


def _axis(node: NodeProto) -> int:
    for attribute in node.attribute:
        if attribute.name == "axis":
            return int(onnx.helper.get_attribute_value(attribute))
    return 1


def _integers(
    weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    zero: NDArray[np.int8],
    axis: int,
    largest: int,
) -> NDArray[np.int8]:
    if scale.ndim == 1:
        shape = [-1 if i == axis % weight.ndim else 1 for i in range(weight.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    levels = np.rint(weight.astype(np.float64) / scale) + zero
    return np.clip(levels, -largest, largest).astype(zero.dtype)


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    used.update(value.name for value in model.graph.output)
    for item in [item for item in model.graph.initializer if item.name not in used]:
        model.graph.initializer.remove(item)
