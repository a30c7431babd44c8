"""The few calls of the CUDA driver that segx makes, behind one interface.

Addresses, streams and events are plain integers, which TensorRT takes as well. All calls from
`memory` on need a current context in the calling thread; `device.Device` sees to that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import BackendError, DeviceError, DeviceMemoryError

CudaName = Literal["cuda-python", "pycuda"]
"""Packages that bring the CUDA driver to Python."""

CudaOption = Literal["auto", "cuda-python", "pycuda"]
"""Which of them is used; `auto`: pycuda only where it is the one installed."""

NON_BLOCKING = 1
"""Flag of streams (CU_STREAM_NON_BLOCKING): no waiting for the work of other libraries."""

SLEEP = 1
"""Flag of events (CU_EVENT_BLOCKING_SYNC): who waits for one leaves the processor to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The CUDA driver: a table of functions.

    Each raises a DeviceError where the driver reports an error, and a DeviceMemoryError where that
    is a lack of memory.
    """

    name: CudaName
    """Package that is used."""
    cuda_version: Callable[[], tuple[int, int]]
    """Newest CUDA that the driver can run, such as (13, 0)."""
    device_count: Callable[[], int]
    """Devices that this process may see."""
    device_name: Callable[[int], str]
    """Name of a device by its number, such as `NVIDIA GeForce RTX 3060`."""
    compute_capability: Callable[[int], tuple[int, int]]
    """Compute capability of a device, such as (8, 6)."""
    is_integrated: Callable[[int], bool]
    """Whether a device shares the processor's memory, as a Jetson's does."""
    retain: Callable[[int], Any]
    """Take hold of a device's primary context, the one that all libraries share."""
    release: Callable[[int, Any], None]
    """Let go of a device's primary context."""
    push: Callable[[Any], None]
    """Make a context current in this thread."""
    pop: Callable[[], None]
    """Make the context current again that was so before the last push."""
    memory: Callable[[], tuple[int, int]]
    """Free and total memory of the current device, in bytes."""
    alloc: Callable[[int], int]
    """Allocate bytes of device memory; gives the address."""
    free: Callable[[int], None]
    """Free device memory by its address."""
    alloc_host: Callable[[int], int]
    """Allocate bytes of page-locked host memory; gives the address."""
    free_host: Callable[[int], None]
    """Free page-locked host memory by its address."""
    create_stream: Callable[[], int]
    """Make a stream."""
    destroy_stream: Callable[[int], None]
    """Destroy a stream."""
    synchronize_stream: Callable[[int], None]
    """Wait for all work of a stream."""
    wait_event: Callable[[int, int], None]
    """Let the further work of a stream wait for an event."""
    create_event: Callable[[], int]
    """Make an event that can be timed."""
    destroy_event: Callable[[int], None]
    """Destroy an event."""
    record_event: Callable[[int, int], None]
    """Let an event happen when a stream's work so far is done."""
    synchronize_event: Callable[[int], None]
    """Wait for an event."""
    elapsed_ms: Callable[[int, int], float]
    """Milliseconds from one event to another; both have happened."""
    upload: Callable[[int, int, int, int], None]
    """Enqueue a copy: device address, page-locked host address, bytes, stream."""
    download: Callable[[int, int, int, int], None]
    """Enqueue a copy: page-locked host address, device address, bytes, stream."""


def failure(found: str, *, memory: bool) -> DeviceError:
    """Make the error of a call that the driver refused.

    Args:
        found: The call, and what the driver said of it.
        memory: Whether it ran out of memory.
    """
    if memory:
        return DeviceMemoryError(
            f"{found}; expected more free memory on the GPU; close other programs that use it, "
            "or choose a smaller batch"
        )
    return DeviceError(
        f"{found}; expected a working GPU and driver; look at `segx doctor`, start the program or "
        "the machine again, or choose `--backend openvino`"
    )


def open_driver(option: CudaOption = "auto") -> Driver:
    """Open the CUDA driver.

    Raises:
        BackendError: If the package asked for cannot be imported, or neither can.
        DeviceError: If there is no driver, or it does not fit the package.
    """
    from . import cuda_python, pycuda_driver

    if option == "pycuda":
        return pycuda_driver.load()
    try:
        return cuda_python.load()
    except BackendError as missing:
        if option == "cuda-python":
            raise
        try:
            return pycuda_driver.load()
        except BackendError:
            raise missing from None
