"""The energy counter of an NVIDIA GPU, asked for through the driver's own library (NVML)."""

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .power_sensors import Counter

_NAME_BYTES = 96


class NvmlError(OSError):
    """NVML reports an error, such as that a GPU has no such counter."""


class Nvml:
    """NVML, started; `close` it."""

    def __init__(self, library: Any) -> None:
        """Start it.

        Args:
            library: The library, as ctypes loads it.

        Raises:
            NvmlError: If it finds no driver.
        """
        self._library = library
        self._call("nvmlInit_v2")

    def _call(self, function: str, *args: Any) -> None:
        try:
            status = getattr(self._library, function)(*args)
        except AttributeError as error:  # drivers of before 2017
            raise NvmlError(f"NVML has no {function}") from error
        if status != 0:
            raise NvmlError(f"{function} gives {status}")

    def devices(self) -> list[ctypes.c_void_p]:
        """Handles of all GPUs, in the order of their places on the bus."""
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        handles = [ctypes.c_void_p() for _ in range(count.value)]
        for index, handle in enumerate(handles):
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handles

    def name(self, device: ctypes.c_void_p) -> str:
        """Name of a GPU, such as `NVIDIA GeForce RTX 3060`."""
        return self._text("nvmlDeviceGetName", device)

    def uuid(self, device: ctypes.c_void_p) -> str:
        """Identity of a GPU, such as `GPU-8f6d...`."""
        return self._text("nvmlDeviceGetUUID", device)

    def _text(self, function: str, device: ctypes.c_void_p) -> str:
        buffer = ctypes.create_string_buffer(_NAME_BYTES)
        self._call(function, device, buffer, ctypes.c_uint(_NAME_BYTES))
        return buffer.value.decode(errors="replace")

    def joules(self, device: ctypes.c_void_p) -> float:
        """Energy that a GPU has used since its driver was loaded."""
        millijoules = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", device, ctypes.byref(millijoules))
        return millijoules.value / 1e3

    def close(self) -> None:
        """Stop it."""
        with suppress(NvmlError):
            self._call("nvmlShutdown")


def load_nvml() -> Any:
    """Load the library; fails with an OSError where there is no driver."""
    return ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")


def open_gpu_counter(
    device: str,
    *,
    load: Callable[[], Any] = load_nvml,
    environment: Mapping[str, str] = os.environ,
) -> tuple[str, Counter] | None:
    """Open the energy counter of the GPU that runs a model.

    Args:
        device: Name of the GPU, maybe with more behind it.
        load: Gives the library.
        environment: Where CUDA_VISIBLE_DEVICES may stand.

    Returns:
        Name and counter of the GPU; None where there is none, as on a Jetson or a part of a GPU.
    """
    try:
        nvml = Nvml(load())
    except OSError:
        return None
    try:
        handle = _find(nvml, device, environment.get("CUDA_VISIBLE_DEVICES"))
        if handle is not None:
            nvml.joules(handle)
            name = nvml.name(handle)
            return name, Counter(read=lambda: nvml.joules(handle), close=nvml.close)
    except NvmlError:
        pass
    nvml.close()
    return None


def _find(nvml: Nvml, device: str, visible: str | None) -> ctypes.c_void_p | None:
    """The first visible GPU, as CUDA counts: of GPUs of several kinds, the one of that name."""
    handles = nvml.devices()
    if visible is not None:
        first = visible.split(",")[0].strip()
        if first.isdigit():
            return handles[int(first)] if int(first) < len(handles) else None
        handles = [item for item in handles if first and nvml.uuid(item).startswith(first)]
    named = [item for item in handles if device.startswith(nvml.name(item))]
    return next(iter([*named, *handles]), None)
