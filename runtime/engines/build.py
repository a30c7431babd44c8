"""Build an engine in a child process, which may crash without harm; see `worker`."""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..child import Ended, run_child
from ..errors import BackendError, DeviceMemoryError, EngineError, SegxError, brief
from ..jsonfile import write_json
from ..manifest import PartSpec
from ..schema import parse
from .inspector import EngineSummary
from .job import Job, Outcome
from .options import BuildOptions, check_options
from .profiles import Profile, check_profile
from .progress import TOTAL
from .target import Target

LEAST_WORKSPACE_MIB = 256
"""Less than this is not tried when memory runs out."""

_COMMAND = (sys.executable, "-m", "runtime.engines.worker")
_KILLED = 9
"""The signal with which a system that is out of memory ends a process."""

_ERRORS = {kind.__name__: kind for kind in (EngineError, BackendError, DeviceMemoryError)}

_log = logging.getLogger(__name__)

OnProgress = Callable[[int, int, str], None]
"""Told how much is done, of how much, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """An engine to build."""

    onnx: Path
    """The part's graph, which carries the precision."""
    part: PartSpec
    target: Target
    profile: Profile
    options: BuildOptions
    timing_cache: Path | None
    """File of timings to use and to keep; a bad one is a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """How an engine was built."""

    size_bytes: int
    seconds: float
    """With the attempts that ran out of memory."""
    workspace_mib: int
    """Scratch memory that the builder had."""
    notes: tuple[str, ...]
    """What did not go as asked."""
    summary: EngineSummary | None
    """The engine's layers; None where it cannot be opened, as without a GPU."""


def build_engine(request: BuildRequest, out: Path, *, on_progress: OnProgress) -> Built:
    """Build an engine; where memory runs out, again with half the workspace.

    Args:
        request: What to build.
        out: File for the engine; it appears when complete.
        on_progress: Told how far the build is; what it is told never falls.

    Raises:
        ConfigError: If the profile does not fit the part, or an option is out of range.
        BackendError: If the builder or Polygraphy is not installed.
        DeviceMemoryError: If memory runs out with the least workspace, too.
        EngineError: If the graph cannot be read or built, the build ends early, the engine does
            not compute as the part asks, or the disk does not take it.
    """
    check_options(request.options)
    check_profile(request.part, request.profile)
    with _writing(out):
        # Beside the target, so that the finished engine only has to be renamed.
        folder = tempfile.TemporaryDirectory(prefix=".segx-build-", dir=out.parent)
    with folder as name:
        return _Attempts(request, Path(name), on_progress).build(out)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(
            f"{out} cannot be written ({brief(error)}); expected room and permission in its "
            "folder; free some disk space or choose another folder"
        ) from error


class _Attempts:
    """Attempts to build one engine within one time limit."""

    def __init__(self, request: BuildRequest, folder: Path, on_progress: OnProgress) -> None:
        self._request = request
        self._folder = folder
        self._on_progress = on_progress
        self._told = -1
        self._start = time.monotonic()
        self._notes: list[str] = []

    def build(self, out: Path) -> Built:
        self._tell(0, "reading the graph")
        job, outcome = self._until_it_fits(self._request.options.workspace_mib)
        with _writing(out):
            Path(job.engine).replace(out)
        for note in outcome.notes:
            _log.warning("part %s: %s", job.part.name, note)
        self._tell(TOTAL, "done")
        return Built(
            size_bytes=out.stat().st_size,
            seconds=time.monotonic() - self._start,
            workspace_mib=job.workspace_mib,
            notes=(*self._notes, *outcome.notes),
            summary=outcome.summary,
        )

    def _until_it_fits(self, workspace_mib: int) -> tuple[Job, Outcome]:
        while True:
            job = self._job(workspace_mib)
            try:
                return job, self._attempt(job)
            except DeviceMemoryError as error:
                if workspace_mib // 2 < LEAST_WORKSPACE_MIB:
                    raise
                note = f"out of memory with {workspace_mib} MiB of workspace"
                workspace_mib //= 2
                self._notes.append(f"{note}, tried again with {workspace_mib} MiB")
                _log.warning("part %s: %s (%s)", job.part.name, self._notes[-1], error)

    def _job(self, workspace_mib: int) -> Job:
        request, folder = self._request, self._folder.resolve()
        timings = request.timing_cache
        return Job(
            onnx=str(request.onnx.resolve()),
            part=request.part,
            target=request.target,
            profile=request.profile,
            workspace_mib=workspace_mib,
            optimization_level=request.options.optimization_level,
            timing_cache=None if timings is None else str(timings.resolve()),
            engine=str(folder / "engine"),
            outcome=str(folder / f"outcome-{workspace_mib}.json"),
            log=str(folder / f"log-{workspace_mib}.txt"),
        )

    def _attempt(self, job: Job) -> Outcome:
        """Run the worker.

        Raises:
            SegxError: Of the class and with the message that the worker gives.
        """
        path = self._folder / "job.json"
        write_json(path, job)
        left = self._start + self._request.options.time_limit_s - time.monotonic()
        ended = run_child(
            [*_COMMAND, str(path.resolve())],
            time_limit_s=max(round(left, 1), 0.1),
            folder=self._folder,
            environment=_environment(job.target),
            on_line=self._hear,
        )
        if ended.reason:
            raise self._crash(ended)
        outcome = self._outcome(job)
        if outcome.error:
            raise _ERRORS.get(outcome.kind, EngineError)(outcome.error)
        return outcome

    def _outcome(self, job: Job) -> Outcome:
        try:
            data = json.loads(Path(job.outcome).read_text(encoding="utf-8"))
            return parse(Outcome, data, where="it", error=EngineError)
        except (OSError, ValueError, EngineError) as error:  # a library that ends the process
            said = f"ended without saying how it went ({brief(error)})"
            raise self._crash(Ended(reason=said)) from error

    def _crash(self, ended: Ended) -> SegxError:
        target, part = self._request.target, self._request.part
        found = f"the build of part '{part.name}' by {target.builder} {ended.reason}"
        if ended.signal == _KILLED:
            return DeviceMemoryError(
                f"{found}; expected enough memory, for lack of which systems end processes so; "
                "close other programs, or add swap space"
            )
        return EngineError(
            f"{found}; expected an engine within {self._request.options.time_limit_s:g} s; see "
            "`segx doctor`, or run the bundle with `--backend openvino`"
        )

    def _hear(self, line: str) -> None:
        try:
            done, note = json.loads(line)
        except (ValueError, TypeError):  # printed while Python itself started
            _log.debug("the builder printed %s", line)
            return
        self._tell(done, note)

    def _tell(self, done: int, note: str) -> None:
        # An attempt after another one starts over.
        if done > self._told:
            self._told = done
            self._on_progress(done, TOTAL, note)


def _environment(target: Target) -> dict[str, str]:
    """Let Polygraphy take the library that is meant, and nothing else of it be configured."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("POLYGRAPHY_")}
    if target.builder == "tensorrt-rtx":
        own["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"
    return own
