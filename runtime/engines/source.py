"""Where engines come from, and how one is made."""

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from ..errors import EngineError, brief
from .build import BuildRequest, Built, OnProgress, build_engine
from .cache import EngineCache
from .folder import Found
from .options import EnginePolicy
from .profiles import profile_text
from .record import EngineRecord, engine_file
from .want import Want


class BuildEngine(Protocol):
    """What builds an engine: `build.build_engine`."""

    def __call__(self, request: BuildRequest, out: Path, *, on_progress: OnProgress) -> Built:
        """Build an engine into a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSource:
    """Where engines come from, and who is told."""

    cache: EngineCache
    policy: EnginePolicy
    segx_version: str
    """Of the program, for the record."""
    on_progress: OnProgress
    """Told how far a build is."""
    note: Callable[[str], None]
    """Told in one line why an engine that is there is not taken, and what could not be done."""
    build: BuildEngine = build_engine

    def alone(self, want: Want) -> AbstractContextManager[bool]:
        """Keep other processes from building the same engine inside the `with` block.

        Raises:
            EngineError: If another one builds for longer than a build may take.
        """
        return self.cache.hold(
            want.key,
            limit_s=self.policy.build.time_limit_s,
            on_wait=lambda: self.note(
                f"another process builds the engine of {want.name}; waiting for it"
            ),
        )

    def make(self, want: Want) -> Found:
        """Build an engine, which is not stored yet.

        Raises:
            EngineError: If it cannot be built, or there is no room to build it in.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="segx-engine-") as folder:
                out = Path(folder) / "engine"
                built = self.build(self._request(want), out, on_progress=self.on_progress)
                data = out.read_bytes()
        except OSError as error:
            raise EngineError(
                f"the engine of {want.name} cannot be built ({brief(error)}); expected room below "
                f"{tempfile.gettempdir()}; free some or set TMPDIR to another folder"
            ) from error
        return Found(record=self._record(want, built, data), data=data)

    def _request(self, want: Want) -> BuildRequest:
        options = self.policy.build
        return BuildRequest(
            onnx=want.bundle.file(want.part),
            part=want.part,
            target=want.target,
            profile=want.profile,
            options=options,
            timing_cache=self.cache.timing_file(want.target) if options.timing_cache else None,
        )

    def _record(self, want: Want, built: Built, data: bytes) -> EngineRecord:
        digest = hashlib.sha256(data).hexdigest()
        return EngineRecord(
            segx_version=self.segx_version,
            bundle=want.bundle.manifest.name,
            bundle_sha256=want.bundle.sha256,
            part=want.part.name,
            onnx_sha256=want.onnx_sha256,
            target=want.target,
            profile=profile_text(want.profile),
            precision=want.part.precision,
            file=engine_file(want.key, digest),
            engine_sha256=digest,
            size_bytes=len(data),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            build_seconds=built.seconds,
            options=replace(self.policy.build, workspace_mib=built.workspace_mib),
            notes=built.notes,
            summary=built.summary,
        )
