"""The fake GPU goes wrong where a real one would, every time."""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import fake_cuda
import numpy as np
import pytest
from fake_gpu import CudaFailure, FakeGpu, GpuMisuse
from fake_gpu_memory import host_view

NON_BLOCKING = 1


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    """A device whose primary context is current here."""
    made = FakeGpu(memory_mib=8)
    made.cuInit(0)
    made.cuCtxPushCurrent(made.cuDevicePrimaryCtxRetain(0))
    yield made
    made.cuCtxPopCurrent()


def pinned(gpu: FakeGpu, size: int, value: int = 0) -> tuple[int, Any]:
    address = gpu.cuMemHostAlloc(size, 0)
    view = host_view(address, size)
    view[:] = value
    return address, view


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(CudaFailure) as caught:
        call()
    return caught.value.code


def test_what_is_downloaded_is_old_until_the_stream_is_synchronised(gpu: FakeGpu) -> None:
    stream, device = gpu.cuStreamCreate(NON_BLOCKING), gpu.cuMemAlloc(4)
    source, _ = pinned(gpu, 4, 7)
    target, seen = pinned(gpu, 4)
    gpu.cuMemcpyHtoDAsync(device, source, 4, stream)
    gpu.cuMemcpyDtoHAsync(target, device, 4, stream)
    assert seen.tolist() == [0, 0, 0, 0]
    gpu.cuStreamSynchronize(stream)
    assert seen.tolist() == [7, 7, 7, 7]


def test_a_pinned_buffer_filled_anew_before_its_upload_ran_spoils_the_upload(gpu: FakeGpu) -> None:
    stream, device = gpu.cuStreamCreate(NON_BLOCKING), gpu.cuMemAlloc(2)
    source, values = pinned(gpu, 2, 1)
    gpu.cuMemcpyHtoDAsync(device, source, 2, stream)
    values[:] = 2
    gpu.cuStreamSynchronize(stream)
    assert gpu.memory.view(device, 2).tolist() == [2, 2]


def test_copies_of_pageable_memory_do_not_run_behind_the_callers_back(gpu: FakeGpu) -> None:
    stream, device = gpu.cuStreamCreate(NON_BLOCKING), gpu.cuMemAlloc(2)
    source, target = np.full(2, 1, np.uint8), np.zeros(2, np.uint8)
    gpu.cuMemcpyHtoDAsync(device, source.ctypes.data, 2, stream)
    source[:] = 9
    gpu.cuMemcpyDtoHAsync(target.ctypes.data, device, 2, stream)
    assert target.tolist() == [1, 1]


@pytest.mark.parametrize(("waits", "expected"), [(True, 5), (False, 255)])
def test_a_stream_sees_the_work_of_another_only_if_it_waits(
    gpu: FakeGpu, waits: bool, expected: int
) -> None:
    first, second = gpu.cuStreamCreate(NON_BLOCKING), gpu.cuStreamCreate(NON_BLOCKING)
    device, copy = gpu.cuMemAlloc(1), gpu.cuMemAlloc(1)
    event = gpu.cuEventCreate(0)
    gpu.cuMemsetD8Async(device, 5, 1, first)
    gpu.cuEventRecord(event, first)
    if waits:
        gpu.cuStreamWaitEvent(second, event, 0)
    gpu.cuMemcpyDtoDAsync(copy, device, 1, second)
    gpu.cuStreamSynchronize(second)
    assert gpu.memory.view(copy, 1).tolist() == [expected]


def test_an_event_is_awaited_as_far_as_it_was_recorded_then(gpu: FakeGpu) -> None:
    stream, device, event = (
        gpu.cuStreamCreate(NON_BLOCKING),
        gpu.cuMemAlloc(1),
        gpu.cuEventCreate(0),
    )
    gpu.cuMemsetD8Async(device, 1, 1, stream)
    gpu.cuEventRecord(event, stream)
    gpu.cuMemsetD8Async(device, 2, 1, stream)
    gpu.cuEventSynchronize(event)
    assert gpu.memory.view(device, 1).tolist() == [1]
    assert gpu.live()["queued jobs"] == 1


def test_a_synchronous_copy_waits_for_blocking_streams_and_not_for_the_others(gpu: FakeGpu) -> None:
    for flags, expected in ((0, 3), (NON_BLOCKING, 255)):
        stream, device = gpu.cuStreamCreate(flags), gpu.cuMemAlloc(1)
        target, seen = pinned(gpu, 1)
        gpu.cuMemsetD8Async(device, 3, 1, stream)
        gpu.cuMemcpyDtoH(target, device, 1)
        assert seen.tolist() == [expected]


def test_events_tell_the_same_times_on_every_run(gpu: FakeGpu) -> None:
    def elapsed() -> float:
        stream, device = gpu.cuStreamCreate(NON_BLOCKING), gpu.cuMemAlloc(1 << 20)
        start, end = gpu.cuEventCreate(0), gpu.cuEventCreate(0)
        gpu.cuEventRecord(start, stream)
        gpu.cuMemsetD8Async(device, 0, 1 << 20, stream)
        gpu.enqueue(stream, lambda: None, cost_ms=2.0)
        gpu.cuEventRecord(end, stream)
        assert refused(lambda: gpu.cuEventElapsedTime(start, end)) == "CUDA_ERROR_NOT_READY"
        gpu.cuEventSynchronize(end)
        return gpu.cuEventElapsedTime(start, end)

    assert elapsed() == pytest.approx(2.0 + 0.01 + (1 << 20) / 12e6)
    assert elapsed() == pytest.approx(elapsed())


def test_an_event_without_times_tells_none(gpu: FakeGpu) -> None:
    stream, start, end = gpu.cuStreamCreate(0), gpu.cuEventCreate(2), gpu.cuEventCreate(0)
    for event in (start, end):
        gpu.cuEventRecord(event, stream)
    gpu.cuStreamSynchronize(stream)
    assert refused(lambda: gpu.cuEventElapsedTime(start, end)) == "CUDA_ERROR_INVALID_HANDLE"


def test_polling_a_stream_lets_its_work_go_on(gpu: FakeGpu) -> None:
    stream = gpu.cuStreamCreate(NON_BLOCKING)
    for _ in range(2):
        gpu.enqueue(stream, lambda: None)
    assert refused(lambda: gpu.cuStreamQuery(stream)) == "CUDA_ERROR_NOT_READY"
    assert refused(lambda: gpu.cuStreamQuery(stream)) == "CUDA_ERROR_NOT_READY"
    gpu.cuStreamQuery(stream)


def test_memory_is_not_touched_outside_of_live_blocks(gpu: FakeGpu) -> None:
    device, _ = gpu.cuMemAlloc(8), gpu.cuMemAlloc(8)
    host, _ = pinned(gpu, 64)
    stream = gpu.cuStreamCreate(NON_BLOCKING)
    with pytest.raises(GpuMisuse, match="leave their device block of 8 bytes"):
        gpu.cuMemcpyHtoDAsync(device, host, 9, stream)
    with pytest.raises(GpuMisuse, match="not device memory"):
        gpu.cuMemcpyHtoDAsync(host, host, 1, stream)
    gpu.cuMemFree(device)
    with pytest.raises(GpuMisuse, match="are freed"):
        gpu.cuMemcpyHtoDAsync(device, host, 8, stream)
    with pytest.raises(GpuMisuse, match="freed twice"):
        gpu.cuMemFree(device)


def test_memory_freed_while_a_copy_of_it_waits_is_found(gpu: FakeGpu) -> None:
    device, stream = gpu.cuMemAlloc(8), gpu.cuStreamCreate(NON_BLOCKING)
    host, _ = pinned(gpu, 8)
    gpu.cuMemcpyDtoHAsync(host, device, 8, stream)
    gpu.cuMemFree(device)
    with pytest.raises(GpuMisuse, match="are freed"):
        gpu.cuStreamSynchronize(stream)


def test_pinned_memory_that_is_freed_reads_as_garbage_and_takes_no_more_copies(
    gpu: FakeGpu,
) -> None:
    device, stream = gpu.cuMemAlloc(8), gpu.cuStreamCreate(NON_BLOCKING)
    host, seen = pinned(gpu, 8, 1)
    gpu.cuMemFreeHost(host)
    assert seen.tolist() == [255] * 8
    with pytest.raises(GpuMisuse, match=r"pinned host memory at .* is freed"):
        gpu.cuMemcpyHtoDAsync(device, host, 8, stream)
    with pytest.raises(GpuMisuse, match="not a live pinned block"):
        gpu.cuMemFreeHost(host)


def test_memory_that_nobody_wrote_is_not_zero(gpu: FakeGpu) -> None:
    assert np.isnan(gpu.memory.view(gpu.cuMemAlloc(8), 8).view(np.float32)).all()


def test_more_memory_than_there_is_is_refused(gpu: FakeGpu) -> None:
    gpu.cuMemAlloc(6 << 20)
    assert gpu.cuMemGetInfo() == (2 << 20, 8 << 20)
    assert refused(lambda: gpu.cuMemAlloc(3 << 20)) == "CUDA_ERROR_OUT_OF_MEMORY"


def test_calls_need_a_started_driver_and_a_context_of_the_same_thread(gpu: FakeGpu) -> None:
    codes: list[str] = []
    thread = threading.Thread(target=lambda: codes.append(refused(lambda: gpu.cuMemAlloc(1))))
    thread.start()
    thread.join()
    assert codes == ["CUDA_ERROR_INVALID_CONTEXT"]
    assert refused(lambda: FakeGpu().cuDeviceGet(0)) == "CUDA_ERROR_NOT_INITIALIZED"
    assert refused(lambda: FakeGpu(devices=0).cuInit(0)) == "CUDA_ERROR_NO_DEVICE"


def test_what_is_not_given_back_is_counted(gpu: FakeGpu) -> None:
    stream, event, device = gpu.cuStreamCreate(0), gpu.cuEventCreate(0), gpu.cuMemAlloc(1)
    host, _ = pinned(gpu, 1)
    held = {"device blocks": 1, "pinned blocks": 1, "streams": 1, "events": 1}
    contexts = {"retained contexts": 1, "pushed contexts": 1}
    assert gpu.live() == held | contexts
    gpu.cuDevicePrimaryCtxRelease(0)
    assert gpu.faults == [f"the primary context was released with {held} left"]
    gpu.cuDevicePrimaryCtxRetain(0)
    gpu.cuStreamDestroy(stream)
    gpu.cuEventDestroy(event)
    gpu.cuMemFree(device)
    gpu.cuMemFreeHost(host)
    assert gpu.live() == contexts


def test_a_driver_function_fails_from_the_call_on_that_was_told(gpu: FakeGpu) -> None:
    gpu.fail("cuMemAlloc", "CUDA_ERROR_UNKNOWN", after=1)
    gpu.cuMemAlloc(1)
    assert refused(lambda: gpu.cuMemAlloc(1)) == "CUDA_ERROR_UNKNOWN"
    gpu.heal()
    gpu.cuMemAlloc(1)
    assert len(gpu.called("cuMemAlloc")) == 3
    with pytest.raises(ValueError, match="the fake driver has no cuMemAloc"):
        gpu.fail("cuMemAloc")


def test_cuda_python_gives_codes_with_its_own_types_and_enums() -> None:
    driver: Any = fake_cuda.cuda_bindings(FakeGpu(memory_mib=1))
    success = (driver.CUresult.CUDA_SUCCESS,)
    assert driver.cuInit(0) == success
    assert driver.cuMemAlloc(1) == (driver.CUresult.CUDA_ERROR_INVALID_CONTEXT, None)
    _, device = driver.cuDeviceGet(0)
    _, context = driver.cuDevicePrimaryCtxRetain(device)
    assert driver.cuCtxPushCurrent(context) == success
    code, address = driver.cuMemAlloc(16)
    assert (code, type(address)) == (*success, driver.CUdeviceptr)
    assert driver.cuMemGetInfo() == (*success, (1 << 20) - 16, 1 << 20)
    key = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
    assert driver.cuDeviceGetAttribute(key, device) == (*success, 9)
    assert driver.cuDeviceGetName(16, device)[1] == b"Fake RTX 4090\0  "
    assert driver.cuGetErrorName(driver.CUresult.CUDA_ERROR_UNKNOWN)[1] == b"CUDA_ERROR_UNKNOWN"


def test_cuda_python_has_no_names_that_the_real_one_lacks() -> None:
    driver: Any = fake_cuda.cuda_bindings(FakeGpu())
    with pytest.raises(AttributeError):
        driver.cuMemAloc  # noqa: B018
    with pytest.raises(NotImplementedError, match="cuLaunchKernel is not in the fake driver"):
        driver.cuLaunchKernel  # noqa: B018


def test_pycuda_raises_its_errors_and_frees_what_is_forgotten() -> None:
    gpu = FakeGpu(memory_mib=1)
    cuda: Any = fake_cuda.pycuda(gpu).driver
    with pytest.raises(cuda.LogicError, match="cuDeviceGet failed: not initialized"):
        cuda.Device(0)
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    with pytest.raises(cuda.LogicError, match="invalid context"):
        cuda.mem_alloc(1)
    context.push()
    with pytest.raises(cuda.MemoryError, match="cuMemAlloc failed: out of memory"):
        cuda.mem_alloc(2 << 20)
    stream, device = cuda.Stream(), cuda.mem_alloc(24)
    values, back = cuda.pagelocked_zeros((2, 3), np.float32), cuda.pagelocked_empty(6, np.float32)
    values[:] = 1.5
    cuda.memcpy_htod_async(device, values, stream)
    cuda.memcpy_dtoh_async(back, device, stream)
    assert np.isnan(back).all()
    stream.synchronize()
    assert back.tolist() == [1.5] * 6
    del stream, device, values, back
    context.pop()
    context.detach()
    assert gpu.live() == {}
    assert gpu.faults == []


def test_both_packages_can_be_put_in_place_of_the_real_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = FakeGpu("Fake Orin")
    fake_cuda.install_cuda_python(monkeypatch, gpu)
    fake_cuda.install_pycuda(monkeypatch, gpu)
    from cuda.bindings import driver

    driver.cuInit(0)
    pycuda_driver: Any = sys.modules["pycuda.driver"]
    assert pycuda_driver.Device(0).name() == "Fake Orin"
    again: Any = fake_cuda.cuda_bindings(FakeGpu())
    assert not isinstance(again._real, fake_cuda.CudaBindings)


def test_a_failure_in_a_destructor_of_pycuda_is_a_fault_and_no_exception() -> None:
    gpu = FakeGpu()
    cuda: Any = fake_cuda.pycuda(gpu).driver
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    stream, event = cuda.Stream(), cuda.Event()
    context.pop()
    gpu.fail("cuStreamDestroy", "CUDA_ERROR_LAUNCH_FAILED")
    del stream
    gpu.fail("cuCtxPopCurrent", "CUDA_ERROR_LAUNCH_FAILED")
    del event
    assert gpu.faults == [
        f"{name} in a destructor failed: CUDA_ERROR_LAUNCH_FAILED"
        for name in ("cuStreamDestroy", "cuCtxPopCurrent")
    ]
