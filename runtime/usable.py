"""What a backend needs of this machine, looked at before a bundle is opened with it."""

import ctypes
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from .backends import Backend, installed, require_installed
from .engines.target import MODULES, EngineBuilder
from .errors import BackendError, DeviceError
from .onnxruntime_session import require_cuda_build

if TYPE_CHECKING:
    from .gpu.device import DeviceInfo
    from .gpu.driver import CudaOption


def require_usable(
    backend: Backend,
    cuda: "CudaOption" = "auto",
    *,
    on_doubt: Callable[[str], None] | None = None,
) -> str:
    """Make sure that a backend's library is there, and a device that it runs on.

    Nothing of a GPU's libraries is imported where there is no driver.

    Args:
        backend: The backend.
        cuda: Package that brings the CUDA driver to Python.
        on_doubt: Told in one line of a GPU that is tried although the backend does not list it;
            such a GPU is refused if None.

    Returns:
        The device, such as `CPU` or `NVIDIA GeForce RTX 3060 (8.6)`.

    Raises:
        BackendError: Naming what is missing.
    """
    match backend:
        case "openvino" | "onnxruntime":
            require_installed(backend)
            return "CPU"
        case "onnxruntime-cuda":
            _require_driver(backend)
            require_installed("onnxruntime")
            require_cuda_build()
            return _gpu_label(cuda)
        case _:
            _require_driver(backend)
            return label(_engine_device(backend, cuda, on_doubt))


def label(gpu: "DeviceInfo") -> str:
    """Name and compute capability of a GPU."""
    return f"{gpu.name} ({gpu.compute_capability})"


def targets_of(builder: EngineBuilder) -> tuple[str, ...]:
    """Compute capabilities that a builder builds for; empty where it builds for the GPU at hand.

    Raises:
        BackendError: If it is not installed or cannot be imported.
    """
    from .engines.api import load_tensorrt, probe

    try:
        return probe(load_tensorrt(builder)).compute_capabilities
    except BackendError as error:
        if installed(MODULES[builder]):
            raise
        _, expected, remedy = str(error).partition("; expected")
        raise BackendError(f"{builder} is not installed{expected}{remedy}") from error


def find_gpu(cuda: "CudaOption" = "auto") -> "DeviceInfo":
    """Ask the driver for the GPU.

    Raises:
        BackendError: If there is none, or no package to ask with.
    """
    from .gpu.device import find_device

    try:
        device = find_device(cuda)
        device.close()
    except DeviceError as error:
        raise BackendError(str(error)) from error
    return device.info


def has_nvidia_driver() -> bool:
    """Tell whether NVIDIA's driver library is there, without any package that uses it."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _require_driver(backend: Backend) -> None:
    if not has_nvidia_driver():
        raise BackendError(
            f"no NVIDIA driver; expected one for `--backend {backend}`; install the driver of your "
            "GPU, or use `--backend openvino`"
        )


def _engine_device(
    builder: EngineBuilder, cuda: "CudaOption", on_doubt: Callable[[str], None] | None
) -> "DeviceInfo":
    targets = targets_of(builder)
    gpu = find_gpu(cuda)
    if not targets or gpu.compute_capability in targets:
        return gpu
    found = f"GPU {label(gpu)} is not among the targets of {builder}: {', '.join(targets)}"
    # What a builder lists is what it builds for ahead of time; on the GPU itself it may do more.
    if on_doubt is None:
        raise BackendError(
            f"{found}; expected one of them; use `--backend tensorrt` or `--backend "
            f"onnxruntime-cuda`, or try it with `--backend {builder}`"
        )
    on_doubt(f"{found}; expected one of them; tried, since {builder} was asked for by name")
    return gpu


def _gpu_label(cuda: "CudaOption") -> str:
    """Name the GPU; ONNX Runtime needs no package that can, so without one it stays unnamed."""
    if cuda == "auto" and not installed("cuda") and not installed("pycuda"):
        return "GPU 0"
    return label(find_gpu(cuda))
