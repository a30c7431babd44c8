"""One contract for every session: a fake, OpenVINO and ONNX Runtime."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from runtime.backends import Backend, open_session
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BackendError, BundleError, FeedError
from runtime.manifest import PartSpec, Precision, TensorSpec
from runtime.model import golden_feed
from runtime.openvino_session import OpenVinoSession
from runtime.session import ExecutedPrecision, Session, check_feed

KINDS = ("fake", "openvino", "onnxruntime")


class FakeSession:
    """A session that gives prepared arrays back."""

    precision: ExecutedPrecision = "fp32"

    def __init__(self, part: PartSpec, outputs: Mapping[str, NDArray[Any]]) -> None:
        self.inputs = tuple(
            dataclasses.replace(spec, shape=spec.with_batch(1)) for spec in part.inputs
        )
        self._outputs = dict(outputs)

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        check_feed(self.inputs, feed)
        return dict(self._outputs)

    def close(self) -> None:
        self._outputs.clear()


@dataclasses.dataclass(frozen=True)
class Case:
    """An opened part with a feed and the outputs expected for it."""

    session: Session
    part: PartSpec
    feed: dict[str, NDArray[Any]]
    expected: dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(params=[(kind, part) for kind in KINDS for part in range(4)], ids=str)
def case(request: pytest.FixtureRequest, opened: Bundle) -> Iterator[Case]:
    kind, index = request.param
    part = opened.manifest.parts[index]
    feed, outputs = golden_feed(opened)
    known = {**feed, **outputs}
    expected = {spec.name: known[spec.name] for spec in part.outputs}
    session: Session = (
        FakeSession(part, expected)
        if kind == "fake"
        else open_session(kind, opened.file(part), part, threads=1)
    )
    yield Case(session, part, {spec.name: known[spec.name] for spec in part.inputs}, expected)
    session.close()


def test_inputs_are_those_of_the_part_with_the_batch_filled_in(case: Case) -> None:
    assert [spec.name for spec in case.session.inputs] == [spec.name for spec in case.part.inputs]
    assert [spec.shape for spec in case.session.inputs] == [
        array.shape for array in case.feed.values()
    ]


def test_outputs_are_those_of_the_part_in_its_order(case: Case) -> None:
    results = case.session.run(case.feed)
    assert list(results) == [spec.name for spec in case.part.outputs]
    for spec in case.part.outputs:
        assert results[spec.name].shape == spec.with_batch(1)
        assert results[spec.name].dtype == np.dtype(spec.dtype)


def test_every_backend_gives_the_same(case: Case) -> None:
    for name, array in case.session.run(case.feed).items():
        if array.dtype == np.uint8:
            np.testing.assert_array_equal(array, case.expected[name])
        else:
            np.testing.assert_allclose(array, case.expected[name], rtol=1e-5, atol=1e-5)


def test_results_that_are_kept_are_copied_as_buffers_may_be_used_again(case: Case) -> None:
    first = {name: array.copy() for name, array in case.session.run(case.feed).items()}
    other = {
        name: np.zeros_like(array) if array.dtype == np.float32 else array[..., ::-1].copy()
        for name, array in case.feed.items()
    }
    case.session.run(other)
    again = case.session.run(case.feed)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])


def test_arrays_of_any_layout_are_taken(case: Case) -> None:
    expected = {name: array.copy() for name, array in case.session.run(case.feed).items()}
    spread = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in case.feed.items()}
    frozen = {name: array.copy() for name, array in case.feed.items()}
    for array in frozen.values():
        array.flags.writeable = False
    for feed in (spread, frozen, dict(reversed(case.feed.items()))):
        for name, array in case.session.run(feed).items():
            np.testing.assert_array_equal(array, expected[name])


def test_a_missing_input_is_named(case: Case) -> None:
    name, *others = case.feed
    with pytest.raises(FeedError, match=f"input '{name}' is missing; expected"):
        case.session.run({other: case.feed[other] for other in others})


def test_an_input_too_many_is_named(case: Case) -> None:
    with pytest.raises(FeedError, match="input 'zenith' is not known; expected"):
        case.session.run({**case.feed, "zenith": np.zeros(1, dtype=np.float32)})


def test_an_input_of_another_dtype_is_named(case: Case) -> None:
    name = next(iter(case.feed))
    message = f"input '{name}' is float64; expected {case.part.inputs[0].dtype}; give the tile"
    with pytest.raises(FeedError, match=message):
        case.session.run({**case.feed, name: case.feed[name].astype(np.float64)})


@pytest.mark.parametrize("axis", [0, -1])
def test_an_input_of_another_shape_is_named(case: Case, axis: int) -> None:
    name, array = next(iter(case.feed.items()))
    wrong = np.concatenate([array, array], axis=axis)
    with pytest.raises(FeedError, match=f"input '{name}' has shape .*; expected "):
        case.session.run({**case.feed, name: wrong})


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_batch_gives_each_tile_what_it_gets_alone(opened: Bundle, backend: Backend) -> None:
    part = opened.manifest.parts[0]
    pixels = np.random.default_rng(1).integers(0, 256, (3, 5, 64, 64), dtype=np.uint8)
    alone = open_session(backend, opened.file(part), part, threads=1)
    single = [alone.run({"aerial": tile[None]})["aerial_logits"].copy() for tile in pixels]
    batched = open_session(backend, opened.file(part), part, batch=3, threads=1)
    assert batched.inputs[0].shape == (3, 5, 64, 64)
    np.testing.assert_array_equal(
        batched.run({"aerial": pixels})["aerial_logits"], np.concatenate(single)
    )


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_file_that_is_no_graph_is_one_line(
    opened: Bundle, backend: Backend, tmp_path: Path
) -> None:
    part = opened.manifest.parts[0]
    for name, content in {
        "empty.onnx": b"",
        "cut.onnx": opened.file(part).read_bytes()[:99],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError) as refused:
            open_session(backend, tmp_path / name, part)
        assert str(refused.value).count(";") >= 2
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_graph_with_other_names_than_the_manifest_says_is_refused(
    opened: Bundle, backend: Backend, side: str
) -> None:
    part = opened.manifest.parts[0]
    (spec,) = getattr(part, side)
    changes: dict[str, Any] = {side: (dataclasses.replace(spec, name="other"),)}
    renamed = dataclasses.replace(part, **changes)
    with pytest.raises(BundleError, match=r"maps aerial to aerial_logits; expected .*other"):
        open_session(backend, opened.file(part), renamed)


def test_a_shape_that_the_graph_cannot_take_is_refused(opened: Bundle) -> None:
    part = opened.manifest.parts[0]
    wider = dataclasses.replace(part.inputs[0], shape=("N", 7, 64, 64))
    with pytest.raises(BundleError, match="cannot be compiled by OpenVINO"):
        open_session("openvino", opened.file(part), dataclasses.replace(part, inputs=(wider,)))


@pytest.mark.parametrize(
    ("precision", "has_bf16", "executed", "hint"),
    [
        ("fp32", True, "fp32", "f32"),
        ("fp32", False, "fp32", "f32"),
        ("fp16", True, "bf16", "bf16"),
        ("fp16", False, "fp32", "f32"),
        ("int8", True, "int8+bf16", "bf16"),
        ("int8", False, "int8+fp32", "f32"),
    ],
)
def test_what_a_cpu_computes_in_follows_from_the_bundle_and_the_cpu(
    precision: Any,
    has_bf16: bool,
    executed: str,
    hint: str,
    opened: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, str] = {}

    def compiled(core: Any, model: Any, device: str, config: dict[str, str]) -> Any:
        asked.update(config)
        return compile_model(core, model, device, {**config, "INFERENCE_PRECISION_HINT": "f32"})

    import openvino

    compile_model = openvino.Core.compile_model
    monkeypatch.setattr(openvino.Core, "compile_model", compiled)
    monkeypatch.setattr("runtime.openvino_session._has_bf16", lambda core: has_bf16)
    part = dataclasses.replace(opened.manifest.parts[0], precision=precision)
    session = open_session("openvino", opened.file(part), part, threads=1)
    assert session.precision == executed
    assert asked["INFERENCE_PRECISION_HINT"] == hint
    assert asked["INFERENCE_NUM_THREADS"] == "1"


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


SHAPE = (1, 8, 12, 10)
QUANTIZED = """
<ir_version: 10, opset_import: ["" : 20]>
made (float[N,8,12,10] x) => (float[N,8,12,10] out) {
    half = Cast <to = 10> (x)
    xq = QuantizeLinear (half, sx, zero)
    xd = DequantizeLinear (xq, sx, zero)
    w1d = DequantizeLinear <axis = 0> (w1, sw, zeros)
    first = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (xd, w1d, b1)
    positive = Relu (first)
    rq = QuantizeLinear (positive, sr, zero)
    rd = DequantizeLinear (rq, sr, zero)
    w2d = DequantizeLinear <axis = 0> (w2, sw, zeros)
    second = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (rd, w2d, b2)
    out = Cast <to = 1> (second)
}
"""


def quantized_weights() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(4)
    found: dict[str, NDArray[Any]] = {
        # The biases over the product of the scales lie beyond FP16.
        "b1": rng.uniform(4, 8, 8).astype(np.float16),
        "b2": rng.uniform(4, 8, 8).astype(np.float16),
        "sw": rng.uniform(5e-4, 1e-3, 8).astype(np.float16),
        "zeros": np.zeros(8, dtype=np.int8),
        "w1": rng.integers(-127, 128, (8, 8, 3, 3), dtype=np.int8),
        "w2": rng.integers(-127, 128, (8, 8, 3, 3), dtype=np.int8),
    }
    scalars = {"sx": np.float16(0.03), "sr": np.float16(0.08), "zero": np.int8(0)}
    return {**found, **{name: np.asarray(value) for name, value in scalars.items()}}


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with INT8 weights, and scales and biases in FP16."""
    model = onnx.parser.parse_model(QUANTIZED)
    for name, values in quantized_weights().items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path = tmp_path_factory.mktemp("int8") / "made.onnx"
    onnx.save(model, path)
    return path


def quantized_part(precision: Precision = "int8") -> PartSpec:
    shape = ("N", *SHAPE[1:])
    return PartSpec(
        name="made",
        role="aerial",
        file="made.onnx",
        precision=precision,
        inputs=(TensorSpec(name="x", dtype="float32", shape=shape),),
        outputs=(TensorSpec(name="out", dtype="float32", shape=shape),),
    )


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


def test_what_is_executed_is_named_honestly(quantized: Path) -> None:
    session = OpenVinoSession(quantized, quantized_part(), batch=1, threads=1)
    assert session.precision in ("int8+bf16", "int8+fp32")
    assert session.computed() == {"int8": 2}
    session.require_executed()
    other = open_session("onnxruntime", quantized, quantized_part(), threads=1)
    assert other.precision == "fp32"


def test_a_part_that_is_not_run_in_int8_is_refused(opened: Bundle) -> None:
    part = dataclasses.replace(opened.manifest.parts[0], precision="int8")
    session = OpenVinoSession(opened.file(part), part, batch=1, threads=1)
    layers = r"runs with \d+ in (bf16|fp32) \(layers with weights\); expected int8"
    with pytest.raises(BundleError, match=layers):
        session.require_executed()


def test_a_part_in_fp32_that_is_run_in_anything_else_is_refused(quantized: Path) -> None:
    session = OpenVinoSession(quantized, quantized_part("fp32"), batch=1, threads=1)
    with pytest.raises(BundleError, match=r"runs with 2 in int8 .*; expected fp32"):
        session.require_executed()


def test_a_part_without_weights_passes(opened: Bundle) -> None:
    part = dataclasses.replace(opened.manifest.parts[-1], precision="int8")
    session = OpenVinoSession(opened.file(part), part, batch=1, threads=1)
    assert session.computed() == {}
    session.require_executed()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_library_that_cannot_be_imported_is_one_line(
    opened: Bundle, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, backend, None)
    part = opened.manifest.parts[0]
    with pytest.raises(BackendError, match=r"cannot be imported \(.*\); expected it .*; .*pip"):
        open_session(backend, opened.file(part), part)
