from collections.abc import Callable
from typing import get_args

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper

from exporter.proof import MacShares, mac_shares, require_precision
from runtime.errors import BundleError
from runtime.manifest import Precision


def graph(body: str, constants: dict[str, tuple[int, ...]]) -> ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> '
        f"g (float[N,6,8,10] x) => (float[N,4,8,10] out) {{{body}}}"
    )
    for name, shape in constants.items():
        values = np.ones(shape, dtype="int8" if name.startswith("q") else "float32")
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def layer(name: str, precision: str, kernel: int = 1) -> tuple[str, dict[str, tuple[int, ...]]]:
    """A convolution from 6 to 4 channels, and its constants."""
    pads = ", ".join([str(kernel // 2)] * 4)
    conv = f"Conv <kernel_shape = [{kernel}, {kernel}], pads = [{pads}]>"
    shape = (4, 6, kernel, kernel)
    if precision == "fp32":
        return f"{name} = {conv} (x, w{name})", {f"w{name}": shape}
    if precision == "fp16":
        body = f"h{name} = Cast <to = 10> (x) f{name} = Cast <to = 10> (w{name}) "
        body += f"c{name} = {conv} (h{name}, f{name}) {name} = Cast <to = 1> (c{name})"
        return body, {f"w{name}": shape}
    body = f"a{name} = QuantizeLinear (x, s) d{name} = DequantizeLinear (a{name}, s) "
    body += f"v{name} = DequantizeLinear (q{name}, s) {name} = {conv} (d{name}, v{name})"
    return body, {f"q{name}": shape, "s": ()}


def mixed(kernels: dict[Precision, int]) -> ModelProto:
    """Convolutions beside each other, one a precision, added up."""
    parts = [layer(precision, precision, kernel) for precision, kernel in kernels.items()]
    constants = {name: shape for _, items in parts for name, shape in items.items()}
    total = " ".join(body for body, _ in parts)
    return graph(f"{total} out = Sum ({', '.join(kernels)})", constants)


@given(
    st.dictionaries(
        st.sampled_from(["int8", "fp16", "fp32"]), st.sampled_from([1, 3, 5]), min_size=1
    )
)
def test_shares_are_the_work_of_each_precision(kernels: dict[Precision, int]) -> None:
    work = {precision: kernel**2 for precision, kernel in kernels.items()}
    total = sum(work.values())
    found = mac_shares(mixed(kernels))
    assert found.int8 == pytest.approx(work.get("int8", 0) / total)
    assert found.fp16 == pytest.approx(work.get("fp16", 0) / total)
    assert found.fp32 == pytest.approx(work.get("fp32", 0) / total)
    assert found.int8 + found.fp16 + found.fp32 == pytest.approx(1)


COUNTED: dict[str, tuple[str, dict[str, tuple[int, ...]], int]] = {
    "Conv in groups": (
        "y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 2> (x, w)",
        {"w": (4, 3, 3, 3)},
        8 * 10 * 4 * 3 * 9,
    ),
    "Conv with strides": (
        "y = Conv <kernel_shape = [2, 2], strides = [2, 2]> (x, w)",
        {"w": (4, 6, 2, 2)},
        4 * 5 * 4 * 6 * 4,
    ),
    "ConvTranspose": (
        "y = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> (x, w)",
        {"w": (6, 4, 2, 2)},
        8 * 10 * 6 * 4 * 4,
    ),
    "MatMul": ("y = MatMul (x, w)", {"w": (10, 7)}, 6 * 8 * 10 * 7),
    "Gemm": ("f = Flatten (x) y = Gemm (f, w)", {"w": (480, 3)}, 480 * 3),
    "Gemm, transposed": (
        "f = Flatten (x) t = Transpose (f) y = Gemm <transA = 1> (t, w)",
        {"w": (480, 3)},
        480 * 3,
    ),
}


@pytest.mark.parametrize("operator", COUNTED)
def test_each_operator_is_counted(operator: str) -> None:
    body, constants, macs = COUNTED[operator]
    # Beside a known convolution in INT8: the share tells the count.
    known, more = layer("known", "int8")
    model = graph(f"{body} {known} out = Identity (known)", {**constants, **more})
    assert mac_shares(model).fp32 == pytest.approx(macs / (macs + 8 * 10 * 4 * 6))


def test_weights_alone_in_int8_do_not_make_int8() -> None:
    body = "v = DequantizeLinear (qw, s) out = Conv <kernel_shape = [1, 1]> (x, v)"
    model = graph(body, {"qw": (4, 6, 1, 1), "s": ()})
    assert mac_shares(model) == MacShares(int8=0.0, fp16=0.0, fp32=1.0)


Make = Callable[[], ModelProto]
REFUSED: dict[str, tuple[Precision, Make, str]] = {
    "fp16, given fp32": ("fp16", lambda: mixed({"fp32": 1}), "in fp16 and has 100 % FP32 of"),
    "fp16, too much in fp32": (
        "fp16",
        lambda: mixed({"fp16": 3, "fp32": 3}),
        "has 50 % FP16, 50 % FP32 of the multiplications; expected at least 90 % FP16",
    ),
    "fp16, given int8": ("fp16", lambda: mixed({"int8": 3, "fp16": 1}), "has 90 % INT8, 10 % F"),
    "int8, given fp16": ("int8", lambda: mixed({"fp16": 1}), "expected at least 50 % INT8"),
    "int8, too little": ("int8", lambda: mixed({"int8": 3, "fp16": 5}), "26 % INT8, 74 % FP16"),
    "fp32, given some fp16": ("fp32", lambda: mixed({"fp32": 5, "fp16": 1}), "least 100 % FP32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_precision_than_asked_for_is_refused(case: str) -> None:
    asked, make, message = REFUSED[case]
    with pytest.raises(BundleError, match=message) as refused:
        require_precision(make(), asked, "aerial")
    assert str(refused.value).startswith(f"part 'aerial' was asked for in {asked} and has ")
    assert str(refused.value).count(";") == 2


@pytest.mark.parametrize(
    ("asked", "kernels"),
    [
        ("fp32", {"fp32": 3}),
        ("fp16", {"fp16": 3}),
        ("fp16", {"fp16": 5, "fp32": 1}),
        ("int8", {"int8": 3, "fp16": 3}),
        ("int8", {"int8": 5, "fp32": 1}),
    ],
)
def test_the_precision_that_was_asked_for_passes(
    asked: Precision, kernels: dict[Precision, int]
) -> None:
    model = mixed(kernels)
    assert require_precision(model, asked, "aerial") == mac_shares(model)


def test_a_part_without_multiplications_passes() -> None:
    model = graph("out = Slice (x, a, b, c)", {})
    for name, value in (("a", 0), ("b", 4), ("c", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    for asked in get_args(Precision):
        shares = require_precision(model, asked, "fusion")
        assert shares == MacShares(int8=0.0, fp16=0.0, fp32=0.0)
        assert str(shares) == "no multiplications"


def test_a_size_that_depends_on_the_data_is_a_wrong_call() -> None:
    model = graph(
        "i = NonZero (x) f = Cast <to = 1> (i) y = MatMul (w, f) out = Relu (x)", {"w": (2, 4)}
    )
    with pytest.raises(ValueError, match="sizes of MatMul"):
        mac_shares(model)
    message = r"'made' in fp16: the sizes of MatMul .* are not known; expected sizes"
    with pytest.raises(BundleError, match=message):
        require_precision(model, "fp16", "made")


def test_the_exported_graphs_are_fp32(graphs: dict[str, ModelProto]) -> None:
    for name, model in graphs.items():
        require_precision(model, "fp32", name)
