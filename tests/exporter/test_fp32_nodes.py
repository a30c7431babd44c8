from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

import segx
from exporter.fp32_nodes import FP32_OPERATORS, keep_in_fp32
from exporter.ranges import TensorRange

WORK = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def make(signature: str, body: str, **weights: NDArray[Any] | np.generic) -> ModelProto:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g {signature} {{{body}}}'
    )
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    for node in model.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    return model


def span(low: float, high: float, *, smallest: float = 1.0, nonfinite: int = 0) -> TensorRange:
    return TensorRange(low=low, high=high, smallest=smallest, nonfinite=nonfinite)


@pytest.fixture
def products() -> ModelProto:
    weights = {f"w{i}": np.eye(3, dtype=np.float32) for i in range(4)}
    return make(
        "(float[N,3] x) => (float[N,3] d)",
        "a = MatMul (x, w0) b = MatMul (a, w1) c = MatMul (b, w2) d = MatMul (c, w3)",
        **weights,
    )


def test_ordinary_numbers_keep_nothing_in_fp32(products: ModelProto) -> None:
    ranges = dict.fromkeys("xabcd", span(-32000, 32000, smallest=0.001))
    assert keep_in_fp32(products, ranges) == {}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (span(-40000, 5), "tensor b reaches 4e+04, more than half of 65504"),
        (span(0, 33000), "tensor b reaches 3.3e+04, more than half of 65504"),
        (span(0, 1e-5, smallest=1e-6), "tensor b is mostly below 6.1e-05"),
        (span(0, 1, nonfinite=3), "tensor b is NaN or infinite on 3 inputs, in FP32"),
    ],
)
def test_both_ends_of_a_tensor_that_fp16_does_not_hold_stay_in_fp32(
    products: ModelProto, found: TensorRange, reason: str
) -> None:
    kept = keep_in_fp32(products, {**dict.fromkeys("xacd", span(-1, 1)), "b": found})
    assert list(kept) == ["MatMul_b", "MatMul_c"]
    assert all(text.startswith(reason) for text in kept.values())


def test_a_tensor_of_zeros_is_no_small_tensor(products: ModelProto) -> None:
    assert keep_in_fp32(products, {"b": span(0, 0, smallest=0)}) == {}


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (np.full((3, 3), 70000.0), "its constant w1 reaches 7e+04; FP16 ends at 65504"),
        (np.full((3, 3), -np.inf), "its constant w1 reaches inf"),
        (np.full((3, 3), 1e-7), "its constant w1 is about 1e-07, where FP16 has steps of 6e-08"),
        (np.full((3, 3), 2e-5), ""),
        (np.eye(3) * 0.1 + 1e-9, ""),
        (np.zeros((3, 3)), ""),
    ],
)
def test_constants_that_fp16_does_not_hold_stay_in_fp32(
    products: ModelProto, weight: NDArray[np.float64], reason: str
) -> None:
    products.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight.astype(np.float32), "w1"))
    kept = keep_in_fp32(products, {})
    assert list(kept) == (["MatMul_b"] if reason else [])
    assert all(text.startswith(reason) for text in kept.values())


def test_a_small_bias_keeps_nothing_in_fp32_and_a_large_one_does() -> None:
    weight = np.eye(3, dtype=np.float32)
    for size, kept in ((1e-7, []), (1e5, ["Gemm_y"])):
        model = make("(float[N,3] x) => (float[N,3] y)", "y = Gemm (x, w, b)", w=weight)
        bias = numpy_helper.from_array(np.full(3, size, dtype=np.float32), "b")
        model.graph.initializer.append(bias)
        assert list(keep_in_fp32(model, {})) == kept


def test_raw_inputs_stay_in_fp32_until_they_are_scaled() -> None:
    model = make(
        "(uint8[N,3] u, float[N,3] m) => (float[N,3] y)",
        "f = Cast <to = 1> (u) c = Sub (f, mean) s = Div (c, std) p = MatMul (s, w)"
        " g = Mul (p, gain) y = Mul (g, m)",
        mean=np.float32(113.7),
        std=np.float32(50),
        gain=np.float32(2),
        w=np.eye(3, dtype=np.float32),
    )
    kept = keep_in_fp32(model, {})
    assert list(kept) == ["Cast_f", "Sub_c", "Div_s"]
    assert kept["Sub_c"].startswith("it scales an input")


def test_days_stay_in_fp32_up_to_their_sines() -> None:
    model = make(
        "(float[N,4] days, float[N,4,2] x) => (float[N,4,2] y)",
        "d = Unsqueeze (days, two) a = Div (d, period) s = Sin (a) y = Add (x, s)",
        two=np.array([2]),
        period=np.array([1, 5.6], dtype=np.float32),
    )
    assert list(keep_in_fp32(model, {})) == ["Unsqueeze_d", "Div_a", "Sin_s"]


def test_arithmetic_that_only_leads_to_fp32_stays_there_and_work_does_not() -> None:
    model = make(
        "(float[N,3] x) => (float[N,1] y, float[N,3] z)",
        "p = MatMul (x, w) q = MatMul (p, w) s = Mul (q, q) r = Reshape (s, shape)"
        " y = ReduceSum (r, one) z = Add (p, q)",
        w=np.eye(3, dtype=np.float32),
        shape=np.array([-1, 3]),
        one=np.array([1]),
    )
    assert list(keep_in_fp32(model, {})) == ["Mul_s", "Reshape_r", "ReduceSum_y"]


def test_nodes_without_a_name_of_their_own_are_refused(products: ModelProto) -> None:
    products.graph.node[1].name = products.graph.node[0].name
    with pytest.raises(ValueError, match="expected one for each node"):
        keep_in_fp32(products, {})


def test_no_operator_that_stays_in_fp32_has_a_share_in_the_work() -> None:
    assert not FP32_OPERATORS.keys() & set(WORK)
    for name in FP32_OPERATORS:
        onnx.defs.get_schema(name, 20)


@pytest.mark.parametrize("part", ["aerial", "satellite", "fusion", "fusion_probabilities"])
def test_all_the_work_of_the_toy_bundle_may_go_to_fp16(part: str) -> None:
    model = onnx.load(Path(segx.__file__).parent / "toy.segx" / f"{part}.onnx")
    kept = keep_in_fp32(model, {})
    by_name = {node.name: node.op_type for node in model.graph.node}
    assert not {by_name[name] for name in kept} & set(WORK)
    assert {by_name[name] for name in kept} & {"Softmax", "ArgMax"}
    for node in model.graph.node:
        if node.op_type in FP32_OPERATORS:
            assert node.name in kept
