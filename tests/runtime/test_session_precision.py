"""Sessions compute in the precision that they name: OpenVINO's, and INT8 on every CPU backend."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from int8_graph import SHAPE, quantized_part, quantized_weights, write_quantized
from numpy.typing import NDArray

from runtime.backends import Backend, open_session
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BundleError
from runtime.manifest import TensorSpec
from runtime.openvino_core import computes_in_avx2, sums_int8_exactly, the_core
from runtime.openvino_rewrites import gelu_by_exponential
from runtime.openvino_session import OpenVinoSession


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.mark.parametrize(
    ("precision", "has_bf16", "has_vnni", "executed", "hint"),
    [
        ("fp32", True, True, "fp32", "f32"),
        ("fp32", False, False, "fp32", "f32"),
        ("fp16", True, True, "bf16", "bf16"),
        ("fp16", False, False, "fp32", "f32"),
        ("int8", True, True, "int8+bf16", "bf16"),
        ("int8", False, True, "int8+fp32", "f32"),
        ("int8", False, False, "fp32", "f32"),
    ],
)
def test_what_a_cpu_computes_in_follows_from_the_bundle_and_the_cpu(
    precision: Any,
    has_bf16: bool,
    has_vnni: bool,
    executed: str,
    hint: str,
    opened: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: has_vnni)
    monkeypatch.setattr("runtime.openvino_session._has_small_weights", lambda model: False)
    asked: dict[str, str] = {}

    def compiled(core: Any, model: Any, device: str, config: dict[str, str]) -> Any:
        asked.update(config)
        return compile_model(core, model, device, {**config, "INFERENCE_PRECISION_HINT": "f32"})

    core = type(the_core())
    compile_model = core.compile_model
    monkeypatch.setattr(core, "compile_model", compiled)
    monkeypatch.setattr("runtime.openvino_session.cpu_has_bf16", lambda: has_bf16)
    part = dataclasses.replace(opened.manifest.parts[0], precision=precision)
    session = open_session("openvino", opened.file(part), part, threads=1)
    assert session.precision == executed
    assert asked["INFERENCE_PRECISION_HINT"] == hint
    assert asked["INFERENCE_NUM_THREADS"] == "1"
    assert ("LP_TRANSFORMS_MODE" in asked) == (precision == "int8" and not has_vnni)


@pytest.mark.parametrize("asked", ["fp32", "fp16"])
def test_openvino_really_computes_in_the_precision_that_it_names(
    opened: Bundle, asked: Any
) -> None:
    part = dataclasses.replace(opened.manifest.parts[0], precision=asked)
    session = OpenVinoSession(opened.file(part), part, batch=1, threads=1)
    assert set(session.computed()) == {session.precision}
    assert sum(session.computed().values()) > 0
    assert asked == "fp16" or session.precision == "fp32"
    session.require_executed()


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with INT8 weights, and scales and biases in FP16."""
    return write_quantized(tmp_path_factory.mktemp("int8") / "made.onnx")


def rounded(values: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = np.clip(np.rint(values / scale), -128, 127) * scale
    return clipped


def convolved(
    x: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> NDArray[np.float64]:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    summed: NDArray[np.float64] = np.einsum("nchwij,kcij->nkhw", windows, weight)
    return summed + bias.reshape(1, -1, 1, 1)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_int8_beside_fp16_gives_the_numbers_that_the_graph_says(
    quantized: Path, backend: Backend
) -> None:
    w = {name: values.astype(np.float64) for name, values in quantized_weights().items()}
    x = np.random.default_rng(6).normal(size=SHAPE).astype(np.float32)
    weights = [w[name] * w["sw"].reshape(8, 1, 1, 1) for name in ("w1", "w2")]
    first = convolved(rounded(x.astype(np.float16), float(w["sx"])), weights[0], w["b1"])
    second = rounded(np.maximum(first, 0), float(w["sr"]))
    expected = convolved(second, weights[1], w["b2"])
    session = open_session(backend, quantized, quantized_part(), threads=1)
    found = session.run({"x": x})["out"]
    # A number that lies between two steps may be rounded to the other one.
    assert np.abs(found - expected).mean() < 0.02
    assert np.abs(found - expected).max() < 0.1
    assert np.abs(expected).max() > 5


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let INT8 be computed in INT8 whatever the processor: the weights here do not need VNNI."""
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: True)


def test_what_is_executed_is_named_honestly(quantized: Path) -> None:
    session = OpenVinoSession(quantized, quantized_part(), batch=1, threads=1)
    assert session.precision in ("int8+bf16", "int8+fp32")
    assert session.computed() == {"int8": 2}
    session.require_executed()
    other = open_session("onnxruntime", quantized, quantized_part(), threads=1)
    assert other.precision == "fp32"


@pytest.mark.parametrize(
    ("exact", "largest", "executed"),
    [(True, 65, "int8"), (False, 64, "int8"), (False, 65, "fp32"), (False, -128, "fp32")],
)
def test_a_processor_whose_int8_sums_saturate_computes_larger_weights_in_fp32(
    exact: bool,
    largest: int,
    executed: str,
    quantized: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: exact)
    model = onnx.load(quantized)
    (stored,) = (item for item in model.graph.initializer if item.name == "w2")
    weights = onnx.numpy_helper.to_array(stored).copy()
    weights[0, 0, 0, 0] = largest
    stored.CopyFrom(onnx.numpy_helper.from_array(weights, "w2"))
    path = tmp_path / "made.onnx"
    onnx.save(model, path)
    session = OpenVinoSession(path, quantized_part(), batch=1, threads=1)
    session.require_executed()
    assert set(session.computed()) == {executed}
    assert session.precision.startswith("int8") == (executed == "int8")
    x = np.random.default_rng(6).normal(size=SHAPE).astype(np.float32)
    emulated = open_session("onnxruntime", path, quantized_part(), threads=1)
    found, expected = session.run({"x": x})["out"], emulated.run({"x": x})["out"]
    assert np.abs(found - expected).mean() < 0.02


MATRIX = """
<ir_version: 10, opset_import: ["" : 20]>
made (float[N,8,12,10] x) => (float[N,8,12,10] out) {
    xq = QuantizeLinear (x, sx, zero)
    xd = DequantizeLinear (xq, sx, zero)
    wd = DequantizeLinear <axis = 1> (w, sw)
    out = MatMul (xd, wd)
}
"""


def saved_matrix(weights: NDArray[np.int8], folder: Path) -> Path:
    model = onnx.parser.parse_model(MATRIX)
    values = {
        "sx": np.float32(0.03),
        "zero": np.int8(0),
        "w": weights,
        "sw": np.full(10, 0.01, dtype=np.float32),
    }
    for name, value in values.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    onnx.save(model, folder / "made.onnx")
    return folder / "made.onnx"


def test_weights_that_are_stored_in_int8_are_not_taken_for_sums_in_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: False)
    saved_matrix(np.random.default_rng(0).integers(-127, 128, (10, 10), dtype=np.int8), tmp_path)
    session = OpenVinoSession(tmp_path / "made.onnx", quantized_part(), batch=1, threads=1)
    assert session.computed() == {"fp32": 1}
    session.require_executed()


@pytest.mark.parametrize("exact", [True, False])
def test_products_with_small_weights_are_computed_in_int8_on_every_processor(
    exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: exact)
    weights = np.random.default_rng(0).integers(-64, 65, (10, 10), dtype=np.int8)
    path = saved_matrix(weights, tmp_path)
    session = OpenVinoSession(path, quantized_part(), batch=1, threads=1)
    assert session.computed() == {"int8": 1}
    session.require_executed()
    x = {"x": np.random.default_rng(6).normal(size=SHAPE).astype(np.float32)}
    expected = open_session("onnxruntime", path, quantized_part(), threads=1).run(x)["out"]
    found = session.run(x)["out"]
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


ATTENTION = """
<ir_version: 10, opset_import: ["" : 20]>
made (float[N,8,12,12] x) => (float[N,8,12,12] out) {
    xq = QuantizeLinear (x, sx, zero)
    xd = DequantizeLinear (xq, sx, zero)
    out = MatMul (xd, xd)
}
"""


@pytest.mark.parametrize("exact", [True, False])
def test_products_of_activations_are_computed_in_int8_only_where_sums_are_exact(
    exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: exact)
    model = onnx.parser.parse_model(ATTENTION)
    for name, value in {"sx": np.float32(0.03), "zero": np.int8(0)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    onnx.save(model, tmp_path / "made.onnx")
    tensors = {
        name: TensorSpec(name=name, dtype="float32", shape=("N", 8, 12, 12))
        for name in ("x", "out")
    }
    part = dataclasses.replace(quantized_part(), inputs=(tensors["x"],), outputs=(tensors["out"],))
    session = OpenVinoSession(tmp_path / "made.onnx", part, batch=1, threads=1)
    assert session.computed() == {"int8" if exact else "fp32": 1}
    assert session.precision.startswith("int8") == exact


GELU = """
<ir_version: 10, opset_import: ["" : 20]>
made (float[N,8,12,10] x) => (float[N,8,12,10] out) {
    out = Gelu <approximate = "tanh"> (x)
}
"""


@pytest.mark.parametrize("avx2", [True, False])
def test_gelu_is_rewritten_only_for_processors_that_it_is_slow_on(
    avx2: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.openvino_session.computes_in_avx2", lambda: avx2)
    rewritten: list[Any] = []

    def rewrite(model: Any) -> None:
        rewritten.append(model)
        gelu_by_exponential(model)

    monkeypatch.setattr("runtime.openvino_session.gelu_by_exponential", rewrite)
    path = tmp_path / "made.onnx"
    onnx.save(onnx.parser.parse_model(GELU), path)
    part = quantized_part("fp32")
    session = OpenVinoSession(path, part, batch=1, threads=1)
    assert len(rewritten) == avx2
    x = {"x": np.random.default_rng(6).normal(size=SHAPE).astype(np.float32)}
    expected = open_session("onnxruntime", path, part, threads=1).run(x)["out"]
    np.testing.assert_allclose(session.run(x)["out"], expected, atol=1e-5)


def test_what_kernels_are_made_for_is_found_by_trying() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "avx2" not in flags.read_text():
        pytest.skip("nothing says what the processor has")
    assert computes_in_avx2() == ("avx512" not in flags.read_text())


def test_whether_int8_sums_are_exact_is_found_by_trying() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "flags" not in flags.read_text():
        pytest.skip("nothing says what the processor has")
    assert sums_int8_exactly() == ("vnni" in flags.read_text())


@pytest.mark.usefixtures("vnni")
def test_a_part_that_is_not_run_in_int8_is_refused(opened: Bundle) -> None:
    part = dataclasses.replace(opened.manifest.parts[0], precision="int8")
    session = OpenVinoSession(opened.file(part), part, batch=1, threads=1)
    layers = r"runs with \d+ in (bf16|fp32) \(layers with weights\); expected int8"
    with pytest.raises(BundleError, match=layers):
        session.require_executed()


@pytest.mark.usefixtures("vnni")
def test_a_part_in_fp32_that_is_run_in_anything_else_is_refused(quantized: Path) -> None:
    session = OpenVinoSession(quantized, quantized_part("fp32"), batch=1, threads=1)
    with pytest.raises(BundleError, match=r"runs with 2 in int8 .*; expected fp32"):
        session.require_executed()


def test_a_part_without_weights_passes(opened: Bundle) -> None:
    part = dataclasses.replace(opened.manifest.parts[-1], precision="int8")
    session = OpenVinoSession(opened.file(part), part, batch=1, threads=1)
    assert session.computed() == {}
    session.require_executed()
