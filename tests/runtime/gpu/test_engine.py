"""Engines: opened only if they are those of the part, and every refusal of TensorRT is an error."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu_case import TENSORRT_RTX, VERSIONS, GpuCase

from runtime.bundle import Bundle
from runtime.engines.profiles import batch_profile
from runtime.errors import BackendError, DeviceMemoryError, EngineError
from runtime.gpu.device import Device, find_device
from runtime.gpu.engine import LoadedEngine
from runtime.gpu.fit import EngineTensor, check_fit
from runtime.gpu.library import Library
from runtime.manifest import PartSpec, TensorSpec


class Bench:
    """A started library on a fake device, and engines to open with it."""

    def __init__(self, case: GpuCase, bundle: Bundle) -> None:
        self.case = case
        self.bundle = bundle
        self.part = bundle.manifest.parts[0]
        self.device: Device = find_device(case.cuda)
        self.library = Library(case.builder)
        with self.device.current():
            self.library.start()

    def data(self, part: PartSpec, *, batch: int = 2) -> bytes:
        profile = batch_profile(part, opt=batch, most=batch)
        return self.case.plan(
            self.bundle.file(part).read_bytes(),
            {name: [s.min, s.opt, s.max] for name, s in profile.items()},
        )

    def open(self, *, batch: int = 2, slots: int = 2, **changes: Any) -> LoadedEngine:
        part = changes.pop("part", self.part)
        data = changes.pop("data", None) or self.data(self.part)
        with self.device.current():
            return LoadedEngine(self.library, part, data, batch=batch, slots=slots, **changes)

    def close(self) -> None:
        self.library.close()
        self.device.close()


@pytest.fixture(params=["10.3.0", TENSORRT_RTX])
def bench(
    request: pytest.FixtureRequest,
    small: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Bench]:
    made = Bench(GpuCase.install(monkeypatch, tmp_path, version=request.param), small)
    yield made
    made.close()
    assert made.case.left() == {}


def test_an_engine_of_the_part_is_opened_and_closed(bench: Bench) -> None:
    engine = bench.open()
    assert "device blocks" in bench.case.gpu.live()
    with bench.device.current():
        engine.close()
        engine.close()
    assert "device blocks" not in bench.case.gpu.live()


def test_an_engine_of_another_part_is_refused(bench: Bench) -> None:
    other = bench.bundle.manifest.parts[1]
    with pytest.raises(EngineError, match=r"part 'aerial' takes .*; expected aerial as the mani"):
        bench.open(data=bench.data(other))


def test_an_engine_for_smaller_batches_is_refused(bench: Bench) -> None:
    with pytest.raises(EngineError, match=r"takes 1 to 2 tiles as 'aerial'; expected 1 to 4"):
        bench.open(batch=4)


def test_an_engine_of_another_version_is_refused_with_what_tensorrt_says(bench: Bench) -> None:
    version = bench.case.trt.surface.version.encode()
    data = bench.data(bench.part).replace(version, b"9" + version[1:], 1)
    with pytest.raises(EngineError, match=r"(?i)not compatible with this version|version mismatch"):
        bench.open(data=data)


def test_an_engine_for_another_device_is_refused_with_what_tensorrt_says(bench: Bench) -> None:
    data = bench.data(bench.part).replace(b" 8.9", b" 8.6", 1)
    with pytest.raises(
        EngineError, match=r"expecting compute 8\.9 got compute 8\.6|unsupported cc"
    ):
        bench.open(data=data)


def test_something_that_is_no_engine_is_refused(bench: Bench) -> None:
    with pytest.raises(EngineError, match=r"magicTag|malformed engine"):
        bench.open(data=b"no engine" * 100)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("deserialize_cuda_engine", "open the engine of part 'aerial'"),
        ("get_tensor_name", "describe the engine"),
        ("create_execution_context", "make room to run"),
    ],
)
def test_a_refusal_quotes_what_tensorrt_said_last(bench: Bench, call: str, what: str) -> None:
    bench.case.trt.fail(call, message="Error Code 9:\n  the flux capacitor leaks")
    with pytest.raises(EngineError, match=rf"refused to {what}.*\(Error Code 9: the flux capac"):
        bench.open()


def test_a_refusal_without_a_word_is_said_so(bench: Bench) -> None:
    bench.case.trt.fail("deserialize_cuda_engine")
    with pytest.raises(EngineError, match="did not say why"):
        bench.open()


def test_an_older_complaint_is_not_quoted(bench: Bench) -> None:
    bench.case.trt.fail("create_execution_context", message="the first reason")
    with pytest.raises(EngineError, match="the first reason"):
        bench.open()
    bench.case.trt.heal()
    bench.case.trt.fail("create_execution_context")
    with pytest.raises(EngineError, match="did not say why"):
        bench.open()


def test_a_warning_is_not_taken_for_the_reason(bench: Bench) -> None:
    logger, severity = bench.library._logger, bench.case.trt.ILogger.Severity

    def refuse() -> None:
        logger.log(severity.INTERNAL_ERROR, "the reason")
        logger.log(severity.WARNING, "something else")

    with pytest.raises(EngineError, match=r"refused to go \(the reason\)"):
        bench.library.ask("go", refuse)


@pytest.mark.parametrize(
    "said",
    [
        "Error Code 2: OutOfMemory (Requested size was 1073741824 bytes.)",
        "Error Code 1: Cuda Runtime (out of memory)",
        "Requested amount of GPU memory (64 bytes) could not be allocated.",
    ],
)
def test_a_lack_of_memory_is_an_error_of_its_own(bench: Bench, said: str) -> None:
    bench.case.trt.fail("create_execution_context", message=said)
    with pytest.raises(DeviceMemoryError, match="make room to run the engine of part 'aerial'"):
        bench.open()


def test_an_exception_of_tensorrt_is_a_refusal(bench: Bench) -> None:
    bench.case.trt.fail("deserialize_cuda_engine", raises=RuntimeError("pybind is unhappy"))
    with pytest.raises(EngineError, match="pybind is unhappy"):
        bench.open()


def test_each_slot_keeps_its_addresses_where_graphs_are_captured(bench: Bench) -> None:
    engine = bench.open()
    places = [{"aerial": 0x1000, "aerial_logits": 0x2000}, {"aerial": 0x3000, "aerial_logits": 4}]
    with bench.device.current():
        stream = bench.device.driver.create_stream()
        bench.case.trt.fail("execute_async_v3", returns=True)  # there is nothing at the addresses
        for slot in (0, 1, 0, 1):
            engine.enqueue(slot, places[slot], 2, stream)
        bound = [context.get_tensor_address("aerial") for context in engine._contexts]
        engine.close()
        bench.device.driver.destroy_stream(stream)
    doubled = bench.case.trt.surface.version == TENSORRT_RTX
    assert bound == ([0x1000, 0x3000] if doubled else [0x3000])


@pytest.mark.parametrize("name", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_a_refused_run_is_an_error(bench: Bench, name: str) -> None:
    engine = bench.open()
    with bench.device.current():
        stream = bench.device.driver.create_stream()
        bench.case.trt.fail(name, returns=False, message="Error Code 3: API Usage Error")
        with pytest.raises(EngineError, match=r"part 'aerial'.*Error Code 3"):
            engine.enqueue(0, {"aerial": 1, "aerial_logits": 2}, 2, stream)
        engine.close()
        bench.device.driver.destroy_stream(stream)


def test_a_library_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match="tensorrt cannot be imported"):
        Library("tensorrt")


def test_a_runtime_without_a_device_is_an_error(
    small: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = GpuCase.install(monkeypatch, tmp_path)
    case.trt.gpu = None
    with pytest.raises(EngineError, match="runtime cannot be made"):
        Library("tensorrt").start()


def spec(name: str, *shape: int, dtype: Any = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=("N", *shape))


PART = PartSpec(
    name="aerial",
    role="aerial",
    file="aerial.onnx",
    precision="fp16",
    inputs=(spec("pixels", 5, 8, 8, dtype="uint8"), spec("days", 12)),
    outputs=(spec("logits", 13, 2, 2),),
)
FITTING = (
    EngineTensor(name="pixels", is_input=True, dtype="UINT8", shape=(-1, 5, 8, 8), batches=(1, 4)),
    EngineTensor(name="days", is_input=True, dtype="FLOAT", shape=(-1, 12), batches=(1, 4)),
    EngineTensor(name="logits", is_input=False, dtype="FLOAT", shape=(-1, 13, 2, 2)),
)


def test_an_engine_as_the_manifest_says_fits() -> None:
    check_fit(PART, FITTING, 4)
    check_fit(PART, FITTING[::-1], 1)
    fixed = dataclasses.replace(FITTING[1], shape=(4, 12))
    check_fit(PART, (FITTING[0], fixed, FITTING[2]), 4)


Change = Callable[[EngineTensor], EngineTensor]


def changed(**fields: Any) -> Change:
    return lambda tensor: dataclasses.replace(tensor, **fields)


@pytest.mark.parametrize(
    ("index", "change", "found"),
    [
        (0, changed(name="image"), "takes days, image; expected days, pixels"),
        (0, changed(is_input=False), "takes days; expected days, pixels"),
        (2, changed(name="scores"), "gives scores; expected logits"),
        (0, changed(dtype="INT8"), "'pixels' as INT8; expected UINT8"),
        (2, changed(dtype="HALF"), "'logits' as HALF; expected FLOAT"),
        (0, changed(shape=(-1, 5, 8, 9)), r"of shape \(-1, 5, 8, 9\); expected \(-1, 5, 8, 8\)"),
        (0, changed(shape=(-1, -1, 8, 8)), r"of shape \(-1, -1, 8, 8\)"),
        (0, changed(shape=(-1, 5, 64)), r"of shape \(-1, 5, 64\)"),
        (2, changed(shape=(3, 13, 2, 2)), r"of shape \(3, 13, 2, 2\)"),
        (1, changed(batches=(1, 3)), "1 to 3 tiles as 'days'; expected 1 to 4"),
        (1, changed(batches=(2, 4)), "2 to 4 tiles as 'days'; expected 1 to 4"),
        (1, changed(batches=None), "0 to 0 tiles as 'days'; expected 1 to 4"),
    ],
)
def test_an_engine_that_differs_is_refused(index: int, change: Change, found: str) -> None:
    tensors = list(FITTING)
    tensors[index] = change(tensors[index])
    with pytest.raises(EngineError, match=f"engine of part 'aerial' .*{found}.*cache --clear"):
        check_fit(PART, tensors, 4)


def test_an_engine_with_more_or_fewer_tensors_is_refused() -> None:
    more = EngineTensor(name="extra", is_input=False, dtype="FLOAT", shape=(-1, 1))
    with pytest.raises(EngineError, match="gives extra, logits; expected logits"):
        check_fit(PART, (*FITTING, more), 4)
    with pytest.raises(EngineError, match="gives nothing; expected logits"):
        check_fit(PART, FITTING[:2], 4)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_library_says_what_version_it_is(
    version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = GpuCase.install(monkeypatch, tmp_path, version=version)
    assert Library(case.builder).version == version
