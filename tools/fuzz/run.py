"""Run a target on damaged files, and keep those that it does not refuse as it must."""

import hashlib
import random
import resource
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from runtime.errors import SegxError

from .mutate import mutate

if TYPE_CHECKING:  # what is guided by coverage imports the targets in its own way
    from .targets import Target

CORPUS = Path(__file__).parents[2] / "tests" / "corpus"

HANG_S = 10
"""Seconds without an answer that count as none."""

MEMORY_BYTES = 6 << 30
"""Address space of a process that fuzzes; beyond, memory runs out."""

HEAD = f"{'target':16} {'executions':>10} {'refused':>8} {'read':>8} {'seconds':>8} failures"


class Hang(BaseException):
    """A target gave no answer in time."""


@dataclass(slots=True)
class Outcome:
    """What came of a target's executions."""

    executions: int = 0
    refused: int = 0
    """With a `SegxError` of one line."""
    failed: int = 0
    seconds: float = 0.0
    failures: dict[str, bytes] = field(default_factory=dict)
    """First file of each kind of failure, by what happened and where."""

    def row(self, name: str) -> str:
        """Give the line of a table under `HEAD`."""
        read = self.executions - self.refused - self.failed
        failures = "; ".join(sorted(self.failures)) or "none"
        counts = f"{self.executions:10} {self.refused:8} {read:8} {self.seconds:8.0f}"
        return f"{name:16} {counts} {failures}"


class Runner:
    """A target in a folder, with its whole files."""

    def __init__(self, target: "Target", folder: Path) -> None:
        """Prepare the folder, and read every whole file, which must pass.

        Args:
            target: What to run.
            folder: An empty folder.
        """
        self.target = target
        self.outcome = Outcome()
        self._file = folder / target.name
        self.seeds = target.seeds(folder)
        for seed in self.seeds:
            fault = self.execute(seed)
            if fault or self.outcome.refused:
                raise RuntimeError(f"a whole {target.name} is not read: {fault or 'refused'}")

    def execute(self, data: bytes) -> str:
        """Read one file.

        Returns:
            What went wrong and where; empty if it was read, or refused as it must be.
        """
        self._file.unlink(missing_ok=True)
        self._file.write_bytes(data)
        begin, fault = time.perf_counter(), ""
        try:
            with _alarm(HANG_S):
                self.target.read(self._file)
        except SegxError as error:
            if len(str(error).splitlines()) == 1:
                self.outcome.refused += 1
            else:
                fault = _where("several lines", error)
        except (Exception, Hang) as error:
            fault = _where(type(error).__name__, error)
        self.outcome.executions += 1
        self.outcome.seconds += time.perf_counter() - begin
        if fault:
            self.outcome.failed += 1
            self.outcome.failures.setdefault(fault, data)
        return fault

    def run(self, runs: int, *, seed: int) -> None:
        """Read damaged files.

        Args:
            runs: How many.
            seed: Where chance begins; the same one gives the same files.
        """
        for number in range(runs):
            self.execute(mutate(random.Random(f"{seed}/{self.target.name}/{number}"), self.seeds))


def finish(name: str, found: Outcome) -> int:
    """Print what came of a target, and write what failed to the corpus; 1 if anything did."""
    print(found.row(name), flush=True)
    folder = CORPUS / name
    for data in found.failures.values():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return int(bool(found.failures))


def bound_memory() -> None:
    """Let this process have so much memory and no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _where(what: str, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename]
    frame = (ours or frames)[-1]
    return f"{what} at {Path(frame.filename).name}:{frame.name}"


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no answer in {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
