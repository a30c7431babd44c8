"""Records and a builder of engines that hold a few bytes, for tests of what is kept and found."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.bundle import Bundle
from runtime.engines.build import BuildRequest, Built
from runtime.engines.cache import EngineCache
from runtime.engines.options import BuildOptions, EnginePolicy
from runtime.engines.record import EngineRecord, engine_file, engine_key
from runtime.engines.source import EngineSource
from runtime.engines.target import ANY_GPU, Target

ORIN = Target(
    builder="tensorrt",
    builder_version="10.3.0",
    compute_capability="8.7",
    gpu="Orin",
    platform="linux-aarch64",
)
ADA = Target(
    builder="tensorrt-rtx",
    builder_version="1.7.1",
    compute_capability="8.9",
    gpu="NVIDIA RTX 4000 Ada",
    platform="linux-x86_64",
)
ANY_ADA = replace(ADA, gpu=ANY_GPU)
GRAPH = hashlib.sha256(b"graph").hexdigest()


def make_record(data: bytes = b"engine", **changes: Any) -> EngineRecord:
    """Record of an engine that holds `data`; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "segx_version": "0.1.0",
        "bundle": "lf-dlm-fp16",
        "bundle_sha256": "0" * 64,
        "part": "aerial",
        "onnx_sha256": GRAPH,
        "target": ORIN,
        "profile": "aerial 1..1x5x512x512",
        "precision": "fp16",
        "engine_sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "created": "2026-01-02T03:04:05+00:00",
        "build_seconds": 1.5,
        "options": BuildOptions(),
        **changes,
    }
    key = engine_key(fields["onnx_sha256"], fields["target"], fields["profile"])
    return EngineRecord(**{"file": engine_file(key, fields["engine_sha256"]), **fields})


@dataclass
class FakeBuild:
    """A builder; every build gives other bytes."""

    meanwhile: Callable[[], object] = lambda: None
    """Called in every build."""
    error: Exception | None = None
    requests: list[BuildRequest] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self, request: BuildRequest, out: Path, *, on_progress: Callable[[int, int, str], None]
    ) -> Built:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        self.meanwhile()
        on_progress(1, 2, "timing kernels")
        if self.error is not None:
            raise self.error
        # Longer than a buffer, so that a torn file would show.
        out.write_bytes(f"{request.part.name} {request.target.sm} {number} ".encode() * 4000)
        return Built(
            size_bytes=out.stat().st_size,
            seconds=2.5,
            workspace_mib=request.options.workspace_mib // 2,
            notes=("half the workspace",),
            summary=None,
        )


@dataclass
class Workbench:
    """A cache with a fake builder, and what its user is told."""

    bundle: Bundle
    cache: EngineCache
    build: FakeBuild = field(default_factory=FakeBuild)
    notes: list[str] = field(default_factory=list)
    progress: list[tuple[int, int, str]] = field(default_factory=list)

    def source(self, **policy: Any) -> EngineSource:
        """Where engines come from under a policy."""
        return EngineSource(
            cache=self.cache,
            policy=EnginePolicy(**policy),
            segx_version="0.1.0",
            on_progress=lambda *done: self.progress.append(done),
            note=self.notes.append,
            build=self.build,
        )
