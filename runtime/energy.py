"""Energy that a run takes, from the counters and sensors of the machine.

    board     power of a Jetson's rails, sampled       everything on the module
    RAPL      counters of processor packages, memory   Linux; often for root only
    NVML      counter of the GPU that runs the model   NVIDIA GPUs but Jetson

They measure chips, not programs: what else runs at the same time is counted as well.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from .nvml import open_gpu_counter
from .power_sensors import RAPL_EVERY_S, Counter, board_rails, rapl_counters

CPU = "CPU"
"""Name of the device of backends that run no GPU."""
SAMPLE_S = 0.2
"""Seconds between two samples of a power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What was used while a meter ran."""

    joules: float
    mean_watts: float
    source: str
    """What was measured, and by which interface."""
    joules_by_source: dict[str, float]
    """Parts of the sum, by what was measured."""


class Source(Protocol):
    """Something that tells the energy it has used; a call of `look` fails with an OSError."""

    @property
    def name(self) -> str:
        """What is measured, and by which interface."""

    @property
    def every_s(self) -> float:
        """Longest time between two looks; infinite where one at each end is enough."""

    @property
    def joules(self) -> float:
        """Energy from the first look to the last one."""

    def look(self) -> None:
        """Add what was used since the last look."""

    def close(self) -> None:
        """Let go of it."""


@dataclass
class Counters:
    """Energy counters that only grow, and some of which begin anew when they are full."""

    name: str
    counters: Sequence[Counter]
    every_s: float
    joules: float = 0.0
    _last: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Add what the counters have grown by.

        Raises:
            OSError: If one cannot be read, or was set back.
        """
        now = [counter.read() for counter in self.counters]
        if self._last:
            both = zip(self.counters, self._last, now, strict=True)
            self.joules += sum(counter.grown(before, after) for counter, before, after in both)
        self._last = now

    def close(self) -> None:
        """Close the counters."""
        for counter in self.counters:
            counter.close()


@dataclass
class SampledPower:
    """A power in watts that is summed up over time, by trapezoids."""

    name: str
    watts: Callable[[], float]
    every_s: float = SAMPLE_S
    joules: float = 0.0
    _last: tuple[float, float] | None = None

    def look(self) -> None:
        """Add the time since the last look times the mean of both powers.

        Raises:
            OSError: If a sensor cannot be read.
        """
        now, watts = time.perf_counter(), self.watts()
        if self._last is not None:
            then, before = self._last
            self.joules += (now - then) * (watts + before) / 2
        self._last = now, watts

    def close(self) -> None:
        """Nothing is held."""


def find_sources(
    device: str = CPU,
    *,
    root: Path = Path("/sys"),
    gpu_counter: Callable[[str], tuple[str, Counter] | None] = open_gpu_counter,
) -> list[Source]:
    """Find what can be read here without counting anything twice.

    Args:
        device: What the model runs on, as `BackendChoice.device` names it; a GPU's energy is
            counted only if the model runs on it.
        root: Where sysfs is mounted.
        gpu_counter: Opens the energy counter of a GPU by its name.

    Returns:
        The sources; none where nothing can be read.
    """
    if (rails := board_rails(root)) is not None:
        return [SampledPower(*rails)]
    sources: list[Source] = []
    if counters := rapl_counters(root):
        names = ", ".join(counters)
        sources.append(Counters(f"RAPL ({names})", tuple(counters.values()), every_s=RAPL_EVERY_S))
    if device != CPU and (gpu := gpu_counter(device)) is not None:
        name, counter = gpu
        sources.append(Counters(f"NVML ({name})", (counter,), every_s=math.inf))
    return sources


class EnergyMeter:
    """Measures inside its `with` block; says nothing where nothing can be read."""

    def __init__(
        self, device: str = CPU, *, find: Callable[[str], Sequence[Source]] = find_sources
    ) -> None:
        """Measure nothing yet.

        Args:
            device: What the model runs on, as `BackendChoice.device` names it.
            find: Gives what can be read.
        """
        self._device = device
        self._find = find
        self._sources: list[Source] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._found: Energy | None = None

    @property
    def energy(self) -> Energy | None:
        """Energy so far, or of the whole block once it is left; None where nothing is measured."""
        if not self._done.is_set():
            self._look()
        return self._found

    def __enter__(self) -> "EnergyMeter":
        """Begin."""
        self._sources = list(self._find(self._device))
        self._began = time.perf_counter()
        self._look()
        every_s = min((source.every_s for source in self._sources), default=math.inf)
        if math.isfinite(every_s):
            self._thread = threading.Thread(
                target=self._sample, args=(every_s,), name="segx energy", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""
        self._look()
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        for source in self._sources:
            source.close()

    def _sample(self, every_s: float) -> None:
        while not self._done.wait(every_s):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for source in tuple(self._sources):
                try:
                    source.look()
                except OSError:  # half of a run is no figure
                    self._sources.remove(source)
                    source.close()
            self._found = self._sum()

    def _sum(self) -> Energy | None:
        # A counter that stands still, as on some virtual machines, measures nothing.
        parts = {source.name: source.joules for source in self._sources if source.joules > 0}
        if not parts:
            return None
        joules = sum(parts.values())
        passed = max(time.perf_counter() - self._began, 1e-9)
        return Energy(
            joules=joules,
            mean_watts=joules / passed,
            source=" + ".join(parts),
            joules_by_source=parts,
        )
