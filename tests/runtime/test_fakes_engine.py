"""Fake engines open where real ones would, compute on the fake device, and are inspected."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import FakeGpu
from fake_gpu_memory import host_view
from fake_graphs import QUANTIZED, write_graph
from fake_tensorrt import FakeTensorRT, Messages, build_plan, make_tensorrt, surface_versions

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

VERSIONS = surface_versions()
OLD, NEW, RTX = "10.3.0", "11.4.0.106", "1.7.1.116"


@pytest.fixture(params=VERSIONS)
def trt(request: pytest.FixtureRequest) -> FakeTensorRT:
    return make_tensorrt(request.param, gpu=FakeGpu())


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "part.onnx")


def names(trt: FakeTensorRT) -> Any:
    """The module as code under test sees it: without types."""
    return trt


def opened(trt: FakeTensorRT, plan: bytes) -> tuple[Any, Messages]:
    messages = Messages(trt)
    return names(trt).Runtime(messages.logger).deserialize_cuda_engine(plan), messages


class Run:
    """Buffers and a stream for the graph above."""

    def __init__(self, trt: FakeTensorRT, plan: bytes, batch: int = 1) -> None:
        assert trt.gpu is not None
        self.gpu, self.batch = trt.gpu, batch
        self.gpu.cuInit(0)
        self.gpu.cuCtxPushCurrent(self.gpu.cuDevicePrimaryCtxRetain(0))
        self.engine, self.messages = opened(trt, plan)
        self.context = self.engine.create_execution_context()
        self.stream = self.gpu.cuStreamCreate(1)
        self.sizes = {"pixels": batch * 192, "logits": batch * 256}
        self.device = {name: self.gpu.cuMemAlloc(size) for name, size in self.sizes.items()}
        host = {name: self.gpu.cuMemHostAlloc(size, 0) for name, size in self.sizes.items()}
        self.host, self.addresses = {n: host_view(a, self.sizes[n]) for n, a in host.items()}, host
        self.host["pixels"][:] = np.arange(self.sizes["pixels"]) % 251

    def bind(self) -> None:
        assert self.context.set_input_shape("pixels", (self.batch, 3, 8, 8))
        for name, address in self.device.items():
            assert self.context.set_tensor_address(name, address)

    def queue(self) -> bool:
        size, stream = self.sizes, self.stream
        self.gpu.cuMemcpyHtoDAsync(
            self.device["pixels"], self.addresses["pixels"], size["pixels"], stream
        )
        done: bool = self.context.execute_async_v3(stream)
        self.gpu.cuMemcpyDtoHAsync(
            self.addresses["logits"], self.device["logits"], size["logits"], stream
        )
        return done

    @property
    def logits(self) -> Any:
        return self.host["logits"].view(np.float16).reshape(self.batch, 2, 8, 8)

    @property
    def expected(self) -> Any:
        pixels = self.host["pixels"].reshape(self.batch, 3, 8, 8).astype(np.float32)
        weights = np.arange(6, dtype=np.float32).reshape(2, 3)
        return np.einsum("kc,nchw->nkhw", weights, pixels).astype(np.float16)


@pytest.fixture
def run(trt: FakeTensorRT, onnx_file: Path) -> Iterator[Run]:
    made = Run(trt, build_plan(trt, onnx_file, most=2), batch=2)
    yield made
    made.gpu.cuCtxPopCurrent()


# Opening.


def test_plans_of_another_version_device_or_kind_are_refused(onnx_file: Path) -> None:
    ampere, ada = FakeGpu(compute_capability=(8, 6)), FakeGpu(compute_capability=(8, 9))
    plan = build_plan(make_tensorrt(OLD, gpu=ada), onnx_file)
    engine, messages = opened(make_tensorrt(OLD, gpu=ampere), plan)
    assert engine is None
    assert "incompatible device, expecting compute 8.6 got compute 8.9" in messages.errors()
    engine, messages = opened(make_tensorrt(NEW, gpu=ada), plan)
    assert engine is None
    assert f"expecting library version {NEW} got {OLD}" in messages.errors()
    for damaged in (b"", b"x" * 999, plan[:70]):
        engine, messages = opened(make_tensorrt(OLD, gpu=ada), damaged)
        assert engine is None
        assert "Error Code 1: Serialization" in messages.errors()
    engine, messages = opened(make_tensorrt(OLD, gpu=FakeGpu("Another")), plan)
    assert engine is not None
    assert any("different models of devices" in text for _, text in messages.texts)


def test_tensorrt_rtx_tells_from_the_header_whether_a_plan_fits(onnx_file: Path) -> None:
    trt = names(make_tensorrt(RTX, gpu=FakeGpu(compute_capability=(7, 5))))
    plan = build_plan(trt, onnx_file)
    runtime, why = trt.Runtime(trt.Logger()), trt.EngineInvalidityDiagnostics
    size, invalid = runtime.engine_header_size, trt.EngineValidity.INVALID
    assert runtime.get_engine_validity(plan[:size]) == (invalid, int(why.UNSUPPORTED_CC))
    assert runtime.get_engine_validity(b"x" * size) == (invalid, int(why.MALFORMED_ENGINE))
    older = plan.replace(RTX.encode(), b"1.1.0.000")
    assert runtime.get_engine_validity(older) == (invalid, int(why.VERSION_MISMATCH))
    trt.gpu.compute_capability = (8, 9)
    assert runtime.get_engine_validity(plan[:size]) == (trt.EngineValidity.VALID, 0)


def test_an_engine_tells_its_tensors_and_profile(trt: FakeTensorRT, onnx_file: Path) -> None:
    engine, _ = opened(trt, build_plan(trt, onnx_file, opt=2, most=4))
    module = names(trt)
    assert [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)] == ["pixels", "logits"]
    assert engine.get_tensor_mode("logits") is module.TensorIOMode.OUTPUT
    assert engine.get_tensor_dtype("pixels") is module.uint8
    assert engine.get_tensor_shape("pixels") == (-1, 3, 8, 8)
    shapes = engine.get_tensor_profile_shape("pixels", 0)
    assert [tuple(shape) for shape in shapes] == [(n, 3, 8, 8) for n in (1, 2, 4)]
    assert engine.get_tensor_mode("nothing") is module.TensorIOMode.NONE


@pytest.mark.parametrize("version", VERSIONS)
def test_device_memory_is_given_back_with_engine_and_context(version: str, onnx_file: Path) -> None:
    gpu = FakeGpu(memory_mib=4)
    trt = make_tensorrt(version, gpu=gpu)
    engine, messages = opened(trt, build_plan(trt, onnx_file, most=2))
    first = engine.create_execution_context()
    assert gpu.live() == {"device blocks": 2}
    assert engine.create_execution_context() is None
    assert "createExecutionContext: Error Code 2: OutOfMemory" in messages.errors()
    del first, engine
    gc.collect()
    assert gpu.live() == {}


def test_an_engine_that_outlives_its_primary_context_is_a_fault(onnx_file: Path) -> None:
    trt = make_tensorrt(OLD, gpu=FakeGpu())
    run = Run(trt, build_plan(trt, onnx_file))
    run.gpu.cuCtxPopCurrent()
    run.gpu.cuDevicePrimaryCtxRelease(0)
    del run.context, run.engine
    assert [fault.split(" ")[0:2] for fault in run.gpu.faults] == [["the", "primary"]] + [
        ["a", "TensorRT"]
    ] * 2


# Running.


def test_outputs_are_old_until_the_stream_is_synchronised_and_right_then(run: Run) -> None:
    run.bind()
    assert run.queue()
    assert np.isnan(run.logits).all()
    run.gpu.cuStreamSynchronize(run.stream)
    np.testing.assert_array_equal(run.logits, run.expected)
    assert run.logits.any()


def test_a_run_uses_the_addresses_that_were_bound_when_it_was_queued(run: Run) -> None:
    run.bind()
    run.queue()
    run.context.set_tensor_address("logits", run.device["pixels"])
    run.gpu.cuStreamSynchronize(run.stream)
    np.testing.assert_array_equal(run.logits, run.expected)


def test_a_run_is_refused_without_shape_address_or_context(run: Run) -> None:
    context, errors = run.context, run.messages.errors
    assert context.infer_shapes() == ["pixels"]
    assert not context.execute_async_v3(run.stream)
    assert "input pixels has no shape" in errors()
    assert context.set_input_shape("pixels", (1, 3, 8, 8))
    assert context.infer_shapes() == []
    assert not context.execute_async_v3(run.stream)
    assert "Address is not set for tensor pixels" in errors()
    run.bind()
    assert not context.execute_async_v3(12345)
    assert "CUDA_ERROR_INVALID_HANDLE" in errors()
    pushed = run.gpu.cuCtxPopCurrent()
    assert not context.execute_async_v3(run.stream)
    assert "invalid device context" in errors()
    run.gpu.cuCtxPushCurrent(pushed)
    assert context.execute_async_v3(run.stream)


def test_shapes_outside_of_the_profile_are_refused(run: Run) -> None:
    context, errors = run.context, run.messages.errors
    assert not context.set_input_shape("pixels", (3, 3, 8, 8))
    assert "does not satisfy any optimization profile" in errors()
    assert not context.set_input_shape("pixels", (1, 3, 9, 8))
    assert "Static dimension mismatch" in errors()
    assert not context.set_input_shape("logits", (1, 2, 8, 8))
    assert not context.set_tensor_address("nothing", 1)
    assert context.set_input_shape("pixels", (2, 3, 8, 8))
    assert context.get_tensor_shape("logits") == (2, 2, 8, 8)
    assert context.get_max_output_size("logits") == 2 * 2 * 8 * 8 * 2


def test_any_call_can_be_made_to_fail_and_is_recorded(run: Run, trt: FakeTensorRT) -> None:
    run.bind()
    trt.fail("execute_async_v3", returns=False, message="Error Code 1: Cask (failed)", after=1)
    assert run.context.execute_async_v3(run.stream)
    assert run.context.execute_async_v3(run.stream) is False
    assert "Cask" in run.messages.errors()
    assert len(trt.called("execute_async_v3")) == 2
    assert trt.called("IExecutionContext.set_input_shape")[0].args == ("pixels", (2, 3, 8, 8))
    trt.fail("create_execution_context", raises=RuntimeError("boom"))
    with pytest.raises(RuntimeError, match="boom"):
        run.engine.create_execution_context()
    trt.fail("Runtime", message="Error Code 6")
    messages = Messages(trt)
    with pytest.raises(TypeError, match="nullptr"):
        names(trt).Runtime(messages.logger)
    assert messages.errors() == "Error Code 6"
    with pytest.raises(ValueError, match="has no execute_async_v9"):
        trt.fail("execute_async_v9")


@pytest.mark.parametrize("kind", ["nan", "inf", "zero", "one_class", "noise"])
def test_outputs_can_be_falsified(onnx_file: Path, kind: str) -> None:
    trt = make_tensorrt(NEW, gpu=FakeGpu())
    run = Run(trt, build_plan(trt, onnx_file))
    run.bind()
    trt.poison("logits", kind=kind)
    run.queue()
    run.gpu.cuStreamSynchronize(run.stream)
    wrong = {
        "nan": np.isnan(run.logits).all(),
        "inf": np.isinf(run.logits).all(),
        "zero": not run.logits.any(),
        "one_class": (run.logits.argmax(1) == 1).all() and len(np.unique(run.logits[:, 1])) == 1,
        "noise": np.array_equal(np.sort(run.logits, None), np.sort(run.expected, None)),
    }
    assert wrong[kind]
    assert not np.array_equal(run.logits, run.expected)
    run.gpu.cuCtxPopCurrent()


def test_the_runtime_cache_saves_compiling(onnx_file: Path) -> None:
    trt = make_tensorrt(RTX, gpu=FakeGpu())
    engine, messages = opened(trt, build_plan(trt, onnx_file))

    def context_with(blob: bytes | None) -> tuple[bool, bytes]:
        config = engine.create_runtime_config()
        cache = config.create_runtime_cache()
        taken = blob is None or cache.deserialize(blob)
        config.set_runtime_cache(cache)
        config.cuda_graph_strategy = names(trt).CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        assert engine.create_execution_context(config).get_runtime_config() is config
        return taken, bytes(cache.serialize())

    _, blob = context_with(None)
    assert trt.compilations == 1
    assert context_with(blob) == (True, blob)
    assert trt.compilations == 1
    assert context_with(b"garbage")[0] is False
    assert "the cache does not fit" in messages.errors()
    assert trt.compilations == 2


# Inspecting.


def inspected(trt: FakeTensorRT, plan: bytes) -> dict[str, Any]:
    engine, _ = opened(trt, plan)
    text = engine.create_engine_inspector().get_engine_information(
        names(trt).LayerInformationFormat.JSON
    )
    content: dict[str, Any] = json.loads(text)
    return content


def test_the_inspector_speaks_the_dialect_of_its_version(
    trt: FakeTensorRT, onnx_file: Path
) -> None:
    content = inspected(trt, build_plan(trt, onnx_file))
    assert len(content["Layers"]) == 2
    (output,) = content["Layers"][1]["Outputs"]
    if trt.major == 10:
        assert content["Bindings"] == ["pixels", "logits"]
        assert output["Format/Datatype"] == "Half"
    else:
        assert [tensor["Name"] for tensor in content["I/O Tensors"]] == ["pixels", "logits"]
        assert content["I/O Tensors"][0]["ProfileInfo"][0]["MinShape"] == [1, 3, 8, 8]
        assert output["Datatype"] == "Half"


def test_at_low_verbosity_the_inspector_gives_names(trt: FakeTensorRT, onnx_file: Path) -> None:
    plan = build_plan(trt, onnx_file, verbosity="LAYER_NAMES_ONLY")
    assert all(isinstance(layer, str) for layer in inspected(trt, plan)["Layers"])


def test_a_layer_between_quantisers_reads_int8(trt: FakeTensorRT, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "part.onnx", QUANTIZED, dtype=np.float32)
    layers = inspected(trt, build_plan(trt, path))["Layers"]
    key = "Format/Datatype" if trt.major == 10 else "Datatype"
    assert layers[-1]["Inputs"][0][key] == "Int8"
    assert layers[-1]["Outputs"][0][key] == "Float"


def test_a_network_that_is_not_strongly_typed_computes_in_fp32(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = make_tensorrt(OLD, gpu=FakeGpu())
    create = names(trt).Builder.create_network
    monkeypatch.setattr(trt.Builder, "create_network", lambda self, flags: create(self, 0))
    (_, conv) = inspected(trt, build_plan(trt, onnx_file))["Layers"]
    assert conv["Outputs"][0]["Format/Datatype"] == "Float"
