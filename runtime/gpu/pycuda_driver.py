"""The CUDA driver through pycuda, for devices that have it instead of cuda-python."""

from collections.abc import Callable
from ctypes import c_uint8
from typing import Any

from ..errors import BackendError, brief
from .driver import NON_BLOCKING, SLEEP, Driver, failure


def load() -> Driver:
    """Import pycuda and start the driver; a BackendError if it is missing or finds no driver."""
    try:
        import pycuda.driver
    except ImportError as error:
        raise BackendError(
            f"pycuda cannot be imported ({brief(error)}); expected it, and a driver; run `pip "
            "install pycuda` where CUDA's compiler is installed, or leave out `--cuda pycuda`"
        ) from error
    return start(pycuda.driver)


def start(cuda: Any) -> Driver:
    """Start the driver; `cuda` is the module `pycuda.driver`."""

    def do(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except cuda.Error as error:
            refused = failure(f"pycuda: {brief(error)}", memory=isinstance(error, cuda.MemoryError))
        # A traceback must not keep what pycuda made: that is destroyed when Python lets go of it.
        del function, args
        raise refused

    kept: dict[int, Any] = {}

    def keep(thing: Any, number: int) -> int:
        kept[number] = thing
        return number

    def pinned(size: int) -> int:
        array = do(cuda.pagelocked_empty, size, "uint8")
        return keep(array, array.ctypes.data)

    def host(address: int, size: int) -> Any:
        return (c_uint8 * size).from_address(address)

    asked = cuda.device_attribute
    do(cuda.init)
    return Driver(
        name="pycuda",
        cuda_version=lambda: divmod(do(cuda.get_driver_version) // 10, 100),
        device_count=lambda: int(do(cuda.Device.count)),
        device_name=lambda ordinal: str(do(do(cuda.Device, ordinal).name)),
        compute_capability=lambda ordinal: do(do(cuda.Device, ordinal).compute_capability),
        is_integrated=lambda n: do(do(cuda.Device, n).get_attribute, asked.INTEGRATED) != 0,
        retain=lambda ordinal: do(do(cuda.Device, ordinal).retain_primary_context),
        release=lambda _, context: do(context.detach),
        push=lambda context: do(context.push),
        pop=lambda: do(cuda.Context.pop),
        memory=lambda: do(cuda.mem_get_info),
        alloc=lambda size: keep(made := do(cuda.mem_alloc, size), int(made)),
        free=lambda address: do(kept.pop(address).free),
        alloc_host=pinned,
        free_host=lambda address: do(kept.pop(address).base.free),
        create_stream=lambda: keep(made := do(cuda.Stream, NON_BLOCKING), int(made.handle)),
        destroy_stream=kept.__delitem__,
        synchronize_stream=lambda stream: do(kept[stream].synchronize),
        wait_event=lambda stream, event: do(kept[stream].wait_for_event, kept[event]),
        create_event=lambda: keep(made := do(cuda.Event, SLEEP), id(made)),
        destroy_event=kept.__delitem__,
        record_event=lambda event, stream: do(kept[event].record, kept[stream]),
        synchronize_event=lambda event: do(kept[event].synchronize),
        elapsed_ms=lambda first, last: float(do(kept[last].time_since, kept[first])),
        upload=lambda to, of, n, on: do(cuda.memcpy_htod_async, to, host(of, n), kept[on]),
        download=lambda to, of, n, on: do(cuda.memcpy_dtoh_async, host(to, n), of, kept[on]),
    )
