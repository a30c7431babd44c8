"""What is rewritten for OpenVINO is what it was before, and is computed as it should be."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.openvino_rewrites import (
    gelu_by_exponential,
    products_as_convolutions,
    steps_of_scale,
    sums_of_tokens,
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
    steps_of_scale(model)
    found = openvino.Core().compile_model(model, "CPU", FP32)(numbers(channels))[0]
    wanted = expected(channels)
    # What lies between two steps may go to either, and FP16 moves it: one step of one map.
    loose = (0.1 if half else 1e-3) * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, atol=loose, rtol=0)
    assert np.abs(found - wanted).mean() < 1e-2 * np.abs(wanted).max()


ROWS, INNER, COLUMNS = 6, 16, 4


@pytest.mark.parametrize("zero", [0, 5])
@pytest.mark.parametrize("after", [1.0, 3.0])
def test_a_pair_is_one_node_that_gives_what_it_gave(zero: int, after: float) -> None:
    entry = ops.parameter([ROWS, INNER], np.float32)
    given = ops.multiply(rounded(entry, zero), np.float32(after))
    model = openvino.Model([given], [entry])
    x = np.random.default_rng(1).standard_normal((ROWS, INNER)).astype(np.float32) * 3
    before = openvino.Core().compile_model(model, "CPU", FP32)(x)[0].copy()
    steps_of_scale(model)
    assert "Subtract" not in kinds(model)
    found = openvino.Core().compile_model(model, "CPU", FP32)(x)[0]
    wanted = np.clip(np.rint(x / np.float32(SCALE)) + zero, *LEVELS) - zero
    np.testing.assert_allclose(found, wanted * SCALE * after, atol=1e-5)
    np.testing.assert_allclose(before, found, atol=1e-5)


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


def dequantized(value: Any, scale: Any, zero: int = 0) -> Any:
    """Steps less a zero, times a scale, as OpenVINO reads DequantizeLinear."""
    shift = ops.convert(ops.constant(np.int8(zero)), np.float32)
    return ops.multiply(ops.subtract(ops.convert(value, np.float32), shift), scale)


def rounded(value: Any, zero: int = 0) -> Any:
    """Q/DQ of activations, with a zero point."""
    real = [np.float32((end - zero) * SCALE) for end in LEVELS]
    whole = [np.float32(end) for end in LEVELS]
    steps = ops.convert(ops.fake_quantize(value, *real, *whole, 256), np.int8)
    return dequantized(steps, np.float32(SCALE), zero)


@pytest.mark.parametrize("scales", ["of a column", "one"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_as_a_convolution_is_the_product(scales: str, transposed: bool) -> None:
    generator = np.random.default_rng(3)
    steps = generator.integers(-64, 65, (INNER, COLUMNS)).astype(np.int8)
    size = COLUMNS if scales == "of a column" else 1
    scale = generator.uniform(1e-3, 2e-3, (1, size)).astype(np.float32)
    entry = ops.parameter([2, ROWS, INNER], np.float32)
    stored = (steps.T.copy(), scale.T.copy()) if transposed else (steps, scale)
    by_column = ops.reshape(
        ops.constant(stored[1]), ops.constant(list(stored[1].shape)), special_zero=False
    )
    weights = dequantized(ops.constant(stored[0]), by_column)
    model = openvino.Model([ops.matmul(rounded(entry), weights, False, transposed)], [entry])
    steps_of_scale(model)
    products_as_convolutions(model)
    assert "Convolution" in kinds(model)
    assert "MatMul" not in kinds(model)
    x = generator.standard_normal((2, ROWS, INNER)).astype(np.float32)
    found = openvino.Core().compile_model(model, "CPU", FP32)(x)[0]
    taken = np.clip(np.rint(x / np.float32(SCALE)), *LEVELS) * SCALE
    np.testing.assert_allclose(found, taken @ (steps * scale), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("what", ["two activations", "rows", "not rounded", "three dimensions"])
def test_other_products_are_left_alone(what: str) -> None:
    entry = ops.parameter([1, INNER, INNER], np.float32)
    steps = np.ones((INNER, INNER), dtype=np.int8)
    scale: Any = np.float32(1e-3)
    if what == "rows":
        scale = np.linspace(1e-3, 2e-3, INNER, dtype=np.float32).reshape(-1, 1)
    if what == "three dimensions":
        steps = steps[None]
    weights = dequantized(ops.constant(steps), ops.constant(scale))
    left = entry if what == "not rounded" else rounded(entry)
    right = rounded(entry) if what == "two activations" else weights
    model = openvino.Model([ops.matmul(left, right, False, False)], [entry])
    steps_of_scale(model)
    before = kinds(model)
    products_as_convolutions(model)
    assert kinds(model) == before
    assert "MatMul" in before


def test_a_product_far_behind_joined_maps_is_rounded_to_steps_of_the_scale() -> None:
    """Where any maps are joined, OpenVINO lost the scale of others too."""
    model = joined((16, 16), half=False)
    (result,) = model.get_results()
    small = ops.multiply(result.input_value(0), np.float32(0.5))
    kernel = dequantized(ops.constant(np.eye(SIDE, dtype=np.int8) * 64), np.float32(1 / 64))
    result.input(0).replace_source_output(
        ops.matmul(rounded(small), kernel, False, False).output(0)
    )
    steps_of_scale(model)
    products_as_convolutions(model)
    assert "MatMul" not in kinds(model)
    found = openvino.Core().compile_model(model, "CPU", FP32)(numbers((16, 16)))[0]
    wanted = np.clip(np.rint(expected((16, 16)) / 2 / SCALE), *LEVELS) * SCALE
    assert np.abs(found - wanted).max() <= 1.01 * SCALE
    assert np.abs(found - wanted).mean() < 0.01 * SCALE


def tokens(times: int) -> Any:
    """A convolution's map as tokens, and products of normalised tokens that are added to them."""
    entry = ops.parameter([1, INNER, SIDE, SIDE], np.float32)
    unit = np.eye(INNER, dtype=np.float32)
    kernel = ops.constant(unit.reshape(INNER, INNER, 1, 1))
    image: Any = ops.convolution(entry, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    stream: Any = ops.transpose(image, ops.constant([0, 2, 3, 1]))
    for _ in range(times):
        normal = ops.mvn(stream, ops.constant([3]), True, 1e-5, "inside_sqrt")
        rows = ops.reshape(normal, ops.constant([-1, INNER]), special_zero=False)
        product = ops.add(ops.matmul(rows, ops.constant(unit), False, False), unit[:1])
        shape = ops.constant([1, SIDE, SIDE, INNER])
        stream = ops.add(stream, ops.reshape(product, shape, special_zero=False))
    return openvino.Model([ops.relu(stream)], [entry])


def test_sums_of_tokens_are_the_same_and_not_reordered() -> None:
    found, reorders = [], []
    for rewritten in (False, True):
        model = tokens(4)
        if rewritten:
            sums_of_tokens(model)
        compiled = openvino.Core().compile_model(model, "CPU", FP32)
        layers = [
            node.get_rt_info()["layerType"].astype(str)
            for node in compiled.get_runtime_model().get_ops()
        ]
        reorders.append(layers.count("Reorder"))
        found.append(compiled(numbers((INNER,)))[0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)
    assert reorders[1] < reorders[0]


@pytest.mark.parametrize("what", ["maps", "of three dimensions", "a constant", "spread"])
def test_other_sums_are_left_alone(what: str) -> None:
    shape = [1, INNER, INNER] if what == "of three dimensions" else [1, 4, INNER, INNER]
    entry = ops.parameter(shape, np.float32)
    term: Any = ops.reshape(ops.relu(entry), ops.constant(shape), special_zero=False)
    if what == "maps":
        term = ops.relu(entry)
    elif what == "a constant":
        term = ops.reshape(ops.constant(np.ones(shape)), ops.constant(shape), special_zero=False)
        term = ops.convert(term, np.float32)
    elif what == "spread":
        term = ops.reduce_mean(term, ops.constant([2]), keep_dims=True)
    model = openvino.Model([ops.add(entry, term)], [entry])
    before = kinds(model)
    sums_of_tokens(model)
    assert kinds(model) == before
