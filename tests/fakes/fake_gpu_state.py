"""State of the fake GPU, and what tests ask of it: calls, failures, what is left over."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from fake_gpu_memory import DeviceMemory, HostMemory
from fake_gpu_streams import Event, Scheduler, Stream

MIB = 1 << 20
CONTEXT = 0xC0DE
"""Handle of the primary context."""

F = TypeVar("F", bound=Callable[..., Any])


class CudaFailure(Exception):
    """A driver function returned this code, such as `CUDA_ERROR_OUT_OF_MEMORY`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Call(NamedTuple):
    name: str
    args: tuple[Any, ...]
    thread: int


class Failure(NamedTuple):
    code: str
    after: int
    """Calls that still succeed."""


def driver_function(*, context: bool = True, started: bool = True) -> Callable[[F], F]:
    """Record calls, fail as told, and check that the driver is started and a context current."""

    def wrap(function: F) -> F:
        @wraps(function)
        def called(gpu: "Machine", *args: Any) -> Any:
            with gpu.lock:
                gpu.calls.append(Call(function.__name__, args, threading.get_ident()))
                gpu.fail_if_told(function.__name__)
                if started and not gpu.started:
                    raise CudaFailure("CUDA_ERROR_NOT_INITIALIZED")
                if context and gpu.current != CONTEXT:
                    raise CudaFailure("CUDA_ERROR_INVALID_CONTEXT")
                return function(gpu, *args)

        return cast(F, called)

    return wrap


class Machine:
    """One device and its driver.

    Args:
        name: What the driver calls the device.
        compute_capability: Major and minor.
        memory_mib: Device memory.
        driver: Newest CUDA version of the driver, such as 13000 for 13.0.
        integrated: Whether device and host share their memory, as on a Jetson.
        devices: How many devices the driver finds; 0 for none.
    """

    def __init__(
        self,
        name: str = "Fake RTX 4090",
        compute_capability: tuple[int, int] = (8, 9),
        *,
        memory_mib: int = 24564,
        driver: int = 13000,
        integrated: bool = False,
        devices: int = 1,
    ) -> None:
        self.name = name
        self.compute_capability = compute_capability
        self.driver = driver
        self.devices = devices
        self.memory = DeviceMemory(memory_mib * MIB)
        self.host = HostMemory()
        self.scheduler = Scheduler()
        self.attributes = {
            "COMPUTE_CAPABILITY_MAJOR": compute_capability[0],
            "COMPUTE_CAPABILITY_MINOR": compute_capability[1],
            "INTEGRATED": int(integrated),
            "MULTIPROCESSOR_COUNT": 128,
            "CAN_MAP_HOST_MEMORY": 1,
            "UNIFIED_ADDRESSING": 1,
        }
        self.started = False
        self.retained = 0
        """How often the primary context is retained."""
        self.calls: list[Call] = []
        self.faults: list[str] = []
        """Misuse found where nothing could be raised, such as in a destructor."""
        self.lock = threading.RLock()
        self._failures: dict[str, Failure] = {}
        self._stacks: dict[int, list[int]] = {}

    # What tests ask for.

    def fail(self, name: str, code: str = "CUDA_ERROR_UNKNOWN", *, after: int = 0) -> None:
        """Let a driver function fail with `code`, after it has succeeded `after` times more."""
        if not hasattr(self, name):
            raise ValueError(f"the fake driver has no {name}")
        self._failures[name] = Failure(code, after)

    def heal(self) -> None:
        """Let everything succeed again."""
        self._failures.clear()

    def called(self, name: str) -> list[Call]:
        """Calls of one driver function so far."""
        return [call for call in self.calls if call.name == name]

    def live(self) -> dict[str, int]:
        """Count what is not given back yet, by kind; empty when all is."""
        counts = {
            "device blocks": len(self.memory.sizes),
            "pinned blocks": len(self.host.blocks),
            "streams": len(self.scheduler.streams),
            "events": len(self.scheduler.events),
            "retained contexts": self.retained,
            "pushed contexts": sum(len(stack) for stack in self._stacks.values()),
            "queued jobs": sum(len(s.jobs) for s in self.scheduler.streams.values()),
        }
        return {kind: count for kind, count in counts.items() if count}

    # What the fake TensorRT uses.

    @property
    def current(self) -> int:
        """The calling thread's context; 0 for none."""
        stack = self._stacks.get(threading.get_ident(), [])
        return stack[-1] if stack and self.retained else 0

    def enqueue(self, stream: int, run: Callable[[], None], *, cost_ms: float = 1.0) -> None:
        """Queue work on a stream."""
        with self.lock:
            found = self._stream(stream)
            self.scheduler.enqueue(found, run, cost_ms)
            if stream == 0:
                self.scheduler.drain(found)

    def allocate(self, size: int, *, backed: bool = True) -> int:
        """Allocate device memory without the checks of a driver function."""
        if size <= 0:
            raise CudaFailure("CUDA_ERROR_INVALID_VALUE")
        if self.memory.used + size > self.memory.total:
            raise CudaFailure("CUDA_ERROR_OUT_OF_MEMORY")
        return self.memory.allocate(size, backed=backed)

    def fail_if_told(self, name: str) -> None:
        failure = self._failures.get(name)
        if failure is None:
            return
        if failure.after:
            self._failures[name] = failure._replace(after=failure.after - 1)
            return
        raise CudaFailure(failure.code)

    def _stack(self) -> list[int]:
        return self._stacks.setdefault(threading.get_ident(), [])

    def _stream(self, handle: int) -> Stream:
        """Find a stream. The null stream first waits for all blocking ones, and keeps no work."""
        if handle == 0:
            for stream in self.scheduler.blocking_streams():
                self.scheduler.drain(stream)
            return Stream(0, blocking=True)
        if handle not in self.scheduler.streams:
            raise CudaFailure("CUDA_ERROR_INVALID_HANDLE")
        return self.scheduler.streams[handle]

    def _event(self, handle: int) -> Event:
        if handle not in self.scheduler.events:
            raise CudaFailure("CUDA_ERROR_INVALID_HANDLE")
        return self.scheduler.events[handle]
