"""ONNX Runtime with a CUDA provider that computes on the CPU, and what was asked of it."""

from dataclasses import dataclass, field
from typing import Any

import onnxruntime

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass
class FakeCuda:
    """What the fake was asked for, and how it fails."""

    taken: tuple[str, ...] = (CUDA, CPU)
    """Providers of the sessions that it makes."""
    available: tuple[str, ...] = (CUDA, CPU)
    says: str = ""
    """What it prints when CUDA's libraries are loaded."""
    run_error: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Arguments of each session."""


def install_ort_cuda(monkeypatch: Any, **settings: Any) -> FakeCuda:
    """Give ONNX Runtime a CUDA provider."""
    fake = FakeCuda(**settings)

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, path: str, options: Any, **arguments: Any) -> None:
            fake.asked.append(arguments)
            super().__init__(path, options, providers=[CPU])

        def get_providers(self) -> list[str]:
            return list(fake.taken)

        def run(self, *arguments: Any) -> Any:
            if fake.run_error is not None:
                raise fake.run_error
            return super().run(*arguments)

    def preload() -> None:
        if fake.says:
            print(fake.says)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(fake.available))
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    return fake
