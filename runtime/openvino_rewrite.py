"""Rewrite a graph for processors on which OpenVINO has no fast matrix product of INT8.

Without VNNI, OpenVINO multiplies INT8 matrices no faster than those of FP32, but convolves nearly
twice as fast. A product of tokens with weights is a convolution with a kernel of one pixel:

    (..., C) x (C, K)  =  Conv1x1((1, C, 1, positions), (K, C, 1, 1))

which gives the same sums of the same integers.
"""

from math import prod
from typing import Any

import numpy as np

MOST_DEPTH = 12
"""Nodes between a constant and the product that it is a weight of, such as Q/DQ."""


def project_by_convolution(model: Any) -> int:
    """Replace products of tokens with weights by convolutions.

    Args:
        model: An `openvino.Model` of static shapes; it is changed.

    Returns:
        How many products were replaced.
    """
    found = [node for node in model.get_ordered_ops() if _is_projection(node)]
    for node in found:
        node.output(0).replace(_convolved(node).output(0))
    return len(found)


def _is_projection(node: Any) -> bool:
    if node.get_type_name() != "MatMul" or node.get_attributes()["transpose_a"]:
        return False
    tokens, weights = node.input_values()
    return (
        tokens.get_partial_shape().is_static
        and len(tokens.get_partial_shape()) >= 2
        and len(weights.get_partial_shape()) == 2
        and _is_constant(weights, MOST_DEPTH)
        and not _is_constant(tokens, MOST_DEPTH)
    )


def _is_constant(value: Any, depth: int) -> bool:
    """Whether a value is the same for every input."""
    node = value.get_node()
    inputs = node.input_values()
    if not inputs:
        return bool(node.get_type_name() == "Constant")
    return depth > 0 and all(_is_constant(each, depth - 1) for each in inputs)


def _convolved(node: Any) -> Any:
    from openvino import opset8 as ops

    def order(*axes: int) -> Any:
        return ops.constant(np.array(axes, dtype=np.int64))

    tokens, weights = node.input_values()
    shape = tuple(tokens.get_shape())
    if not node.get_attributes()["transpose_b"]:
        weights = ops.transpose(weights, order(1, 0)).output(0)
    outputs, channels = weights.get_shape()
    kernel = ops.reshape(weights, order(outputs, channels, 1, 1), special_zero=False)
    image = ops.reshape(tokens, order(1, 1, prod(shape[:-1]), channels), special_zero=False)
    image = ops.transpose(image, order(0, 3, 1, 2))
    made = ops.convolution(image, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    made = ops.transpose(made, order(0, 2, 3, 1))
    return ops.reshape(made, order(*shape[:-1], outputs), special_zero=False)
