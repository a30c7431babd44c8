"""The fake GPU in the shape of pycuda.driver: the names that its documentation lists."""

from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from fake_gpu import CudaFailure, FakeGpu
from fake_gpu_state import CONTEXT
from numpy.typing import NDArray

ATTRIBUTES = (
    "COMPUTE_CAPABILITY_MAJOR",
    "COMPUTE_CAPABILITY_MINOR",
    "INTEGRATED",
    "MULTIPROCESSOR_COUNT",
    "CAN_MAP_HOST_MEMORY",
    "UNIFIED_ADDRESSING",
)


class Error(Exception):
    """Root of pycuda's errors."""


class MemoryError(Error):
    """Out of memory."""


class LogicError(Error):
    """A wrong call."""


class LaunchError(Error):
    """A kernel failed."""


class RuntimeError(Error):
    """Anything else."""


LAUNCH = ("LAUNCH", "ILLEGAL_ADDRESS")
LOGIC = ("INVALID", "NOT_INITIALIZED", "NO_DEVICE", "NOT_READY", "CONTEXT")


def translated(failure: CudaFailure, function: str) -> Error:
    """Choose the error that pycuda raises for a code."""
    kind: type[Error] = RuntimeError
    if "OUT_OF_MEMORY" in failure.code:
        kind = MemoryError
    elif any(word in failure.code for word in LAUNCH):
        kind = LaunchError
    elif any(word in failure.code for word in LOGIC):
        kind = LogicError
    text = failure.code.removeprefix("CUDA_ERROR_").lower().replace("_", " ")
    return kind(f"{function} failed: {text}")


class Api:
    """Call the fake driver; raise pycuda's errors."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu

    def __call__(self, name: str, *args: Any) -> Any:
        try:
            return getattr(self.gpu, name)(*args)
        except CudaFailure as failure:
            raise translated(failure, name) from None

    def quietly(self, name: str, *args: Any) -> None:
        """Give something back in a destructor, where pycuda makes the context current itself."""
        elsewhere = self.gpu.retained > 0 and not self.gpu.current
        if not elsewhere:
            self._cleanup(name, *args)
        elif self._cleanup("cuCtxPushCurrent", CONTEXT):
            self._cleanup(name, *args)
            self._cleanup("cuCtxPopCurrent")

    def _cleanup(self, name: str, *args: Any) -> bool:
        try:
            getattr(self.gpu, name)(*args)
        except CudaFailure as failure:
            self.gpu.faults.append(f"{name} in a destructor failed: {failure.code}")
            return False
        return True


class OfOneGpu:
    """Base of the classes below; each fake module has subclasses with its own `api`."""

    api: ClassVar[Api]


class Context(OfOneGpu):
    """The primary context, retained."""

    def __init__(self, ordinal: int) -> None:
        self._ordinal = ordinal
        self._handle = self.api("cuDevicePrimaryCtxRetain", ordinal)

    def push(self) -> None:
        self.api("cuCtxPushCurrent", self._handle)

    @classmethod
    def pop(cls) -> None:
        cls.api("cuCtxPopCurrent")

    @classmethod
    def synchronize(cls) -> None:
        cls.api("cuCtxSynchronize")

    def detach(self) -> None:
        self.api("cuDevicePrimaryCtxRelease", self._ordinal)


class Device(OfOneGpu):
    context: ClassVar[type[Context]]

    def __init__(self, ordinal: int) -> None:
        self._ordinal = self.api("cuDeviceGet", ordinal)

    @classmethod
    def count(cls) -> int:
        return int(cls.api("cuDeviceGetCount"))

    def name(self) -> str:
        raw: bytes = self.api("cuDeviceGetName", 256, self._ordinal)
        return raw.split(b"\0")[0].decode()

    def compute_capability(self) -> tuple[int, int]:
        major, minor = (
            self.get_attribute(f"COMPUTE_CAPABILITY_{part}") for part in ("MAJOR", "MINOR")
        )
        return major, minor

    def total_memory(self) -> int:
        return int(self.api("cuDeviceTotalMem", self._ordinal))

    def get_attribute(self, attribute: str) -> int:
        return int(self.api("cuDeviceGetAttribute", attribute, self._ordinal))

    def retain_primary_context(self) -> Context:
        return self.context(self._ordinal)


class Event(OfOneGpu):
    def __init__(self, flags: int = 0) -> None:
        self._handle = self.api("cuEventCreate", flags)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self.api.quietly("cuEventDestroy", self._handle)

    def record(self, stream: "Stream | None" = None) -> "Event":
        self.api("cuEventRecord", self._handle, handle_of(stream))
        return self

    def synchronize(self) -> "Event":
        self.api("cuEventSynchronize", self._handle)
        return self

    def query(self) -> bool:
        try:
            self.api.gpu.cuEventQuery(self._handle)
        except CudaFailure as failure:
            if failure.code == "CUDA_ERROR_NOT_READY":
                return False
            raise translated(failure, "cuEventQuery") from None
        return True

    def time_since(self, event: "Event") -> float:
        return float(self.api("cuEventElapsedTime", event._handle, self._handle))

    def time_till(self, event: "Event") -> float:
        return float(self.api("cuEventElapsedTime", self._handle, event._handle))


class Stream(OfOneGpu):
    def __init__(self, flags: int = 0) -> None:
        self.handle = self.api("cuStreamCreate", flags)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self.api.quietly("cuStreamDestroy", self.handle)

    def synchronize(self) -> None:
        self.api("cuStreamSynchronize", self.handle)

    def wait_for_event(self, event: Event) -> None:
        self.api("cuStreamWaitEvent", self.handle, event._handle, 0)


class DeviceAllocation(OfOneGpu):
    def __init__(self, size: int) -> None:
        self._address: int | None = None
        self._address = self.api("cuMemAlloc", size)

    def __int__(self) -> int:
        if self._address is None:
            raise LogicError("the allocation is freed")
        return self._address

    __index__ = __int__

    def free(self) -> None:
        self.api("cuMemFree", int(self))
        self._address = None

    def __del__(self) -> None:
        if self._address is not None:
            self.api.quietly("cuMemFree", self._address)


class PagelockedHostAllocation(OfOneGpu):
    """Base of the arrays that `pagelocked_empty` gives; freed when the last of them goes."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._address: int | None = None
        size = int(np.prod(shape)) * dtype.itemsize
        self._address = self.api("cuMemHostAlloc", size, 0)
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (self._address, False),
        }

    def free(self) -> None:
        self.api("cuMemFreeHost", self._address)
        self._address = None

    def __del__(self) -> None:
        if self._address is not None:
            self.api.quietly("cuMemFreeHost", self._address)


class Functions:
    """Functions of the module."""

    def __init__(self, api: Api, host_allocation: type[PagelockedHostAllocation]) -> None:
        self._api = api
        self._host_allocation = host_allocation

    def init(self, flags: int = 0) -> None:
        self._api("cuInit", flags)

    def get_driver_version(self) -> int:
        return int(self._api("cuDriverGetVersion"))

    def mem_get_info(self) -> tuple[int, int]:
        free, total = self._api("cuMemGetInfo")
        return free, total

    def pagelocked_empty(
        self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0
    ) -> NDArray[Any]:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return np.asarray(self._host_allocation(shape, np.dtype(dtype)))

    def pagelocked_zeros(
        self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0
    ) -> NDArray[Any]:
        made = self.pagelocked_empty(shape, dtype, order, mem_flags)
        made.fill(0)
        return made

    def memcpy_htod_async(self, dest: Any, src: Any, stream: Stream | None = None) -> None:
        self._api("cuMemcpyHtoDAsync", int(dest), *located(src), handle_of(stream))

    def memcpy_dtoh_async(self, dest: Any, src: Any, stream: Stream | None = None) -> None:
        address, size = located(dest)
        self._api("cuMemcpyDtoHAsync", address, int(src), size, handle_of(stream))

    def memcpy_dtod_async(
        self, dest: Any, src: Any, size: int, stream: Stream | None = None
    ) -> None:
        self._api("cuMemcpyDtoDAsync", int(dest), int(src), size, handle_of(stream))

    def memcpy_htod(self, dest: Any, src: Any) -> None:
        self._api("cuMemcpyHtoD", int(dest), *located(src))

    def memcpy_dtoh(self, dest: Any, src: Any) -> None:
        address, size = located(dest)
        self._api("cuMemcpyDtoH", address, int(src), size)


def pycuda(gpu: FakeGpu) -> ModuleType:
    """Give a module `pycuda` that holds a module `driver` on the fake GPU."""
    package, driver = ModuleType("pycuda"), ModuleType("pycuda.driver")
    api = Api(gpu)
    names: dict[str, Any] = {
        kind.__name__: kind for kind in (Error, MemoryError, LogicError, LaunchError, RuntimeError)
    }
    kinds = (Context, Device, Event, Stream, DeviceAllocation, PagelockedHostAllocation)
    for kind in kinds:
        names[kind.__name__] = type(kind.__name__, (kind,), {"api": api})
    names["Device"].context = names["Context"]
    functions = Functions(api, names["PagelockedHostAllocation"])
    for name in dir(functions):
        if not name.startswith("_"):
            names[name] = getattr(functions, name)
    names["mem_alloc"] = names["DeviceAllocation"]
    names["device_attribute"] = SimpleNamespace(**{name: name for name in ATTRIBUTES})
    names["event_flags"] = SimpleNamespace(DEFAULT=0, BLOCKING_SYNC=1, DISABLE_TIMING=2)
    names["host_alloc_flags"] = SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4)
    vars(driver).update(names)
    vars(package).update(driver=driver, VERSION=(2026, 1))
    return package


def handle_of(stream: Stream | None) -> int:
    return 0 if stream is None else int(stream.handle)


def located(array: Any) -> tuple[int, int]:
    """Address and size of a contiguous buffer."""
    view = np.asarray(array)
    if not view.flags.c_contiguous:
        raise ValueError("ndarray is not contiguous")
    return view.ctypes.data, view.nbytes
