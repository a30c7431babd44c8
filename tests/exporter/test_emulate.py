from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from exporter.emulate import EXACT, emulate

LEVELS = [
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
]
ALL, NONE = LEVELS

HALVES = arrays.arrays(np.uint16, (2, 3)).map(lambda bits: bits.view(np.float16))
"""Any FP16 numbers: subnormal ones, infinity and NaN as often as they have codes."""


def make(signature: str, body: str, **weights: NDArray[Any] | np.generic) -> ModelProto:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g {signature} {{{body}}}'
    )
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}{index}"
    return model


def run(model: ModelProto, level: Any = ALL, **feed: NDArray[Any]) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    result: NDArray[Any] = session.run(None, feed)[0]
    return result


def rounded(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def count(model: ModelProto, kind: str) -> int:
    return sum(node.op_type == kind for node in model.graph.node)


def overflowing() -> ModelProto:
    weights = {
        f"w{i}": np.full((8, 8, 3, 3), w, dtype=np.float16)
        for i, w in enumerate((4.0, 4.0, 4.0, 4.0))
    }
    weights["w3"] = -weights["w3"]
    body = "h = Cast <to = 10> (x)"
    before = "h"
    for i in range(4):
        body += f" c{i} = Conv <pads = [1, 1, 1, 1]> ({before}, w{i})"
        before = f"c{i}"
    return make(
        "(float[1,8,6,6] x) => (float[1,8,6,6] y)", f"{body} y = Cast <to = 1> (c3)", **weights
    )


@pytest.mark.parametrize("level", LEVELS)
def test_convolutions_that_overflow_fp16_give_infinity(level: Any) -> None:
    x = np.ones((1, 8, 6, 6), dtype=np.float32)
    model = overflowing()
    found = run(emulate(model), level, x=x)
    half = torch.tensor(x).half()
    for tensor in model.graph.initializer:
        weight = torch.tensor(numpy_helper.to_array(tensor))
        half = torch.nn.functional.conv2d(half, weight, padding=1)
    assert not np.isfinite(found).any()
    np.testing.assert_array_equal(found, half.float().numpy())


@pytest.mark.parametrize("level", LEVELS)
def test_a_product_below_fp16_gives_zero(level: Any) -> None:
    model = make(
        "(float[2] x) => (float[2] y)",
        "h = Cast <to = 10> (x) p = Mul (h, w) y = Cast <to = 1> (p)",
        w=np.array([1e-6, 1.0], dtype=np.float16),
    )
    x = np.array([1e-6, 1e-6], dtype=np.float32)
    np.testing.assert_array_equal(run(emulate(model), level, x=x), [0.0, np.float16(1e-6)])


@settings(max_examples=40, deadline=None)
@given(
    x=arrays.arrays(np.float32, (64,), elements=st.floats(width=32)),
    level=st.sampled_from(LEVELS),
)
def test_a_cast_to_fp16_rounds_as_numpy_does(x: NDArray[np.float32], level: Any) -> None:
    model = make("(float[64] x) => (float[64] y)", "h = Cast <to = 10> (x) y = Cast <to = 1> (h)")
    np.testing.assert_array_equal(run(emulate(model), level, x=x), rounded(x))


ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


@settings(max_examples=40, deadline=None)
@given(a=HALVES, b=HALVES, c=HALVES, kinds=st.tuples(*[st.sampled_from(sorted(ARITHMETIC))] * 2))
def test_arithmetic_rounds_after_every_step(
    a: NDArray[np.float16],
    b: NDArray[np.float16],
    c: NDArray[np.float16],
    kinds: tuple[str, str],
) -> None:
    model = make(
        "(float16[2,3] a, float16[2,3] b, float16[2,3] c) => (float16[2,3] y)",
        f"s = {kinds[0]} (a, b) y = {kinds[1]} (s, c)",
    )
    with np.errstate(all="ignore"):
        expected = ARITHMETIC[kinds[1]](ARITHMETIC[kinds[0]](a, b), c)
    found = run(emulate(model), a=a, b=b, c=c)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, expected)


CHAINS = {
    "arranged": "t = Transpose <perm = [1, 0]> (h) r = Reshape (t, s) y = Concat <axis = 0> (r, r)",
    "bounded": "t = Relu (h) r = Clip (t, low, high) y = Neg (r)",
    "chosen": "b = Greater (h, low) t = Where (b, h, high) r = Max (t, low) y = Abs (r)",
    "padded": "t = Pad <mode = 'reflect'> (h, p) r = Round (t) y = ReduceMax <keepdims = 0> (r, i)",
}


@pytest.mark.parametrize("name", CHAINS)
@settings(max_examples=15, deadline=None)
@given(h=HALVES)
def test_operators_that_need_no_rounding_give_what_fp16_gives(
    name: str, h: NDArray[np.float16]
) -> None:
    h = np.nan_to_num(h)  # libraries choose differently among NaN and numbers
    model = make(
        "(float16[2,3] h) => (float16 y)",
        CHAINS[name].replace("'", '"'),
        s=np.array([2, 3]),
        p=np.array([0, 1, 0, 1]),
        i=np.array([0]),
        low=np.float16(0.3),
        high=np.float16(6.1),
    )
    emulated = emulate(model)
    assert count(emulated, "Cast") == 2
    reference: Any = onnx.reference.ReferenceEvaluator(model)
    expected = reference.run(None, {"h": h})[0]
    np.testing.assert_array_equal(run(emulated, h=h), expected)


def test_relu_after_a_convolution_may_be_computed_before_the_rounding() -> None:
    rng = np.random.default_rng(0)
    # Whole numbers, so that sums are the same in any order.
    w = rng.integers(-300, 300, (5, 3, 3, 3)).astype(np.float16)
    x = rng.integers(-30, 30, (1, 3, 7, 6)).astype(np.float32)
    body = "h = Cast <to = 10> (x) c = Conv <pads = [1, 1, 1, 1]> (h, w) {} y = Cast <to = 1> (r)"
    shape = "(float[1,3,7,6] x) => (float[1,5,7,6] y)"
    model = make(shape, body.format("r = Relu (c)"), w=w)
    shared = make(shape, body.format("z = Relu (c) r = Sub (c, z)"), w=w)
    sums = torch.nn.functional.conv2d(
        torch.tensor(x).double(), torch.tensor(w).double(), padding=1
    ).numpy()
    expected = np.maximum(rounded(sums), 0)
    assert (expected != np.maximum(sums, 0)).any()
    np.testing.assert_array_equal(run(emulate(model), x=x), expected)
    np.testing.assert_array_equal(run(emulate(shared), x=x), np.minimum(rounded(sums), 0))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("folded", [False, True])
def test_quantized_weights_and_inputs_take_their_scale_as_fp16_holds_it(
    level: Any, folded: bool
) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 4, 5, 3)).astype(np.float32)
    w = rng.normal(size=(6, 4, 1, 1)).astype(np.float16)
    scale = np.float16(0.0237)
    scales = (np.abs(w).max(axis=(1, 2, 3)) / 127).astype(np.float16)
    per_channel = scales.astype(np.float32)[:, None, None, None]
    steps = np.clip(np.rint(w.astype(np.float32) / per_channel), -128, 127).astype(np.int8)
    quantize = "" if folded else "q = QuantizeLinear <axis = 0> (w, ws, wz)"
    model = make(
        "(float[1,4,5,3] x) => (float[1,6,5,3] y)",
        f"h = Cast <to = 10> (x) a = QuantizeLinear (h, s, z) b = DequantizeLinear (a, s, z)"
        f" {quantize} d = DequantizeLinear <axis = 0> (q, ws, wz) c = Conv (b, d)"
        f" y = Cast <to = 1> (c)",
        s=scale,
        z=np.int8(0),
        ws=scales,
        wz=np.zeros(6, dtype=np.int8),
        **({"q": steps} if folded else {"w": w}),
    )
    emulated = emulate(model)
    onnx.checker.check_model(emulated, full_check=True)
    assert (count(emulated, "QuantizeLinear"), count(emulated, "DequantizeLinear")) == (1, 1)
    seen = np.clip(np.rint(rounded(x) / np.float32(scale)), -128, 127) * np.float32(scale)
    expected = rounded(
        np.einsum("oc,nchw->nohw", rounded(steps * per_channel)[:, :, 0, 0], rounded(seen))
    )
    np.testing.assert_allclose(run(emulated, level, x=x), expected, rtol=2**-10, atol=1e-6)


def test_weights_quantized_without_a_zero_point_become_uint8() -> None:
    model = make(
        "(float16[3] x) => (float16[3] y)",
        "q = QuantizeLinear (w, s) d = DequantizeLinear (q, s) y = Mul (x, d)",
        w=np.array([-1, 0.3, 200], dtype=np.float16),
        s=np.float16(0.5),
    )
    found = run(emulate(model), x=np.ones(3, dtype=np.float16))
    np.testing.assert_array_equal(found, [0, 0.5, 127.5])


def test_nodes_in_fp32_are_not_rounded() -> None:
    model = make(
        "(float[3] x) => (float[3] y)",
        "p = Mul (x, w) h = Cast <to = 10> (p) n = Neg (h) f = Cast <to = 1> (n) y = Sub (f, x)",
        w=np.float32(1.0001),
    )
    x = np.array([1.2345678, 1000.123, 3e-9], dtype=np.float32)
    expected = -rounded(x * np.float32(1.0001)) - x
    np.testing.assert_array_equal(run(emulate(model), x=x), expected)


def test_integers_and_constants_inside_nodes_keep_their_meaning() -> None:
    model = make(
        "(float[2,3] x) => (uint8[2] y)",
        "h = Cast <to = 10> (x) c = Constant ()"
        " m = Mul (h, c) i = ArgMax <axis = 1, keepdims = 0> (m) y = Cast <to = 2> (i)",
    )
    value = numpy_helper.from_array(np.array([0.5, 2.0, 1.0], dtype=np.float16))
    model.graph.node[1].attribute.append(onnx.helper.make_attribute("value", value))
    emulated = emulate(model)
    kinds = {item.t.data_type for node in emulated.graph.node for item in node.attribute}
    assert TensorProto.FLOAT16 not in kinds
    x = np.array([[5, 1, 1], [0, 1, 3]], dtype=np.float32)
    np.testing.assert_array_equal(run(emulated, x=x), [0, 2])


def test_the_finished_graph_and_its_interface_stay_as_they_are() -> None:
    model = make("(float16[2,N] x, uint8[2] u) => (float16[2,N] y)", "y = Mul (x, x)")
    onnx.helper.set_model_props(model, {"segx.part": "aerial"})
    before = model.SerializeToString(deterministic=True)
    emulated = emulate(model)
    assert model.SerializeToString(deterministic=True) == before
    assert list(emulated.graph.input) == list(model.graph.input)
    assert list(emulated.graph.output) == list(model.graph.output)
    assert list(emulated.metadata_props) == list(model.metadata_props)
    onnx.checker.check_model(emulated, full_check=True)


def test_a_graph_without_fp16_is_computed_as_before() -> None:
    model = make("(float[3] x) => (float[3] y)", "e = Exp (x) y = Mul (e, w)", w=np.float32(0.3))
    emulated = emulate(model)
    assert [node.op_type for node in emulated.graph.node] == ["Exp", "Mul"]
    x = np.array([20.0, -20.0, 0.1], dtype=np.float32)
    np.testing.assert_array_equal(run(emulated, x=x), run(model, x=x))


def test_a_network_in_fp16_is_followed_as_closely_as_pytorch_does_itself() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(6, 16, 3, padding=1)]
    layers += [torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(5)]
    body, before, weights = "h = Cast <to = 10> (x)", "h", {}
    for i, layer in enumerate(layers):
        weights[f"w{i}"] = layer.weight.detach().half().numpy()
        weights[f"b{i}"] = layer.bias.detach().half().numpy()  # type: ignore[union-attr]
        body += f" c{i} = Conv <pads = [1, 1, 1, 1]> ({before}, w{i}, b{i}) r{i} = Sigmoid (c{i})"
        before = f"r{i}"
    model = make(
        "(float[1,6,20,24] x) => (float[1,16,20,24] y)",
        f"{body} y = Cast <to = 1> ({before})",
        **weights,
    )
    x = torch.randn(1, 6, 20, 24)
    with torch.inference_mode():
        single, half = x, x.half()
        for layer in layers:
            single = torch.sigmoid(layer(single))
        for layer in layers:
            half = torch.sigmoid(layer.half()(half))
    found = run(emulate(model), x=x.numpy())
    reference, expected = single.numpy(), half.float().numpy()
    np.testing.assert_allclose(found, expected, rtol=2**-9)
    own, other = np.abs(found - reference).mean(), np.abs(expected - reference).mean()
    assert 0.5 < own / other < 2
    assert np.abs(found - expected).mean() < other


def test_a_tensor_of_unknown_type_is_refused() -> None:
    model = make("(float16[2] x) => (float16[2] y)", "h = other.Magic (x) y = Neg (h)")
    model.opset_import.append(onnx.helper.make_opsetid("other", 1))
    with pytest.raises(ValueError, match="the type of tensor h cannot be inferred"):
        emulate(model)


def test_a_node_that_holds_a_graph_is_refused() -> None:
    model = make(
        "(float16[2] x, bool b) => (float16[2] y)",
        "y = If (b) <then_branch = t () => (float16[2] p) {p = Neg (x)},"
        " else_branch = e () => (float16[2] q) {q = Abs (x)}>",
    )
    with pytest.raises(ValueError, match=r"node If0 \(If\) holds a graph; expected none"):
        emulate(model)


def test_operators_called_exact_are_onnx_operators() -> None:
    for name in EXACT:
        onnx.defs.get_schema(name, 20)
