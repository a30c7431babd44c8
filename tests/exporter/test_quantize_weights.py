from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from exporter.quantize_weights import LARGEST, SMALLEST, as_half, fold_weights, round_tiny_weights

SCALES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=1, max_side=6),
    elements=st.floats(0.0, 2.0**14, width=32, allow_subnormal=False),
)


@given(SCALES)
def test_a_scale_becomes_an_fp16_number_above_zero(scale: NDArray[np.float32]) -> None:
    found = as_half(scale)
    assert found.shape == scale.shape
    assert found.dtype == np.float32
    assert (found > 0).all()
    np.testing.assert_array_equal(found, found.astype(np.float16).astype(np.float32))
    assert (np.abs(found - scale) <= np.maximum(scale * 2.0**-11, SMALLEST)).all()


@given(SCALES)
def test_the_largest_weight_still_fits(scale: NDArray[np.float32]) -> None:
    assert (127.5 * as_half(scale) >= 127.0 * scale).all()


def test_a_scale_beyond_fp16_stays() -> None:
    scale = np.array([1e6, 2.0, LARGEST], dtype=np.float32)
    np.testing.assert_array_equal(as_half(scale), scale)


def made(operator: str, weight: NDArray[np.float32], scale: NDArray[np.float32], axis: int) -> Any:
    """A graph with Q/DQ on weights and on the activation, named as ModelOpt names them."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        made (float[N,4,4,4] x) => (float[N,4,4,4] y) {{
            [qx] xq = QuantizeLinear (x, sx, zx)
            [dx] xd = DequantizeLinear (xq, sx, zx)
            [qw] wq = QuantizeLinear <axis = {axis}> (w, sw, zw)
            [dw] wd = DequantizeLinear <axis = {axis}> (wq, sw, zw)
            [op] y = {operator} (xd, wd, b)
        }}"""
    )
    values = {
        "w": weight,
        "sw": scale,
        "zw": np.zeros(scale.shape, dtype=np.int8),
        "sx": np.float32(0.1),
        "zx": np.int8(0),
        "b": np.array([1e-9, -1e-9, 0.5, 2e-8], dtype=np.float32),
    }
    for name, array in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


@pytest.mark.parametrize(("full_range", "largest"), [(True, 127), (False, 64)])
@pytest.mark.parametrize(("operator", "axis"), [("Conv", 0), ("ConvTranspose", 1)])
@given(
    weight=hnp.arrays(np.float32, (4, 4, 1, 1), elements=st.floats(-8.0, 8.0, width=32)),
    small=st.integers(0, 3),
)
def test_a_weight_is_its_integers_times_its_scale_within_half_a_step(
    operator: str,
    axis: int,
    full_range: bool,
    largest: int,
    weight: NDArray[np.float32],
    small: int,
) -> None:
    index: Any = (slice(None),) * axis + (small,)
    weight[index] *= np.float32(1e-9)
    reduced = tuple(i for i in range(4) if i != axis)
    scale = np.maximum(np.abs(weight).max(axis=reduced) / 127, 1e-12).astype(np.float32)
    model = made(operator, weight, scale, axis)
    assert fold_weights(model, full_range=full_range) == 1
    found = constants(model)
    shape = [-1 if i == axis else 1 for i in range(4)]
    step = found["sw"].reshape(shape).astype(np.float64)
    assert found["wq"].dtype == np.int8
    assert np.abs(found["wq"].astype(np.int16)).max() <= largest
    assert (np.abs(found["wq"] * step - weight) <= 0.51 * step).all()


def test_only_the_weights_lose_their_quantizer() -> None:
    weight = np.ones((4, 4, 1, 1), dtype=np.float32)
    model = made("Conv", weight, np.full(4, 1 / 127, dtype=np.float32), 0)
    fold_weights(model)
    assert [node.name for node in model.graph.node] == ["qx", "dx", "dw", "op"]
    assert set(constants(model)) == {"wq", "sw", "zw", "sx", "zx", "b"}
    onnx.checker.check_model(model, full_check=True)


def test_weights_that_fp16_does_not_hold_become_zero_but_not_where_fp32_stays() -> None:
    weight = (
        np.array([1e-9, -1e-9, 3e-6, -1.0], dtype=np.float32).reshape(4, 1, 1, 1).repeat(4, axis=1)
    )
    model = made("Conv", weight, np.ones(4, dtype=np.float32), 0)
    model.graph.node[-1].input[1] = "w"
    del model.graph.node[2:4]
    kept = ModelProto.FromString(model.SerializeToString())
    round_tiny_weights(kept, {"op"})
    np.testing.assert_array_equal(constants(kept)["w"], weight)
    round_tiny_weights(model, set())
    expected = np.where(np.abs(weight) < 1e-8, 0, weight)
    np.testing.assert_array_equal(constants(model)["w"], expected)
    np.testing.assert_array_equal(constants(model)["b"], np.array([0, 0, 0.5, 0], dtype=np.float32))
    assert constants(model)["sx"] == np.float32(0.1)
