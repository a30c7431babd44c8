"""Rewrite what OpenVINO computes wrongly, or slowly, in graphs that it has read and not compiled.

What is rewritten stays the same function of its inputs, but for `products_in_fp32`, where inputs
are no longer rounded.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANGES = range(1, 5)
"""Inputs of OpenVINO's FakeQuantize after the first: where its steps begin and end."""

GELU_LINEAR = 2 * (2 / np.pi) ** 0.5
"""2 sqrt(2 / pi): GELU by tanh is x / (1 + exp(-z)) with z = x (GELU_LINEAR + GELU_CUBIC x^2).
Reference: Hendrycks and Gimpel 2016, arXiv 1606.08415, with tanh(z / 2) = 2 / (1 + exp(-z)) - 1."""

GELU_CUBIC = 0.044715 * GELU_LINEAR


def round_before_joining(model: Any) -> None:
    """Round each map by itself before they are joined.

        Concat -> QuantizeLinear            a map each -> QuantizeLinear -> Concat

    Both are the same number by number. Of the left one OpenVINO (2026.4) rounds the maps to whole
    numbers in place of steps of the scale, where the integers are signed.

    Args:
        model: Graph of a part, which is changed.
    """
    from openvino import opset8

    for rounding in _of_kind(model, "FakeQuantize"):
        takers = _takers(rounding)
        if len(takers) != 1:
            continue
        join, convert = rounding.input_value(0).get_node(), takers[0].get_node()
        if _kind(join) == "Convert":  # FP16 is rounded as FP32.
            join = join.input_value(0).get_node()
        if _kind(join) != "Concat" or _kind(convert) != "Convert":
            continue
        ranges = [rounding.input_value(index) for index in RANGES]
        if any(value.get_shape() for value in ranges):
            continue
        levels, kind = rounding.get_attributes()["levels"], _type(convert)
        maps = [opset8.convert(value, _type(rounding)) for value in join.input_values()]
        rounded = [
            opset8.convert(opset8.fake_quantize(value, *ranges, levels), kind) for value in maps
        ]
        _put(opset8.concat(rounded, join.get_attributes()["axis"]), convert)


def gelu_by_exponential(model: Any) -> None:
    """Compute GELU by its approximation with tanh as a quotient with one exponential.

    Both are the same function. OpenVINO's tanh is a table, which processors with AVX2 read one
    number at a time: the exponential takes a quarter of the time there.

    Args:
        model: Graph of a part, which is changed.
    """
    from openvino import opset8

    for gelu in _of_kind(model, "Gelu"):
        if gelu.get_attributes()["approximation_mode"].upper() != "TANH":
            continue
        # FP16 is too coarse for the factors; where FP32 is computed anyway, both casts are nothing.
        x = opset8.convert(gelu.input_value(0), np.float32)
        linear, cubic = (np.float32(-factor) for factor in (GELU_LINEAR, GELU_CUBIC))
        slope = opset8.add(opset8.multiply(opset8.multiply(x, x), cubic), linear)
        whole = opset8.add(opset8.exp(opset8.multiply(x, slope)), np.float32(1))
        _put(opset8.convert(opset8.divide(x, whole), _type(gelu)), gelu)


def products_in_fp32(model: Any) -> None:
    """Multiply matrices by their INT8 weights in FP32, without rounding what is multiplied.

    Convolutions stay as they are. Where INT8 takes three instructions for what VNNI does in one,
    OpenVINO's products of INT8 matrices take 1.4 times as long as those of FP32.

    Args:
        model: Graph of a part, which is changed.
    """
    from openvino import opset8

    for product in _of_kind(model, "MatMul"):
        rounding, weights = _rounding(product.input_value(0)), _folded(product.input_value(1))
        if rounding is None or weights is None:
            continue
        kind = _type(product)
        taken = opset8.convert(rounding.input_value(0), kind)
        product.input(0).replace_source_output(taken.output(0))
        constant = opset8.convert(opset8.constant(weights), kind)
        product.input(1).replace_source_output(constant.output(0))


def _rounding(value: Any) -> Any:
    """Follow what Q/DQ gives back to its FakeQuantize, and give that; None if there is none."""
    node = value.get_node()
    while _kind(node) in ("Multiply", "Subtract", "Convert"):
        node = node.input_value(0).get_node()
    return node if _kind(node) == "FakeQuantize" else None


def _folded(value: Any) -> NDArray[np.float32] | None:
    """Compute what DequantizeLinear makes of a constant; None if it is given anything else."""
    node = value.get_node()
    kind = _kind(node)
    if kind == "Constant":
        constant: NDArray[np.float32] = node.get_data().astype(np.float32)
        return constant
    if kind not in ("Convert", "Reshape", "Multiply", "Subtract"):
        return None
    left = _folded(node.input_value(0))
    if left is None or kind == "Convert":
        return left
    if kind == "Reshape":
        return left.reshape(list(value.get_shape()))
    right = _folded(node.input_value(1))
    if right is None:
        return None
    return left * right if kind == "Multiply" else left - right


def _of_kind(model: Any, kind: str) -> Iterator[Any]:
    return (node for node in model.get_ordered_ops() if _kind(node) == kind)


def _put(node: Any, replaced: Any) -> None:
    for taker in _takers(replaced):
        taker.replace_source_output(node.output(0))


def _kind(node: Any) -> str:
    name: str = node.get_type_name()
    return name


def _type(node: Any) -> str:
    name: str = node.get_output_element_type(0).to_string()
    return name


def _takers(node: Any) -> list[Any]:
    return [taker for port in node.outputs() for taker in port.get_target_inputs()]
