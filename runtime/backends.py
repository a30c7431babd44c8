"""The libraries that run a bundle, and how one that needs no GPU is chosen and opened."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .engines.compiled import CompiledGraphs
from .errors import BackendError
from .manifest import PartSpec
from .onnxruntime_session import OnnxRuntimeSession
from .openvino_session import OpenVinoSession
from .session import Session

CpuBackend = Literal["openvino", "onnxruntime"]
"""In the order of preference on a CPU: OpenVINO is the faster one there."""

Backend = Literal["tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "openvino", "onnxruntime"]
"""In the order of preference."""

CpuOption = Literal["auto", "openvino", "onnxruntime"]
BackendOption = Literal[
    "auto", "tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "openvino", "onnxruntime"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A library that would have been preferred."""

    name: Backend
    reason: str
    """Why it was not taken, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    """The library in use."""

    name: Backend
    reason: str
    """Why this one, in a few words."""
    device: str = "CPU"
    passed_over: tuple[PassedOver, ...] = ()


def installed(module: str) -> bool:
    """Tell whether a library can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def choose_backend(asked: CpuOption = "auto") -> BackendChoice:
    """Choose a backend for the CPU.

    Raises:
        BackendError: If the one that was asked for, or every one, is missing.
    """
    if asked != "auto":
        require_installed(asked)
        return BackendChoice(name=asked, reason="asked for")
    passed_over: list[PassedOver] = []
    for name in get_args(CpuBackend):
        if installed(name):
            reasons = [item.reason for item in passed_over]
            reason = "; ".join([*reasons, "first of those installed"])
            return BackendChoice(name=name, reason=reason, passed_over=tuple(passed_over))
        passed_over.append(PassedOver(name=name, reason=f"{name} is not installed"))
    raise BackendError(
        "neither OpenVINO nor ONNX Runtime is installed; expected one; run `pip install openvino`"
    )


def require_installed(backend: CpuBackend) -> None:
    """Make sure that a backend's library is there.

    Raises:
        BackendError: If it is not.
    """
    if not installed(backend):
        extra = "segx[ort]" if backend == "onnxruntime" else backend
        raise BackendError(
            f"{backend} is not installed; expected it for `--backend {backend}`; "
            f"run `pip install '{extra}'` or leave the option out"
        )


def open_session(
    backend: Backend,
    path: Path,
    part: PartSpec,
    *,
    batch: int = 1,
    threads: int | None = None,
    kept: CompiledGraphs | None = None,
) -> Session:
    """Open a part with a backend that opens parts one by one.

    Args:
        backend: Library to use.
        path: The part's ONNX file.
        part: What the manifest says of it.
        batch: Tiles per call.
        threads: Processor threads; the library's default if None.
        kept: Where OpenVINO's compiled graphs are looked for, and kept; None: nowhere.

    Raises:
        BackendError: If the library is missing.
        BundleError: If the graph cannot be opened.
        ValueError: For TensorRT and TensorRT-RTX: `gpu.open` opens all parts of a bundle together.
    """
    if backend == "openvino":
        return OpenVinoSession(path, part, batch=batch, threads=threads, kept=kept)
    if backend in ("onnxruntime", "onnxruntime-cuda"):
        cuda = backend == "onnxruntime-cuda"
        return OnnxRuntimeSession(path, part, batch=batch, threads=threads, cuda=cuda)
    raise ValueError(f"{backend} opens no single part; expected one of onnxruntime and openvino")
