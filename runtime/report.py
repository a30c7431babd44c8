"""Measure a run, stage by stage, and write what was measured."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .selftest import SelfTest


@dataclass
class Clock:
    """Adds up busy time by stage, from the moment it is made."""

    started: float = field(default_factory=time.perf_counter)
    stages_s: dict[str, float] = field(default_factory=dict)
    """Busy seconds by stage."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time inside the `with` block towards a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - begin
            self.stages_s[stage] = self.stages_s.get(stage, 0.0) + passed

    @property
    def wall_s(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self.started


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Distribution of a duration, in milliseconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


def latency(seconds: Sequence[float]) -> Latency:
    """Summarise durations given in seconds; NaN where there is none."""
    if not seconds:
        return Latency(mean=math.nan, p50=math.nan, p90=math.nan, p95=math.nan, p99=math.nan)
    values = np.asarray(seconds, dtype=np.float64) * 1e3
    p50, p90, p95, p99 = (float(v) for v in np.percentile(values, [50, 90, 95, 99]))
    return Latency(mean=float(values.mean()), p50=p50, p90=p90, p95=p95, p99=p99)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleName:
    """Which bundle ran."""

    name: str
    sha256: str
    """Of the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteUse:
    """What became of the Sentinel-2 dates."""

    dates_total: int
    """Dates found, over all series."""
    dates_used: int
    """Dates that at least one tile used."""
    encoder_runs: int
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How many tiles look like none that the model was calibrated on."""

    tiles_outside: int
    """Tiles whose mean lies outside the calibrated range in at least one band."""
    share: float
    """Of the tiles run, 0 to 1."""
    bands: dict[str, int]
    """Tiles outside by band, most first; bands without any are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run of `segx infer` did; numbers are seconds, MiB and the units in the names."""

    segx_version: str
    bundle: BundleName
    backend: str
    device: str
    precision: str
    """What was executed, which may not be what the bundle is named after."""
    wall_s: float
    cold_start_s: float
    """From the start of the run to the first tile's result."""
    stages_s: dict[str, float]
    tiles: int
    pixels: int
    """Pixels of the maps."""
    area_km2: float
    mpx_per_s: float
    km2_per_h: float
    peak_rss_mib: float
    latency_ms: Latency
    """Per tile, all parts, without reading and writing."""
    satellite: SatelliteUse | None
    outputs: tuple[str, ...]
    drift: Drift | None = None
    """None for a model that knows no ranges."""
    passed_over: dict[str, str] = field(default_factory=dict)
    """Why each backend that would have been preferred was not taken, by its name."""
    self_test: SelfTest | None = None
    """What the golden tile gave when the bundle was opened; None for a checkpoint."""
    device_ms: dict[str, float] | None = None
    """Mean milliseconds per tile on the GPU: upload, each part, download; None on a CPU."""


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        return _peak_working_set_mib()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _peak_working_set_mib() -> float:
    """Peak working set on Windows (GetProcessMemoryInfo)."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = [("size", ctypes.c_uint32), ("faults", ctypes.c_uint32)] + [
            (name, ctypes.c_size_t) for name in ("peak", "now", "a", "b", "c", "d", "e", "f")
        ]

    counters = Counters()
    windows: Any = vars(ctypes)["windll"]
    windows.psapi.GetProcessMemoryInfo(
        windows.kernel32.GetCurrentProcess(), ctypes.byref(counters), ctypes.sizeof(counters)
    )
    return float(counters.peak) / 2**20
