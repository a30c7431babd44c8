"""Measure a run, stage by stage, and write what was measured."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .energy import Energy
from .radiometry import DateOffset
from .selftest import SelfTest
from .stream.timing import Reason, StageTimes

if TYPE_CHECKING:
    from .aerial.reader import Damage


@dataclass
class Clock(StageTimes):
    """Adds up time by stage, from the moment it is made."""

    started: float = field(default_factory=time.perf_counter)

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
    """Runs of the model's satellite branch."""
    policy: str
    """What is done where no date is clear."""
    tiles_clear: int = 0
    """Tiles that saw clear dates."""
    tiles_covered: int = 0
    """Tiles that saw covered dates only."""
    tiles_aerial_only: int = 0
    """Tiles mapped without Sentinel-2."""
    date_gap_days: int | None = None
    """Days from the aerial image to the nearest date used; None where either is not known."""
    lattice_agreement: float | None = None
    """Share of equal pixels of maps with and without windows on a lattice; None without one."""
    offsets: dict[str, tuple[DateOffset, ...]] = field(default_factory=dict)
    """Radiometric offset of every date, and where it comes from, by series."""


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
class PlanSummary:
    """How the aerial images were cut into tiles; lengths in pixels."""

    tile_size: int
    halo: int
    halo_exact: bool
    """Whether the halo holds all that a pixel's class depends on."""
    stride: int
    """Step between neighbouring tiles."""
    lattice_px: int
    """Step that the places of all tiles are multiples of."""
    strips: int
    """Groups of tile columns, one processed after the other."""
    batch: int
    """Tiles per call of the model."""
    recompute: float
    """Pixels run over pixels mapped."""
    blend: bool
    """Whether neighbouring tiles are blended where they overlap, and not cropped."""
    tta: str = "none"
    """Symmetries that every tile was run in: none, flips or dihedral."""
    runs_per_tile: int = 1
    """How often the model ran for a tile; latencies are of all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """How far neighbouring tiles differ in what both of them see."""

    share: float | None
    """Share of the pixels compared that got another class, 0 to 1; None where none was."""
    pixels: int
    """Pixels compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Memory that was allowed and planned for, in MiB."""

    limit_mib: float | None
    """None where no limit was set."""
    planned_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was done to make the input fit the model; None where nothing had to be."""

    resampled: str | None = None
    bands: str | None = None
    elevation: str | None = None
    scaling: str | None = None
    crs: str | None = None
    satellite_bands: str | None = None
    substituted: str | None = None
    """What a conversion made up, by the tag of the aerial file."""


FIT_NAMES = tuple(item.name for item in fields(Fit))
"""Names of what may have been done; in tags of maps they are in capitals."""


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
    """Busy seconds by stage; stages work side by side."""
    tiles: int
    """Tiles run."""
    pixels: int
    """Pixels of the maps."""
    area_km2: float
    mpx_per_s: float
    """Pixels of the maps over the wall time; those of an earlier, interrupted run left out."""
    km2_per_h: float
    """Ground of the same pixels."""
    peak_rss_mib: float
    latency_ms: Latency
    """Per tile, all parts and all runs, without reading and writing."""
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
    waiting_s: dict[str, dict[Reason, float]] = field(default_factory=dict)
    """Seconds waited by stage, for input and for room; with the busy ones, the stage's life."""
    bound_by: str | None = None
    """The stage that bounds the run: the one that works longest and so waits least."""
    model_share: float | None = None
    """Share of the time after the cold start in which the model runs; None for a single call."""
    efficiency: float | None = None
    """Tiles per second after the cold start over those of the model alone; None if not measured."""
    energy: Energy | None = None
    """None where nothing can be read."""
    damaged: "tuple[Damage, ...]" = ()
    """Blocks of aerial files that could not be read; nodata in the maps."""
    seams: Seams | None = None
    """None where it was not measured."""
    plan: PlanSummary | None = None
    resumed: bool = False
    """Whether this went on with an earlier, interrupted run."""
    tiles_skipped: int = 0
    """Tiles without any aerial data, which are not run."""
    memory: MemoryUse | None = None
    fit: Fit | None = None
    vectorize_s: float | None = None
    """Seconds that polygons took after the maps, in no other figure; None where none were asked."""
    shard: str | None = None
    """Which share of a run this is, such as `2/8`; None for a whole one."""
    shards: int = 0
    """Shares of other processes that are counted in; times are those of all of them."""
    run: str = ""
    """Hash of all that the maps depend on."""

    @property
    def tiles_per_call(self) -> int:
        """Tiles that the model takes at once."""
        return 1 if self.plan is None else self.plan.batch

    @property
    def tiles_per_s(self) -> float | None:
        """Tiles per second after the first call of the model; None where that was all."""
        after = self.tiles - self.tiles_per_call
        return after / max(self.wall_s - self.cold_start_s, 1e-9) if after > 0 else None


def reset_peak_rss() -> bool:
    """Let the largest resident memory begin anew from what is held now.

    Returns:
        Whether the platform can; where it cannot, `peak_rss_mib` is that of the whole process.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, or since it was reset, in MiB."""
    if (found := _of_status("VmHWM")) is not None:
        return found / 2**20
    if sys.platform == "win32":
        return _working_set("peak") / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def rss_bytes() -> int:
    """Resident memory of this process now; the largest so far where a platform does not tell."""
    if (found := _of_status("VmRSS")) is not None:
        return found
    if sys.platform == "win32":
        return _working_set("now")
    return int(peak_rss_mib() * 2**20)


def _of_status(key: str) -> int | None:
    """Bytes that Linux gives for a key; None on other platforms."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None


def _working_set(which: str) -> int:
    """Working set on Windows (GetProcessMemoryInfo), in bytes: the peak or that of now."""
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
    return int(getattr(counters, which))
