"""What the other steps run on."""

import importlib
from typing import Any

from runtime.doctor import examine

from .job import Job

MODULES = ("tensorrt", "tensorrt_rtx", "onnxruntime", "openvino", "torch", "polygraphy", "numpy")


def look(job: Job) -> dict[str, Any]:
    """Say what `segx doctor` says, and which versions there are."""
    return {
        "doctor": examine(),
        "versions": {name: _version(name) for name in MODULES},
        "onnxruntime providers": _providers(),
    }


def _version(name: str) -> str:
    try:
        return str(importlib.import_module(name).__version__)
    except Exception as error:  # a library that is there and cannot be loaded is a finding
        return f"{type(error).__name__}: {error}"


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError as error:
        return [str(error)]
    found: list[str] = onnxruntime.get_available_providers()
    return found
