"""One suite for both packages that bring the CUDA driver to Python."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import fake_cuda
import numpy as np
import pytest
from fake_gpu import FakeGpu

from runtime.errors import BackendError, DeviceError, DeviceMemoryError
from runtime.gpu import cuda_python, pycuda_driver
from runtime.gpu.device import Device, find_device
from runtime.gpu.driver import Driver, open_driver
from runtime.gpu.memory import Resources

STARTS: dict[str, Callable[[FakeGpu], Driver]] = {
    "cuda-python": lambda gpu: cuda_python.start(fake_cuda.cuda_bindings(gpu)),
    "pycuda": lambda gpu: pycuda_driver.start(fake_cuda.pycuda(gpu).driver),
}
MIB = 1 << 20


@pytest.fixture
def gpu() -> FakeGpu:
    return FakeGpu("Fake RTX 3060", (8, 6), memory_mib=64)


@pytest.fixture(params=sorted(STARTS))
def driver(request: pytest.FixtureRequest, gpu: FakeGpu) -> Driver:
    return STARTS[request.param](gpu)


@contextmanager
def open_resources(driver: Driver) -> Iterator[Resources]:
    device = Device(driver)
    with device.current():
        taken = Resources(driver)
        try:
            yield taken
        finally:
            taken.close()
    device.close()


def test_a_device_tells_what_it_is(driver: Driver) -> None:
    device = Device(driver)
    info = device.info
    device.close()
    assert driver.name in STARTS
    assert (info.name, info.compute_capability) == ("Fake RTX 3060", "8.6")
    assert (info.memory_mib, info.free_mib) == (64, 64)
    assert info.driver == "13.0"
    assert not info.integrated


def test_a_jetson_shares_the_memory_of_its_processor() -> None:
    for start in STARTS.values():
        driver = start(FakeGpu("Orin", (8, 7), integrated=True, driver=13020))
        assert driver.is_integrated(0)
        assert driver.cuda_version() == (13, 2)


def test_bytes_come_back_from_the_device_as_they_went(driver: Driver, gpu: FakeGpu) -> None:
    values = np.arange(1000, dtype=np.uint8)
    with open_resources(driver) as taken:
        stream, address = taken.stream(), taken.device(1000)
        sent, received = taken.pinned(1000), taken.pinned(1000)
        sent[:] = values
        driver.upload(address, sent.ctypes.data, 1000, stream)
        driver.download(received.ctypes.data, address, 1000, stream)
        driver.synchronize_stream(stream)
        np.testing.assert_array_equal(received, values)
    assert gpu.live() == {}
    assert gpu.faults == []


def test_a_stream_waits_for_an_event_of_another(driver: Driver) -> None:
    with open_resources(driver) as taken:
        first, second, done = taken.stream(), taken.stream(), taken.event()
        sent, received, address = taken.pinned(8), taken.pinned(8), taken.device(8)
        sent[:] = 7
        driver.upload(address, sent.ctypes.data, 8, first)
        driver.record_event(done, first)
        driver.wait_event(second, done)
        driver.download(received.ctypes.data, address, 8, second)
        driver.synchronize_stream(second)
        assert (received == 7).all()


def test_events_wait_and_measure(driver: Driver) -> None:
    with open_resources(driver) as taken:
        stream, start, end = taken.stream(), taken.event(), taken.event()
        sent, address = taken.pinned(MIB), taken.device(MIB)
        driver.record_event(start, stream)
        driver.upload(address, sent.ctypes.data, MIB, stream)
        driver.record_event(end, stream)
        driver.synchronize_event(end)
        assert driver.elapsed_ms(start, end) > 0.01


def test_streams_do_not_wait_for_other_libraries(driver: Driver, gpu: FakeGpu) -> None:
    with open_resources(driver) as taken:
        taken.stream()
        assert not any(stream.blocking for stream in gpu.scheduler.streams.values())


def test_memory_runs_out_with_an_error_of_its_own(driver: Driver, gpu: FakeGpu) -> None:
    with open_resources(driver) as taken:
        taken.device(40 * MIB)
        with pytest.raises(DeviceMemoryError, match=r"(?i)out.of.memory.*expected.*batch"):
            taken.device(40 * MIB)
    assert gpu.live() == {}


CALLS: dict[str, Callable[[Driver, Resources], object]] = {
    "cuDeviceGetCount": lambda d, t: d.device_count(),
    "cuDeviceGet": lambda d, t: d.device_name(0),
    "cuDeviceGetName": lambda d, t: d.device_name(0),
    "cuDeviceGetAttribute": lambda d, t: (d.compute_capability(0), d.is_integrated(0)),
    "cuDriverGetVersion": lambda d, t: d.cuda_version(),
    "cuDevicePrimaryCtxRetain": lambda d, t: d.retain(0),
    "cuMemGetInfo": lambda d, t: d.memory(),
    "cuMemAlloc": lambda d, t: t.device(8),
    "cuStreamCreate": lambda d, t: t.stream(),
    "cuEventCreate": lambda d, t: t.event(),
    "cuStreamSynchronize": lambda d, t: d.synchronize_stream(t.stream()),
    "cuStreamWaitEvent": lambda d, t: d.wait_event(t.stream(), t.event()),
    "cuEventRecord": lambda d, t: d.record_event(t.event(), t.stream()),
    "cuEventSynchronize": lambda d, t: d.synchronize_event(t.event()),
    "cuEventElapsedTime": lambda d, t: d.elapsed_ms(t.event(), t.event()),
    "cuMemcpyHtoDAsync": lambda d, t: d.upload(t.device(8), t.pinned(8).ctypes.data, 8, t.stream()),
    "cuMemcpyDtoHAsync": lambda d, t: d.download(
        t.pinned(8).ctypes.data, t.device(8), 8, t.stream()
    ),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_refusal_of_the_driver_is_an_error(driver: Driver, gpu: FakeGpu, name: str) -> None:
    with open_resources(driver) as taken:
        gpu.fail(name, "CUDA_ERROR_ILLEGAL_ADDRESS")
        said = "CUDA_ERROR_ILLEGAL_ADDRESS" if driver.name == "cuda-python" else "illegal address"
        with pytest.raises(DeviceError, match=rf"{name} failed.*{said}.*; expected .*; ") as caught:
            CALLS[name](driver, taken)
        assert not isinstance(caught.value, DeviceMemoryError)
        assert "\n" not in str(caught.value)
        gpu.heal()
    assert gpu.live() == {}


def test_page_locked_memory_can_be_refused(driver: Driver, gpu: FakeGpu) -> None:
    name = {"cuda-python": "cuMemAllocHost", "pycuda": "cuMemHostAlloc"}[driver.name]
    with open_resources(driver) as taken:
        gpu.fail(name, "CUDA_ERROR_OUT_OF_MEMORY")
        with pytest.raises(DeviceMemoryError, match=name):
            taken.pinned(8)
    assert gpu.live() == {}


def test_everything_is_given_back_even_where_one_thing_cannot_be(
    driver: Driver, gpu: FakeGpu
) -> None:
    device = Device(driver)
    with device.current():
        taken = Resources(driver)
        taken.device(8)
        taken.pinned(8)
        taken.stream()
        taken.event()
        gpu.fail("cuMemFree", "CUDA_ERROR_ILLEGAL_ADDRESS")
        with pytest.raises(DeviceError, match="cuMemFree"):
            taken.close()
        taken.close()
    assert gpu.live() == {"device blocks": 1, "retained contexts": 1}
    device.close()


def test_a_context_is_current_only_while_it_is_used(driver: Driver, gpu: FakeGpu) -> None:
    device = Device(driver)
    with pytest.raises(DeviceError, match=r"(?i)invalid.context"):
        driver.memory()
    with device.current():
        assert driver.memory() == (64 * MIB, 64 * MIB)
    assert gpu.live() == {"retained contexts": 1}
    device.close()
    device.close()
    assert gpu.live() == {}


def test_a_context_is_given_back_when_work_in_it_fails(driver: Driver, gpu: FakeGpu) -> None:
    device = Device(driver)
    with pytest.raises(ZeroDivisionError), device.current():
        _ = 1 / 0
    device.close()
    assert gpu.live() == {}


def test_other_threads_make_the_context_current_themselves(driver: Driver, gpu: FakeGpu) -> None:
    device = Device(driver)
    seen: list[tuple[int, int]] = []

    def ask() -> None:
        with device.current():
            seen.append(driver.memory())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    device.close()
    assert seen == [(64 * MIB, 64 * MIB)]
    assert gpu.live() == {}


@pytest.mark.parametrize(
    "name",
    ["cuCtxPushCurrent", "cuMemGetInfo", "cuDeviceGetName", "cuDeviceGetAttribute"],
)
def test_a_device_that_fails_when_asked_is_let_go(driver: Driver, gpu: FakeGpu, name: str) -> None:
    gpu.fail(name)
    with pytest.raises(DeviceError, match=name):
        Device(driver)
    assert gpu.live() == {}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_driver_that_does_not_start_is_an_error(start: Callable[[FakeGpu], Driver]) -> None:
    gpu = FakeGpu()
    gpu.fail("cuInit", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")
    with pytest.raises(DeviceError, match=r"cuInit failed.*(?i:driver.mismatch)"):
        start(gpu)


def test_a_package_newer_than_the_driver_is_refused_with_the_remedy() -> None:
    gpu = FakeGpu("Orin", (8, 7), driver=12060)
    with pytest.raises(DeviceError, match=r'for CUDA 12\.6; .*`pip install "cuda-python<13"`'):
        STARTS["cuda-python"](gpu)
    assert [call.name for call in gpu.calls if call.name != "cuDriverGetVersion"] == []


def test_a_missing_driver_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_cuda.cuda_bindings(FakeGpu())

    def missing() -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(module, "cuDriverGetVersion", missing)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver.*libcuda.*; expected.*; install"):
        cuda_python.start(module)


def test_a_function_that_the_driver_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_cuda.cuda_bindings(FakeGpu())
    driver = cuda_python.start(module)

    def missing() -> None:
        raise RuntimeError('Function "cuMemGetInfo_v2" not found')

    monkeypatch.setattr(module, "cuMemGetInfo", missing)
    with pytest.raises(DeviceError, match="cuMemGetInfo_v2"):
        driver.memory()


def test_cuda_python_is_the_default(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu) -> None:
    fake_cuda.install_cuda_python(monkeypatch, gpu)
    fake_cuda.install_pycuda(monkeypatch, gpu)
    assert open_driver().name == "cuda-python"
    assert open_driver("cuda-python").name == "cuda-python"
    assert open_driver("pycuda").name == "pycuda"


def test_pycuda_is_taken_where_it_alone_is_installed(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    fake_cuda.install_pycuda(monkeypatch, gpu)
    assert open_driver().name == "pycuda"
    with pytest.raises(BackendError, match=r"cuda-python cannot be imported.*segx\[tensorrt\]"):
        open_driver("cuda-python")


def test_pycuda_asked_for_and_missing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    fake_cuda.install_cuda_python(monkeypatch, gpu)
    with pytest.raises(BackendError, match="pycuda cannot be imported"):
        open_driver("pycuda")


def test_without_either_the_default_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BackendError, match="cuda-python cannot be imported"):
        open_driver()


def test_a_driver_error_does_not_lead_to_the_other_package(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu
) -> None:
    fake_cuda.install_cuda_python(monkeypatch, gpu)
    fake_cuda.install_pycuda(monkeypatch, FakeGpu())
    gpu.fail("cuInit", "CUDA_ERROR_UNKNOWN")
    with pytest.raises(DeviceError, match="cuInit"):
        open_driver()


def test_a_machine_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(devices=0)
    gpu.cuInit = lambda flags: setattr(gpu, "started", True)  # type: ignore[method-assign]
    fake_cuda.install_cuda_python(monkeypatch, gpu)
    with pytest.raises(
        DeviceError, match=r"0 NVIDIA GPUs found; expected at least 1; .*nvidia-smi"
    ):
        find_device()


def test_a_device_by_number_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(devices=2)
    fake_cuda.install_cuda_python(monkeypatch, gpu)
    find_device("auto", 1).close()
    with pytest.raises(DeviceError, match=r"2 NVIDIA GPUs found; expected at least 3"):
        find_device("auto", 2)
    assert gpu.live() == {}
