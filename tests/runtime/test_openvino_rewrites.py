"""What is rewritten for OpenVINO is what it was before, and is computed as it should be."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.openvino_rewrites import (
    gelu_by_exponential,
    products_in_fp32,
    round_before_joining,
)

openvino = pytest.importorskip("openvino")
ops = openvino.opset8

SIDE, SCALE, WEIGHT_SCALE = 8, 0.02, 0.002
LEVELS = (-128, 127)
FP32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}


def numbers(channels: tuple[int, ...]) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(len(channels))
    return [generator.standard_normal((1, n, SIDE, SIDE)).astype(np.float32) for n in channels]


def weights(channels: int) -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(-64, 65, (16, channels, 1, 1)).astype(np.int8)


def joined(channels: tuple[int, ...], *, half: bool) -> Any:
    """Concat, Q/DQ and a convolution in INT8, as OpenVINO reads them from a graph."""
    kind = np.float16 if half else np.float32
    maps = [ops.parameter([1, n, SIDE, SIDE], np.float32) for n in channels]
    join: Any = ops.concat([ops.convert(item, kind) for item in maps] if half else maps, 1)
    ranges = [np.float32(end) for end in (*(end * SCALE for end in LEVELS), *LEVELS)]
    wide: Any = ops.convert(join, np.float32) if half else join
    rounded = ops.convert(ops.fake_quantize(wide, *ranges, 256), np.int8)
    real = ops.multiply(ops.convert(rounded, np.float32), np.float32(SCALE))
    kernel = ops.convert(ops.constant(weights(sum(channels))), np.float32)
    kernel = ops.multiply(kernel, np.float32(WEIGHT_SCALE))
    result = ops.convolution(real, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return openvino.Model([result], maps)


def expected(channels: tuple[int, ...]) -> NDArray[np.float64]:
    whole = np.concatenate(numbers(channels), axis=1)
    steps = np.clip(np.rint(whole / np.float32(SCALE)), *LEVELS).astype(np.float64)
    kernel = weights(sum(channels))[:, :, 0, 0].astype(np.float64)
    sums: NDArray[np.float64] = np.einsum("oc,nchw->nohw", kernel, steps)
    return sums * SCALE * WEIGHT_SCALE


def kinds(model: Any) -> list[str]:
    return sorted(node.get_type_name() for node in model.get_ops())


@pytest.mark.parametrize("channels", [(16, 16), (8, 24, 16), (1, 1)])
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_joined_maps_are_rounded_to_steps_of_the_scale(
    channels: tuple[int, ...], half: bool
) -> None:
    model = joined(channels, half=half)
    round_before_joining(model)
    found = openvino.Core().compile_model(model, "CPU", FP32)(numbers(channels))[0]
    wanted = expected(channels)
    # What lies between two steps may go to either, and FP16 moves it: one step of one map.
    loose = (0.1 if half else 1e-3) * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, atol=loose, rtol=0)
    assert np.abs(found - wanted).mean() < 1e-2 * np.abs(wanted).max()


def test_each_map_is_rounded_by_itself() -> None:
    model = joined((4, 4, 4), half=False)
    assert kinds(model).count("FakeQuantize") == 1
    round_before_joining(model)
    assert kinds(model).count("FakeQuantize") == 3
    again = kinds(model)
    round_before_joining(model)
    assert kinds(model) == again


@pytest.mark.parametrize("kind", [np.float32, np.float16], ids=["fp32", "fp16"])
def test_gelu_by_an_exponential_is_gelu_by_tanh(kind: Any) -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e4, -90, 90, 1e4]]).astype(kind)
    entry = ops.parameter([x.size], kind)
    model = openvino.Model([ops.gelu(entry, "tanh")], [entry])
    gelu_by_exponential(model)
    assert "Gelu" not in kinds(model)
    found = openvino.Core().compile_model(model, "CPU", FP32)(x)[0]
    wide = x.astype(np.float64)
    wanted = wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    loose = 1e-3 if kind is np.float16 else 2e-6
    np.testing.assert_allclose(found, wanted, rtol=loose, atol=loose)


def test_gelu_by_the_error_function_is_left_alone() -> None:
    entry = ops.parameter([8], np.float32)
    model = openvino.Model([ops.gelu(entry, "erf")], [entry])
    gelu_by_exponential(model)
    assert kinds(model).count("Gelu") == 1


def dequantized(value: Any, scale: Any) -> Any:
    """Steps and a zero that is not shifted, as OpenVINO reads DequantizeLinear."""
    zero = ops.constant(np.zeros((), dtype=np.int8))
    real = ops.subtract(ops.convert(value, np.float32), ops.convert(zero, np.float32))
    return ops.multiply(real, scale)


def rounded(value: Any) -> Any:
    ranges = [np.float32(end) for end in (*(end * SCALE for end in LEVELS), *LEVELS)]
    steps = ops.convert(ops.fake_quantize(value, *ranges, 256), np.int8)
    return dequantized(steps, np.float32(SCALE))


ROWS, INNER, COLUMNS = 6, 16, 4


def test_matrices_are_multiplied_in_fp32_by_the_weights_that_they_had_in_int8() -> None:
    generator = np.random.default_rng(3)
    steps = generator.integers(-64, 65, (INNER, COLUMNS)).astype(np.int8)
    scales = generator.uniform(1e-3, 2e-3, COLUMNS).astype(np.float32)
    entry = ops.parameter([ROWS, INNER], np.float32)
    by_column = ops.reshape(ops.constant(scales), ops.constant([1, COLUMNS]), special_zero=False)
    product = ops.matmul(rounded(entry), dequantized(ops.constant(steps), by_column), False, False)
    model = openvino.Model([product], [entry])
    products_in_fp32(model)
    assert "FakeQuantize" not in kinds(model)
    x = generator.standard_normal((ROWS, INNER)).astype(np.float32)
    found = openvino.Core().compile_model(model, "CPU", FP32)(x)[0]
    np.testing.assert_allclose(found, x @ (steps * scales), rtol=1e-4, atol=1e-5)


def test_convolutions_and_products_of_activations_stay_in_int8() -> None:
    entry = ops.parameter([ROWS, ROWS], np.float32)
    squared = openvino.Model([ops.matmul(rounded(entry), rounded(entry), False, False)], [entry])
    for model in (joined((4, 4), half=False), squared):
        before = kinds(model)
        products_in_fp32(model)
        assert kinds(model) == before
