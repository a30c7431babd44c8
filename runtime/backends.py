"""Choose the library that runs a bundle, and say why."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .errors import BackendError
from .manifest import PartSpec
from .onnxruntime_session import OnnxRuntimeSession
from .openvino_session import OpenVinoSession
from .session import Session

Backend = Literal["openvino", "onnxruntime"]
"""In the order of preference on a CPU: OpenVINO is the faster one there."""

BackendOption = Literal["auto", "openvino", "onnxruntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    """The library in use."""

    name: Backend
    reason: str
    """Why this one, in a few words."""
    device: str = "CPU"


def installed(backend: Backend) -> bool:
    """Tell whether a backend's library can be imported, without importing it."""
    return importlib.util.find_spec(backend) is not None


def choose_backend(asked: BackendOption = "auto") -> BackendChoice:
    """Choose a backend.

    Raises:
        BackendError: If the one that was asked for, or every one, is missing.
    """
    if asked != "auto":
        if not installed(asked):
            extra = "segx[ort]" if asked == "onnxruntime" else asked
            raise BackendError(
                f"{asked} is not installed; expected it for `--backend {asked}`; "
                f"run `pip install '{extra}'` or leave the option out"
            )
        return BackendChoice(name=asked, reason="asked for")
    passed_over: list[str] = []
    for name in get_args(Backend):
        if installed(name):
            reason = "; ".join([*passed_over, "first of those installed"])
            return BackendChoice(name=name, reason=reason)
        passed_over.append(f"{name} is not installed")
    raise BackendError(
        "neither OpenVINO nor ONNX Runtime is installed; expected one; run `pip install openvino`"
    )


def open_session(
    backend: Backend, path: Path, part: PartSpec, *, batch: int = 1, threads: int | None = None
) -> Session:
    """Open a part with a backend.

    Args:
        backend: Library to use.
        path: The part's ONNX file.
        part: What the manifest says of it.
        batch: Tiles per call.
        threads: Processor threads; the library's default if None.

    Raises:
        BackendError: If the library is missing.
        BundleError: If the graph cannot be opened.
    """
    if backend == "openvino":
        return OpenVinoSession(path, part, batch=batch, threads=threads)
    return OnnxRuntimeSession(path, part, batch=batch, threads=threads)
