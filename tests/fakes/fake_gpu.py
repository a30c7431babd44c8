"""A GPU and its driver, faked: memory, contexts, streams and events.

Methods are named after the driver's functions, take and give plain numbers, and raise `CudaFailure`
where the driver returns an error code. `fake_cuda` gives them the shapes of cuda-python and pycuda.
"""

from fake_gpu_memory import GpuMisuse, host_view
from fake_gpu_state import CONTEXT, CudaFailure, Machine, driver_function

__all__ = ["CudaFailure", "FakeGpu", "GpuMisuse"]

NON_BLOCKING = 1
DISABLE_TIMING = 2
COPY_MS = 0.01
BYTES_PER_MS = 12_000_000
"""Fake speed of copies: 12 GB/s."""


class FakeGpu(Machine):
    """The driver's functions; see `Machine` for the rest."""

    # Driver and device.

    @driver_function(context=False, started=False)
    def cuInit(self, flags: int) -> None:
        if self.devices == 0:
            raise CudaFailure("CUDA_ERROR_NO_DEVICE")
        self.started = True

    @driver_function(context=False, started=False)
    def cuDriverGetVersion(self) -> int:
        return self.driver

    @driver_function(context=False)
    def cuDeviceGetCount(self) -> int:
        return self.devices

    @driver_function(context=False)
    def cuDeviceGet(self, ordinal: int) -> int:
        if not 0 <= ordinal < self.devices:
            raise CudaFailure("CUDA_ERROR_INVALID_DEVICE")
        return ordinal

    @driver_function(context=False)
    def cuDeviceGetName(self, length: int, device: int) -> bytes:
        # cuda-python gives the whole buffer: the name, a zero, and what was in it before.
        return (self.name.encode() + b"\0").ljust(length, b" ")[:length]

    @driver_function(context=False)
    def cuDeviceGetAttribute(self, attribute: str, device: int) -> int:
        if attribute not in self.attributes:
            raise NotImplementedError(f"the fake device has no attribute {attribute}")
        return self.attributes[attribute]

    @driver_function(context=False)
    def cuDeviceTotalMem(self, device: int) -> int:
        return self.memory.total

    # Contexts.

    @driver_function(context=False)
    def cuDevicePrimaryCtxRetain(self, device: int) -> int:
        self.retained += 1
        return CONTEXT

    @driver_function(context=False)
    def cuDevicePrimaryCtxRelease(self, device: int) -> None:
        if not self.retained:
            raise CudaFailure("CUDA_ERROR_INVALID_CONTEXT")
        self.retained -= 1
        left = {kind: n for kind, n in self.live().items() if kind != "pushed contexts"}
        if not self.retained and left:
            self.faults.append(f"the primary context was released with {left} left")

    @driver_function(context=False)
    def cuCtxPushCurrent(self, context: int) -> None:
        if context != CONTEXT or not self.retained:
            raise CudaFailure("CUDA_ERROR_INVALID_CONTEXT")
        self._stack().append(context)

    @driver_function(context=False)
    def cuCtxPopCurrent(self) -> int:
        if not self._stack():
            raise CudaFailure("CUDA_ERROR_INVALID_CONTEXT")
        return self._stack().pop()

    @driver_function(context=False)
    def cuCtxSetCurrent(self, context: int) -> None:
        if self._stack():
            self._stack().pop()
        if context:
            self._stack().append(context)

    @driver_function(context=False)
    def cuCtxGetCurrent(self) -> int:
        return self.current

    @driver_function()
    def cuCtxSynchronize(self) -> None:
        for stream in list(self.scheduler.streams.values()):
            self.scheduler.drain(stream)

    # Memory.

    @driver_function()
    def cuMemGetInfo(self) -> tuple[int, int]:
        return self.memory.total - self.memory.used, self.memory.total

    @driver_function()
    def cuMemAlloc(self, size: int) -> int:
        return self.allocate(size)

    @driver_function()
    def cuMemFree(self, address: int) -> None:
        self.memory.free(address)

    @driver_function()
    def cuMemHostAlloc(self, size: int, flags: int) -> int:
        return self.host.allocate(size)

    @driver_function()
    def cuMemAllocHost(self, size: int) -> int:
        return self.host.allocate(size)

    @driver_function()
    def cuMemFreeHost(self, address: int) -> None:
        self.host.free(address)

    # Copies. From and to pageable memory they do not run behind the caller's back.

    def _upload(self, target: int, source: int, size: int, stream: int) -> None:
        self.memory.view(target, size)
        values = host_view(source, size)
        if not self.host.is_pinned(source, size):
            values = values.copy()

        def copy() -> None:
            self.memory.view(target, size)[:] = values

        self.enqueue(stream, copy, cost_ms=copy_ms(size))

    def _download(self, target: int, source: int, size: int, stream: int) -> None:
        self.memory.view(source, size)
        values = host_view(target, size)

        def copy() -> None:
            values[:] = self.memory.view(source, size)

        self.enqueue(stream, copy, cost_ms=copy_ms(size))
        if not self.host.is_pinned(target, size):
            self.scheduler.drain(self._stream(stream))

    @driver_function()
    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> None:
        self.memory.view(target, size)
        self.memory.view(source, size)

        def copy() -> None:
            self.memory.view(target, size)[:] = self.memory.view(source, size)

        self.enqueue(stream, copy, cost_ms=copy_ms(size))

    @driver_function()
    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> None:
        self._upload(target, source, size, stream)

    @driver_function()
    def cuMemcpyDtoHAsync(self, target: int, source: int, size: int, stream: int) -> None:
        self._download(target, source, size, stream)

    @driver_function()
    def cuMemcpyHtoD(self, target: int, source: int, size: int) -> None:
        self._upload(target, source, size, 0)

    @driver_function()
    def cuMemcpyDtoH(self, target: int, source: int, size: int) -> None:
        self._download(target, source, size, 0)

    @driver_function()
    def cuMemsetD8Async(self, target: int, value: int, size: int, stream: int) -> None:
        self.memory.view(target, size)

        def fill() -> None:
            self.memory.view(target, size)[:] = value

        self.enqueue(stream, fill, cost_ms=copy_ms(size))

    # Streams and events.

    @driver_function()
    def cuStreamCreate(self, flags: int) -> int:
        return self.scheduler.new_stream(blocking=not flags & NON_BLOCKING)

    @driver_function()
    def cuStreamDestroy(self, stream: int) -> None:
        found = self._stream(stream)
        # The driver returns at once and lets the work finish.
        self.scheduler.drain(found)
        del self.scheduler.streams[stream]

    @driver_function()
    def cuStreamSynchronize(self, stream: int) -> None:
        self.scheduler.drain(self._stream(stream))

    @driver_function()
    def cuStreamQuery(self, stream: int) -> None:
        found = self._stream(stream)
        if found.jobs:
            self.scheduler.step(found)
            raise CudaFailure("CUDA_ERROR_NOT_READY")

    @driver_function()
    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        self.scheduler.wait(self._stream(stream), self._event(event))

    @driver_function()
    def cuEventCreate(self, flags: int) -> int:
        return self.scheduler.new_event(timed=not flags & DISABLE_TIMING)

    @driver_function()
    def cuEventDestroy(self, event: int) -> None:
        self._event(event)
        del self.scheduler.events[event]

    @driver_function()
    def cuEventRecord(self, event: int, stream: int) -> None:
        found = self._stream(stream)
        self.scheduler.record(self._event(event), found)
        if stream == 0:
            self.scheduler.drain(found)

    @driver_function()
    def cuEventSynchronize(self, event: int) -> None:
        record = self._event(event).record
        if record is not None:
            self.scheduler.complete(record)

    @driver_function()
    def cuEventQuery(self, event: int) -> None:
        record = self._event(event).record
        if record is not None and record.time_ms is None:
            self.scheduler.step(record.stream)
            raise CudaFailure("CUDA_ERROR_NOT_READY")

    @driver_function()
    def cuEventElapsedTime(self, start: int, end: int) -> float:
        events = self._event(start), self._event(end)
        records = [event.record for event in events if event.timed and event.record is not None]
        if len(records) < 2:
            raise CudaFailure("CUDA_ERROR_INVALID_HANDLE")
        first, last = (record.time_ms for record in records)
        if first is None or last is None:
            raise CudaFailure("CUDA_ERROR_NOT_READY")
        return last - first


def copy_ms(size: int) -> float:
    """Fake time that a copy of `size` bytes takes."""
    return COPY_MS + size / BYTES_PER_MS
