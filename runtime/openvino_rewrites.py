"""Rewrite what OpenVINO computes wrongly, or slowly, in graphs that it has read and not compiled.

What is rewritten stays the same function of its inputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GELU_LINEAR = 2 * (2 / np.pi) ** 0.5
"""2 sqrt(2 / pi): GELU by tanh is x / (1 + exp(-z)) with z = x (GELU_LINEAR + GELU_CUBIC x^2).
Reference: Hendrycks and Gimpel 2016, arXiv 1606.08415, with tanh(z / 2) = 2 / (1 + exp(-z)) - 1."""

GELU_CUBIC = 0.044715 * GELU_LINEAR

IMAGE_RANK = 4
"""Dimensions of images: samples, channels, rows, columns."""


def steps_of_scale(model: Any) -> None:
    """Round to steps of the scale where whole numbers are rounded to, and scaled after.

        QuantizeLinear -> DequantizeLinear          one FakeQuantize that gives real numbers

    Of the left one OpenVINO (2026.4) loses the scale, and rounds to whole numbers, where the
    integers are signed, a convolution takes them, and the graph has a Concat anywhere.

    Args:
        model: Graph of a part, which is changed.
    """
    from openvino import opset8

    for scaled in _of_kind(model, "Multiply"):
        found = _dequantized(scaled)
        if found is None or found.scale.size != 1 or _kind(found.steps) != "Convert":
            continue
        rounding = found.steps.input_value(0).get_node()
        if _kind(rounding) != "FakeQuantize":
            continue
        first, last = (_folded(rounding.input_value(index)) for index in (3, 4))
        if first is None or last is None:
            continue
        zero, scale = found.zero.reshape(()), found.scale.reshape(())
        real = opset8.fake_quantize(
            *(rounding.input_value(index) for index in range(3)),
            opset8.constant((first - zero) * scale),
            opset8.constant((last - zero) * scale),
            rounding.get_attributes()["levels"],
        )
        _put(opset8.convert(real, _type(scaled)), scaled)


def has_gelu_by_tanh(model: Any) -> bool:
    """Whether there is anything for `gelu_by_exponential` to rewrite."""
    return any(True for _ in _gelus_by_tanh(model))


def gelu_by_exponential(model: Any) -> None:
    """Compute GELU by its approximation with tanh as a quotient with one exponential.

    Both are the same function. OpenVINO's tanh is a table, which processors with AVX2 read one
    number at a time: the exponential takes a quarter of the time there.

    Args:
        model: Graph of a part, which is changed.
    """
    from openvino import opset8

    for gelu in _gelus_by_tanh(model):
        # FP16 is too coarse for the factors; where FP32 is computed anyway, both casts are nothing.
        x = opset8.convert(gelu.input_value(0), np.float32)
        linear, cubic = (np.float32(-factor) for factor in (GELU_LINEAR, GELU_CUBIC))
        slope = opset8.add(opset8.multiply(opset8.multiply(x, x), cubic), linear)
        whole = opset8.add(opset8.exp(opset8.multiply(x, slope)), np.float32(1))
        _put(opset8.convert(opset8.divide(x, whole), _type(gelu)), gelu)


def products_as_convolutions(model: Any) -> None:
    """Multiply matrices by INT8 weights as convolutions of one pixel.

    Without VNNI, OpenVINO's products of INT8 matrices take 1.4 times as long as those of FP32, and
    its convolutions half.

    Args:
        model: Graph of a part with its batch set, which is changed.
    """
    from openvino import opset8

    for product in _of_kind(model, "MatMul"):
        taken, how = product.input_value(0), product.get_attributes()
        if not _is_rounded(taken.get_node()) or how["transpose_a"]:
            continue
        found = _steps_and_scales(product.input_value(1), transposed=how["transpose_b"])
        if found is None:
            continue
        (steps, scales), kind = found, _type(product)
        source, target = steps.shape
        rows = opset8.reshape(taken, opset8.constant([1, 1, -1, source]), special_zero=False)
        image = opset8.transpose(rows, opset8.constant([0, 3, 1, 2]))
        kernel = opset8.multiply(
            opset8.convert(_constant(steps.T.reshape(target, source, 1, 1)), kind),
            opset8.convert(_constant(scales.reshape(target, 1, 1, 1)), kind),
        )
        ones, nothing = [1, 1], [0, 0]
        made = opset8.convolution(image, kernel, ones, nothing, nothing, ones)
        made = opset8.transpose(made, opset8.constant([0, 2, 3, 1]))
        shape = opset8.constant(list(product.get_output_shape(0)))
        _put(opset8.reshape(made, shape, special_zero=False), product)


def sums_of_tokens(model: Any) -> None:
    """Add maps of tokens, (N, H, W, C), as arrays of six dimensions.

    Of four dimensions OpenVINO takes the second for channels, and puts the sums into the layout of
    a convolution: every normalisation after one, and every product before one, costs a reordering.

    Args:
        model: Graph of a part with its batch set, which is changed.
    """
    from openvino import opset8

    for total in _of_kind(model, "Add"):
        shape = list(total.get_output_shape(0))
        terms = total.input_values()
        if len(shape) != IMAGE_RANK or any(list(term.get_shape()) != shape for term in terms):
            continue
        if any(_is_reshaped(term.get_node()) for term in terms):
            wide = opset8.constant([1, 1, *shape])
            flat = (opset8.reshape(term, wide, special_zero=False) for term in terms)
            back = opset8.constant(shape)
            _put(opset8.reshape(opset8.add(*flat), back, special_zero=False), total)


def _is_reshaped(node: Any) -> bool:
    """Whether a Reshape gives it, but for its rounding, and for a constant added or multiplied."""
    while _kind(node) in ("Convert", "FakeQuantize", "Add", "Multiply"):
        if _kind(node) in ("Add", "Multiply") and _folded(node.input_value(1)) is None:
            return False
        node = node.input_value(0).get_node()
    return _kind(node) == "Reshape" and _folded(node.input_value(0)) is None


def _steps_and_scales(
    value: Any, *, transposed: bool
) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Take what DequantizeLinear makes of a matrix of INT8 apart.

    Args:
        value: What is made of it.
        transposed: Whether the matrix has its columns first.

    Returns:
        The matrix, columns last, and the scale of every column; None if it is no such matrix.
    """
    found = _dequantized(value.get_node())
    if found is None or _kind(found.steps) != "Constant" or found.zero.any():
        return None
    steps = found.steps.get_data()
    if steps.ndim != 2:
        return None
    scales = np.broadcast_to(found.scale, steps.shape)
    if transposed:
        steps, scales = steps.T, scales.T
    return (steps, scales[0].copy()) if (scales == scales[0]).all() else None


@dataclass(frozen=True, slots=True)
class _Dequantized:
    """What DequantizeLinear is read as: (steps - zero) * scale."""

    steps: Any
    """Node that gives whole numbers of 8 bits."""

    zero: NDArray[np.float32]
    scale: NDArray[np.float32]


def _dequantized(scaled: Any) -> _Dequantized | None:
    """Take DequantizeLinear apart; None if the node is not what one ends in."""
    if _kind(scaled) != "Multiply":
        return None
    node, scale = scaled.input_value(0).get_node(), _folded(scaled.input_value(1))
    zero: NDArray[np.float32] | None = np.zeros(1, dtype=np.float32)
    if _kind(node) == "Subtract":
        zero = _folded(node.input_value(1))
        node = node.input_value(0).get_node()
    if _kind(node) != "Convert" or scale is None or zero is None:
        return None
    steps = node.input_value(0).get_node()
    return _Dequantized(steps, zero, scale) if _type(steps) in ("i8", "u8") else None


def _is_rounded(node: Any) -> bool:
    """Whether a FakeQuantize gives it, but for its type."""
    while _kind(node) == "Convert":
        node = node.input_value(0).get_node()
    return _kind(node) == "FakeQuantize"


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


def _constant(values: NDArray[Any]) -> Any:
    from openvino.op import Constant

    # Not `opset8.constant`, which takes numbers one by one.
    return Constant(np.ascontiguousarray(values), shared_memory=False)


def _gelus_by_tanh(model: Any) -> Iterator[Any]:
    for gelu in _of_kind(model, "Gelu"):
        if gelu.get_attributes().get("approximation_mode", "").upper() == "TANH":
            yield gelu


def _of_kind(model: Any, kind: str) -> Iterator[Any]:
    return (node for node in model.get_ordered_ops() if _kind(node) == kind)


def _put(node: Any, replaced: Any) -> None:
    """Let those that took what one node gives take that of another, by the names that it had."""
    old, new = replaced.output(0), node.output(0)
    new.set_names(old.get_names())
    old.set_names(set())
    for taker in old.get_target_inputs():
        taker.replace_source_output(new)


def _kind(node: Any) -> str:
    name: str = node.get_type_name()
    return name


def _type(node: Any) -> str:
    name: str = node.get_output_element_type(0).to_string()
    return name
