import sys
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from exporter.lint import lint
from exporter.quantize import Int8Choices, WorkerReport, to_fp16, to_int8
from exporter.quantize_worker import StreamedSamples
from exporter.to_onnx import finish
from runtime.engines.build import BuildRequest, build_engine
from runtime.engines.options import BuildOptions
from runtime.engines.profiles import batch_profile
from runtime.engines.target import ANY_GPU, Target, here_platform
from runtime.errors import BundleError
from runtime.manifest import PartSpec, Precision, TensorSpec
from runtime.onnxruntime_session import OnnxRuntimeSession

pytestmark = pytest.mark.usefixtures("warm_converter")

SIDE = 24
BATCH = 32
"""Tiles in a sample, so that memory that a sample leaves behind can be seen."""
STARTED = (sys.executable, "-u", "-m", "exporter.quantize_worker")
"""The converter as `quantize` starts it, for which no warm one stands."""
METADATA = {"segx.part": "aerial", "segx.bundle": "made"}
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
made (uint8[N,16,24,24] aerial) => (float[N,16,24,24] aerial_logits) {
    [cast] pixels = Cast <to = 1> (aerial)
    [scale] scaled = Div (pixels, std)
    [conv] first = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (scaled, w1, b1)
    [relu] first_r = Relu (first)
    [conv_1] second = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (first_r, w2, b2)
    [relu_1] second_r = Relu (second)
    [pool] small = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (second_r)
    [conv_10] third = Conv
        <kernel_shape = [3, 3], dilations = [2, 2], pads = [2, 2, 2, 2]> (small, w3)
    [softmax] weights = Softmax <axis = 1> (third)
    [gate] gated = Mul (third, weights)
    [up] large = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> (gated, w4)
    [join] joined = Add (large, second_r)
    [head] aerial_logits = Conv <kernel_shape = [1, 1]> (joined, w5, b5)
}
"""
KEEP = ("cast", "scale", "softmax", "conv_1")
SKIP = ("head",)
DEAD = 3
"""Output channel of the second convolution whose weights are too small for FP16."""


def weights() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    shapes = {"w1": (16, 16, 3, 3), "w2": (16, 16, 3, 3), "w3": (16, 16, 3, 3)}
    shapes |= {"w4": (16, 16, 2, 2), "w5": (16, 16, 1, 1)}
    found = {
        name: (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    found["w1"][DEAD] *= 1e-9
    found |= {name: rng.normal(size=16).astype(np.float32) for name in ("b1", "b2", "b5")}
    return {**found, "std": np.full((1, 16, 1, 1), 64.0, dtype=np.float32)}


def spec(precision: Precision) -> PartSpec:
    shape = ("N", 16, SIDE, SIDE)
    return PartSpec(
        name="aerial",
        role="aerial",
        file="aerial.onnx",
        precision=precision,
        inputs=(TensorSpec(name="aerial", dtype="uint8", shape=shape),),
        outputs=(TensorSpec(name="aerial_logits", dtype="float32", shape=shape),),
    )


def tile(seed: int, batch: int = 1) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {"aerial": rng.integers(0, 256, (batch, 16, SIDE, SIDE), dtype=np.uint8)}


def write_samples(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        np.savez(folder / f"{index:04d}.npz", **tile(index, BATCH))  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = onnx.parser.parse_model(GRAPH)
    for name, values in weights().items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    path = tmp_path_factory.mktemp("graphs") / "aerial.onnx"
    onnx.save(finish(model, METADATA), path)
    return path


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / "few", 6)


Converted = tuple[ModelProto, WorkerReport, Path]


@pytest.fixture(scope="module")
def half(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    target = tmp_path_factory.mktemp("half") / "aerial.onnx"
    report = to_fp16(source, target, keep=KEEP, command=STARTED)
    return onnx.load(target), report, target


@pytest.fixture(scope="module")
def quantized(source: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    target = tmp_path_factory.mktemp("int8") / "aerial.onnx"
    report = to_int8(
        source, target, samples=samples, choices=Int8Choices(method="max"), skip=SKIP, keep=KEEP
    )
    return onnx.load(target), report, target


@pytest.fixture(params=["half", "quantized"])
def converted(request: pytest.FixtureRequest) -> Converted:
    found: Converted = request.getfixturevalue(request.param)
    return found


def types(model: ModelProto) -> dict[str, int]:
    """Element type of what each node gives, by the node's name."""
    values = {
        value.name: value.type.tensor_type.elem_type
        for value in (*model.graph.value_info, *model.graph.output)
    }
    return {node.name: values[node.output[0]] for node in model.graph.node}


def from_dequantize(model: ModelProto, name: str) -> list[bool]:
    """Whether each of the first two inputs of a node comes from DequantizeLinear."""
    given = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    node = next(node for node in model.graph.node if node.name == name)
    return [value in given for value in node.input[:2]]


def test_inputs_outputs_versions_and_metadata_stay(source: Path, converted: Converted) -> None:
    before, after = onnx.load(source), converted[0]
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert {item.key: item.value for item in after.metadata_props} == METADATA
    assert after.ir_version == 10
    assert [(item.domain, item.version) for item in after.opset_import] == [("", 20)]


def test_every_node_keeps_its_name_and_operator(source: Path, converted: Converted) -> None:
    before = {node.name: node.op_type for node in onnx.load(source).graph.node}
    after = {node.name: node.op_type for node in converted[0].graph.node}
    assert before.items() <= after.items()


def test_the_results_break_no_rule_but_that_too_much_is_kept(
    half: Converted, quantized: Converted
) -> None:
    assert lint(quantized[0], spec("int8")) == ()
    (finding,) = lint(half[0], spec("fp16"))
    assert (finding.rule, finding.text[:8]) == ("precision", "60 % FP1")


def test_nodes_that_are_kept_and_no_others_are_fp32(half: Converted) -> None:
    found = types(half[0])
    names = [name for name in found if "cast_to" not in name]
    assert {name for name in names if found[name] == TensorProto.FLOAT} == set(KEEP)
    assert {found[name] for name in names if name not in KEEP} == {TensorProto.FLOAT16}
    assert (half[1].quantized, half[1].half, half[1].kept) == (0, 9, 3)


def test_a_batch_of_two_runs_and_agrees_with_fp32(source: Path, converted: Converted) -> None:
    feed = {"aerial": np.concatenate([tile(seed)["aerial"] for seed in (10, 11)])}
    results = []
    precision: Precision = "int8" if converted[1].quantized else "fp16"
    for path, part in ((source, spec("fp32")), (converted[2], spec(precision))):
        session = OnnxRuntimeSession(path, part, batch=2, threads=1)
        results.append(session.run(feed)["aerial_logits"])
    tolerance = 0.05 if precision == "int8" else 0.002
    scale = float(np.abs(results[0]).max())
    assert 0 < np.abs(results[0] - results[1]).max() < tolerance * scale


def test_weights_are_stored_as_int8_and_activations_go_through_both(quantized: Converted) -> None:
    model = quantized[0]
    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert node.input[0] not in constants
    stored = {
        node.name: constants[weight.input[0]].data_type
        for node in model.graph.node
        if node.op_type == "Conv"
        for weight in model.graph.node
        if weight.op_type == "DequantizeLinear" and weight.output[0] == node.input[1]
    }
    assert stored == dict.fromkeys(("conv", "conv_1", "conv_10"), TensorProto.INT8)
    for name in stored:
        assert from_dequantize(model, name) == [True, True]


def test_nodes_that_are_skipped_and_transposed_convolutions_have_no_qdq(
    quantized: Converted,
) -> None:
    assert from_dequantize(quantized[0], "head") == [False, False]
    assert from_dequantize(quantized[0], "up") == [False, False]
    assert quantized[1].quantized >= 3


def test_biases_are_not_quantised(quantized: Converted) -> None:
    kinds = {item.name: item.data_type for item in quantized[0].graph.initializer}
    biases = [node.input[2] for node in quantized[0].graph.node if len(node.input) == 3]
    found = Counter(kinds[name] for name in biases if kinds.get(name) != TensorProto.INT8)
    assert found == {TensorProto.FLOAT16: 2, TensorProto.FLOAT: 1}


def test_a_pair_beside_a_node_in_fp32_is_in_fp32_too(quantized: Converted) -> None:
    model = quantized[0]
    givers = {name: node for node in model.graph.node for name in node.output}
    kept = next(node for node in model.graph.node if node.name == "conv_1")
    assert [givers[name].op_type for name in kept.input[:2]] == ["DequantizeLinear"] * 2
    assert types(model)["conv_1"] == TensorProto.FLOAT


def test_scales_are_fp16_numbers_above_zero(quantized: Converted) -> None:
    constants = {i.name: numpy_helper.to_array(i) for i in quantized[0].graph.initializer}
    dequantizers = [n for n in quantized[0].graph.node if n.op_type == "DequantizeLinear"]
    scales = [constants[node.input[1]].astype(np.float32) for node in dequantizers]
    for scale in scales:
        assert (scale > 0).all()
        np.testing.assert_array_equal(scale, scale.astype(np.float16).astype(np.float32))
    assert min(float(scale.min()) for scale in scales) == pytest.approx(2**-24)


def test_a_file_of_int8_is_smaller_than_one_of_fp16_and_that_than_fp32(
    source: Path, half: Converted, quantized: Converted
) -> None:
    def bytes_of_weights(path: Path) -> int:
        wide = [i for i in onnx.load(path).graph.initializer if i.dims and np.prod(i.dims) > 500]
        return sum(len(item.raw_data) for item in wide)

    # Three weights of 2304 and one of 1024; the head is too small to count.
    assert bytes_of_weights(source) == 4 * (3 * 2304 + 1024)
    assert bytes_of_weights(half[2]) == 2 * (2 * 2304 + 1024) + 4 * 2304
    assert bytes_of_weights(quantized[2]) == 3 * 2304 + 2 * 1024


@pytest.fixture(scope="module")
def transposed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Quantised by entropy, on many samples, with transposed convolutions."""
    folder = tmp_path_factory.mktemp("transposed")
    samples, target = write_samples(folder / "many", 40), folder / "aerial.onnx"
    report = to_int8(
        source,
        target,
        samples=samples,
        choices=Int8Choices(method="entropy", transposed=True),
        skip=(),
        keep=KEEP,
    )
    return onnx.load(target), report, target


def test_transposed_convolutions_are_quantised_on_request(transposed: Converted) -> None:
    assert from_dequantize(transposed[0], "up") == [True, True]


def test_memory_does_not_grow_with_the_number_of_samples(
    quantized: Converted, transposed: Converted
) -> None:
    assert transposed[1].peak_rss_mib < 1.1 * quantized[1].peak_rss_mib


def test_ranges_by_entropy_lie_within_the_largest_magnitude(
    quantized: Converted, transposed: Converted
) -> None:
    def scale(model: ModelProto, value: str) -> float:
        constants = {item.name: item for item in model.graph.initializer}
        (node,) = (n for n in model.graph.node if n.input[0] == value and "Quantize" in n.op_type)
        return float(numpy_helper.to_array(constants[node.input[1]]))

    largest = scale(quantized[0], "first_r")
    assert 0.2 * largest < scale(transposed[0], "first_r") <= 1.05 * largest


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
def test_tensorrt_rtx_builds_the_engine_of_a_quantised_graph(
    quantized: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    target = Target(
        builder="tensorrt-rtx",
        builder_version=version("tensorrt-rtx-cu13"),
        compute_capability="8.6",
        gpu=ANY_GPU,
        platform=here_platform(),
    )
    request = BuildRequest(
        onnx=quantized[2],
        part=spec("int8"),
        target=target,
        profile=batch_profile(spec("int8"), opt=1, most=1),
        options=BuildOptions(optimization_level=0),
        timing_cache=None,
    )
    built = build_engine(request, tmp_path / "part.engine", on_progress=lambda *_: None)
    assert built.size_bytes == (tmp_path / "part.engine").stat().st_size > 10_000
    assert built.notes == ()


def test_names_that_the_graph_does_not_have_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep names conv_2, which is no node of the graph"):
        to_fp16(source, tmp_path / "out.onnx", keep=["conv_2"])


COPY = "import json, shutil, sys; job = json.load(open(sys.argv[1])); "
CHANGE = COPY + (
    "import onnx; m = onnx.load(job['source']); {change}; onnx.save(m, job['target']); "
    "open(job['report'], 'w').write('{{\"peak_rss_mib\": 1.0}}')"
)
FAULTS = {
    "dies": ("import os; os.abort()", "the converter ended with signal 6: no message"),
    "fails": ("raise MemoryError('too large')", "ended with code 1: MemoryError: too large"),
    "freezes the batch": (
        CHANGE.format(change="m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1"),
        r"changed inputs or outputs \(aerial \[1, 16, 24, 24\]",
    ),
    "renames the output": (
        CHANGE.format(change="m.graph.output[0].name = m.graph.node[-1].output[0] = 'y'"),
        r"changed inputs or outputs .*y \['N', 16, 24, 24\]",
    ),
    "gives another type": (
        CHANGE.format(change="m.graph.output[0].type.tensor_type.elem_type = 10"),
        "changed inputs or outputs",
    ),
    "gives an invalid graph": (CHANGE.format(change="del m.graph.node[4]"), "that is not valid"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_converter_that_fails_is_one_line_and_leaves_what_was_there(
    fault: str, source: Path, tmp_path: Path
) -> None:
    code, message = FAULTS[fault]
    target = tmp_path / "out.onnx"
    target.write_bytes(b"as it was")
    with pytest.raises(BundleError, match=message) as refused:
        to_fp16(source, target, keep=(), command=(sys.executable, "-c", code))
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("aerial.onnx cannot be converted: ")
    assert target.read_bytes() == b"as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


def test_a_converter_that_hangs_is_ended(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.quantize.TIME_LIMIT_S", 0.5)
    hangs = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(BundleError, match=r"the converter took more than 0\.5 s; expected"):
        to_fp16(source, tmp_path / "out.onnx", keep=(), command=hangs)


def test_a_converter_that_cannot_be_started_is_one_line(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be started"):
        to_fp16(source, tmp_path / "out.onnx", keep=(), command=("/does/not/exist",))


def test_samples_are_read_one_by_one_in_the_order_of_their_names(samples: Path) -> None:
    reader = StreamedSamples(samples)
    found = []
    while (feed := reader.get_next()) is not None:
        found.append(feed["aerial"])
        np.testing.assert_array_equal(reader.get_first()["aerial"], tile(0, BATCH)["aerial"])
    for index, array in enumerate(found):
        np.testing.assert_array_equal(array, tile(index, BATCH)["aerial"])
    assert len(found) == 6
    reader.rewind()
    again = reader.get_next()
    assert again is not None
    np.testing.assert_array_equal(again["aerial"], found[0])


def test_a_folder_without_samples_is_refused(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    with pytest.raises(ValueError, match="holds no samples"):
        to_int8(
            source, target, samples=tmp_path, choices=Int8Choices(method="max"), skip=(), keep=()
        )
