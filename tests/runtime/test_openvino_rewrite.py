"""A product of tokens with weights is a convolution of one pixel: the same numbers."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.typing import NDArray

from runtime.openvino_rewrite import project_by_convolution

openvino = pytest.importorskip("openvino")
ops = openvino.opset8

FP32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}


def integers(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Small whole numbers, whose sums are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def projection(shape: tuple[int, ...], outputs: int, *, turned: bool, quantised: bool) -> Any:
    """A model that multiplies tokens of a shape with weights."""
    tokens = ops.parameter(list(shape), np.float32)
    size = (outputs, shape[-1]) if turned else (shape[-1], outputs)
    weights: Any = ops.constant(integers(size, seed=outputs))
    if quantised:
        ends = [np.float32(value) for value in (-4, 4, -4, 4)]
        weights = ops.fake_quantize(weights, *ends, 9)
    return openvino.Model([ops.matmul(tokens, weights, False, turned)], [tokens])


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


def run(model: Any, *feeds: NDArray[np.float32]) -> NDArray[np.float32]:
    compiled = openvino.Core().compile_model(model, "CPU", FP32)
    found: NDArray[np.float32] = compiled(list(feeds))[0]
    return found


@settings(max_examples=20)
@given(
    shape=array_shapes(min_dims=2, max_dims=5, max_side=6),
    outputs=st.integers(1, 9),
    turned=st.booleans(),
    quantised=st.booleans(),
)
def test_a_projection_of_any_shape_gives_the_same(
    shape: tuple[int, ...], outputs: int, turned: bool, quantised: bool
) -> None:
    tokens = integers(shape, seed=1)
    before = run(projection(shape, outputs, turned=turned, quantised=quantised), tokens)
    model = projection(shape, outputs, turned=turned, quantised=quantised)
    assert project_by_convolution(model) == 1
    assert (kinds(model)["MatMul"], kinds(model)["Convolution"]) == (0, 1)
    np.testing.assert_array_equal(run(model, tokens), before)
    assert before.shape == (*shape[:-1], outputs)


def test_a_product_of_two_inputs_is_left() -> None:
    first, second = (ops.parameter([3, 3], np.float32) for _ in range(2))
    model = openvino.Model([ops.matmul(first, second, False, False)], [first, second])
    assert project_by_convolution(model) == 0
    assert kinds(model)["MatMul"] == 1


@pytest.mark.parametrize("place", ["left", "stacked", "turned"])
def test_other_products_with_constants_are_left(place: str) -> None:
    tokens = ops.parameter([2, 3, 3], np.float32)
    weights = ops.constant(integers((2, 3, 3) if place == "stacked" else (3, 3), seed=3))
    factors = (weights, tokens) if place == "left" else (tokens, weights)
    model = openvino.Model([ops.matmul(*factors, place == "turned", False)], [tokens])
    assert project_by_convolution(model) == 0
