"""The CUDA driver through cuda-python (`cuda.bindings`, 12.6 and newer)."""

from typing import Any

from ..errors import BackendError, DeviceError, brief
from .driver import NON_BLOCKING, SLEEP, Driver, failure

_NAME_BYTES = 256


def load() -> Driver:
    """Import cuda-python and start the driver.

    Raises:
        BackendError: If cuda-python is not installed, or is older than 12.6.
        DeviceError: If the driver is missing, does not fit, or does not start.
    """
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise BackendError(
            f"cuda-python cannot be imported ({brief(error)}); expected version 12.6 or newer; "
            'run `pip install "segx[tensorrt]"`, or on CUDA 12 `pip install "cuda-python<13"`'
        ) from error
    return start(driver)


def start(cuda: Any) -> Driver:
    """Start the driver.

    Args:
        cuda: The module `cuda.bindings.driver`.

    Raises:
        DeviceError: If the driver is missing, does not fit, or does not start.
    """
    call = _Caller(cuda)
    _check_version(cuda, call)
    call("cuInit", 0)
    keys = cuda.CUdevice_attribute

    def attribute(key: Any, ordinal: int) -> int:
        return int(call("cuDeviceGetAttribute", key, call("cuDeviceGet", ordinal)))

    return Driver(
        name="cuda-python",
        cuda_version=call.cuda_version,
        device_count=lambda: int(call("cuDeviceGetCount")),
        device_name=call.device_name,
        compute_capability=lambda ordinal: (
            attribute(keys.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, ordinal),
            attribute(keys.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, ordinal),
        ),
        is_integrated=lambda ordinal: attribute(keys.CU_DEVICE_ATTRIBUTE_INTEGRATED, ordinal) != 0,
        retain=lambda ordinal: call("cuDevicePrimaryCtxRetain", call("cuDeviceGet", ordinal)),
        release=lambda ordinal, _: call("cuDevicePrimaryCtxRelease", call("cuDeviceGet", ordinal)),
        push=lambda context: call("cuCtxPushCurrent", context),
        pop=lambda: call("cuCtxPopCurrent"),
        memory=call.memory,
        alloc=lambda size: int(call("cuMemAlloc", size)),
        free=lambda address: call("cuMemFree", address),
        alloc_host=lambda size: int(call("cuMemAllocHost", size)),
        free_host=lambda address: call("cuMemFreeHost", address),
        create_stream=lambda: int(call("cuStreamCreate", NON_BLOCKING)),
        destroy_stream=lambda stream: call("cuStreamDestroy", stream),
        synchronize_stream=lambda stream: call("cuStreamSynchronize", stream),
        wait_event=lambda stream, event: call("cuStreamWaitEvent", stream, event, 0),
        create_event=lambda: int(call("cuEventCreate", SLEEP)),
        destroy_event=lambda event: call("cuEventDestroy", event),
        record_event=lambda event, stream: call("cuEventRecord", event, stream),
        synchronize_event=lambda event: call("cuEventSynchronize", event),
        elapsed_ms=lambda first, last: float(call("cuEventElapsedTime", first, last)),
        upload=lambda *copy: call("cuMemcpyHtoDAsync", *copy),
        download=lambda *copy: call("cuMemcpyDtoHAsync", *copy),
    )


class _Caller:
    """Calls functions of `cuda.bindings.driver` and checks the codes that they return."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda

    def __call__(self, function: str, *args: Any) -> Any:
        try:
            answer = getattr(self._cuda, function)(*args)
        except RuntimeError as error:
            # A function that the driver lacks is an exception, not a code.
            raise failure(f"{function} cannot be called ({brief(error)})", memory=False) from error
        return self.checked(function, answer)

    def checked(self, function: str, answer: tuple[Any, ...]) -> Any:
        code, *results = answer
        if code.name != "CUDA_SUCCESS":
            _, text = self._cuda.cuGetErrorString(code)
            raise failure(
                f"{function} failed with {code.name} ({(text or b'no text').decode()})",
                memory=code.name == "CUDA_ERROR_OUT_OF_MEMORY",
            )
        return results[0] if len(results) == 1 else results

    def cuda_version(self) -> tuple[int, int]:
        return _version(self("cuDriverGetVersion"))

    def memory(self) -> tuple[int, int]:
        free, total = self("cuMemGetInfo")
        return int(free), int(total)

    def device_name(self, ordinal: int) -> str:
        # The package hands out its whole buffer: the text, a zero, and what was there before.
        name: bytes = self("cuDeviceGetName", _NAME_BYTES, self("cuDeviceGet", ordinal))
        return name.partition(b"\0")[0].decode(errors="replace").strip()


def _check_version(cuda: Any, call: _Caller) -> None:
    """Refuse a machine without a driver, and a package that is newer than the driver."""
    try:
        answer = cuda.cuDriverGetVersion()
    except RuntimeError as error:
        raise DeviceError(
            f"no NVIDIA driver can be loaded ({brief(error)}); expected one that the system "
            "finds; install NVIDIA's driver, or choose `--backend openvino`"
        ) from error
    major, minor = _version(call.checked("cuDriverGetVersion", answer))
    needed = cuda.CUDA_VERSION // 1000
    if major < needed:
        raise DeviceError(
            f"cuda-python is for CUDA {needed} and the driver for CUDA {major}.{minor}; expected a "
            f'package no newer than the driver; run `pip install "cuda-python<{needed}"` or update '
            "the driver"
        )


def _version(number: int) -> tuple[int, int]:
    return number // 1000, number % 1000 // 10
