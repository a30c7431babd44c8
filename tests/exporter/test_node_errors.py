"""A node answers for its own error, whatever the nodes before it do."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from exporter.emulate import emulate
from exporter.node_errors import NodeError, measure_errors
from exporter.quantize import Int8Choices, to_fp16, to_int8
from exporter.to_onnx import finish

pytestmark = pytest.mark.usefixtures("warm_converter")

SIDE, CHANNELS = 16, 16
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
made (uint8[N,16,16,16] aerial) => (float[N,16,16,16] aerial_logits) {
    [cast] pixels = Cast <to = 1> (aerial)
    [scale] scaled = Div (pixels, std)
    [first] a = Conv <pads = [1, 1, 1, 1]> (scaled, w1)
    [large] b = Mul (a, thousand)
    [too_large] c = Mul (b, thousand)
    [small] d = Mul (c, thousandth)
    [usual] e = Mul (d, thousandth)
    [relu] f = Relu (e)
    [second] g = Conv <pads = [1, 1, 1, 1]> (f, w2)
    [relu_1] h = Relu (g)
    [third] aerial_logits = Conv <pads = [1, 1, 1, 1]> (h, w2)
}
"""


def feed(seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {"aerial": rng.integers(0, 256, (1, CHANNELS, SIDE, SIDE), dtype=np.uint8)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(7)
    model = onnx.parser.parse_model(GRAPH)
    shape = (CHANNELS, CHANNELS, 3, 3)
    weights = {name: rng.normal(size=shape) / 12 for name in ("w1", "w2")}
    weights |= {"std": np.full((1, CHANNELS, 1, 1), 64.0)}
    weights |= {"thousand": np.array(1000.0), "thousandth": np.array(0.001)}
    for name, values in weights.items():
        tensor = numpy_helper.from_array(values.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    path = tmp_path_factory.mktemp("errors") / "source.onnx"
    onnx.save(finish(model, {}), path)
    return path


def emulated(converted: Path) -> Path:
    path = converted.with_name("emulation.onnx")
    onnx.save(emulate(onnx.load(converted)), path)
    return path


@pytest.fixture(scope="module")
def half(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NodeError]:
    target = tmp_path_factory.mktemp("half") / "half.onnx"
    to_fp16(source, target, keep=("cast", "scale", "third"))
    return measure_errors(source, emulated(target), [feed(1), feed(2)])


@pytest.fixture(scope="module")
def quantized(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NodeError]:
    folder = tmp_path_factory.mktemp("int8")
    (folder / "samples").mkdir()
    np.savez(folder / "samples" / "0.npz", **feed(3))  # type: ignore[arg-type]
    target = folder / "int8.onnx"
    to_int8(
        source,
        target,
        samples=folder / "samples",
        choices=Int8Choices(method="max"),
        skip=("second",),
        keep=("large", "too_large", "small"),
    )
    return measure_errors(source, emulated(target), [feed(1)])


def test_only_what_makes_or_takes_a_number_beyond_fp16_is_not_finite(
    half: dict[str, NodeError],
) -> None:
    # What follows was given exact numbers, and so is not to blame.
    assert {name for name, error in half.items() if error.nonfinite} == {"too_large"}


def test_sound_nodes_add_roundings_only(half: dict[str, NodeError]) -> None:
    sound = {name: error.relative for name, error in half.items() if not error.nonfinite}
    assert max(sound.values()) < 1e-3
    assert sound["second"] > 1e-5
    assert sound["scale"] == 0.0


def test_every_node_with_floating_results_is_measured(
    half: dict[str, NodeError], source: Path
) -> None:
    assert list(half) == [node.name for node in onnx.load(source).graph.node]


def test_what_takes_int8_is_told_and_adds_more(quantized: dict[str, NodeError]) -> None:
    marked = {name for name, error in quantized.items() if error.quantized}
    assert {"first", "third"} <= marked
    assert "second" not in marked
    assert quantized["third"].relative > 10 * quantized["second"].relative
    assert not any(error.nonfinite for error in quantized.values())


def product(factor: np.generic, body: str) -> ModelProto:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[N,8] x) => (float[N,8] y) {{{body}}}'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(factor), "w"))
    return model


EXACT = "[times] m = Mul (x, w) [plus] y = Add (m, m)"
HALVED = """
    [in] x16 = Cast <to = 10> (x)
    [times] m = Mul (x16, w)
    [out] m32 = Cast <to = 1> (m)
    [plus] y = Add (m32, m32)
"""


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8),
    factor=st.sampled_from([0.5, 3.0, 1e-3, 2e-5]),
)
def test_errors_are_those_of_numbers_rounded_to_fp16(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], factor: float
) -> None:
    folder = tmp_path_factory.mktemp("law")
    onnx.save(product(np.float32(factor), EXACT), folder / "source.onnx")
    onnx.save(emulate(product(np.float16(factor), HALVED)), folder / "emulation.onnx")
    x = np.array([values], dtype=np.float32)
    found = measure_errors(folder / "source.onnx", folder / "emulation.onnx", [{"x": x}])
    exact = x * np.float32(factor)
    half = x.astype(np.float16).astype(np.float32) * np.float32(np.float16(factor))
    half = half.astype(np.float16).astype(np.float32)
    size = np.abs(exact).sum()
    expected = np.abs(half - exact).sum() / size if size else 0.0
    assert found["times"].relative == pytest.approx(expected, rel=1e-4, abs=1e-9)
    lost = np.mean(half[exact != 0] == 0) if exact.any() else 0.0
    assert found["times"].flushed == pytest.approx(lost, abs=1e-6)
    # The sum is in FP32, and takes the exact product.
    assert found["plus"] == NodeError()


def test_errors_need_feeds(source: Path) -> None:
    with pytest.raises(ValueError, match="no feeds"):
        measure_errors(source, source, [])
