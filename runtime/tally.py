"""Count what a run of inference does, and sum it up."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

from .backends import BackendChoice
from .card import ModelCard
from .energy import EnergyMeter
from .grid import Grid
from .model import OpenModel
from .radiometry import DateOffset
from .report import (
    BundleName,
    Clock,
    Drift,
    Fit,
    MemoryUse,
    PlanSummary,
    Report,
    SatelliteUse,
    Seams,
    latency,
    peak_rss_mib,
)
from .satellite import SatelliteInput
from .satellite_policy import TileState, state_of
from .scene import SatelliteSource
from .selftest import SelfTest

if TYPE_CHECKING:
    from .aerial.reader import Damage
    from .ladder import Opened


class Observed(Protocol):
    """What is mapped, such as a scene or a mosaic."""

    @property
    def satellite(self) -> SatelliteSource | None:
        """Its series."""


@dataclass
class Tally:
    """What has been done since it was made."""

    backend: BackendChoice | None
    """None for a checkpoint, which PyTorch runs."""
    clock: Clock = field(default_factory=Clock)
    """Made when the run began, so that opening the bundle counts towards the cold start."""
    self_test: SelfTest | None = None
    timed: OpenModel | None = None
    """The model whose work on a GPU is timed."""
    tile_seconds: list[float] = field(default_factory=list)
    empty_tiles: int = 0
    """Tiles without aerial data, which are not run."""
    cold_start_s: float = 0.0
    pixels: int = 0
    area_km2: float = 0.0
    runs_per_tile: int = 1
    """How often the model runs for a tile; more than once with test-time augmentation."""
    encoder_runs: int = 0
    outputs: list[str] = field(default_factory=list)
    tiles_outside: int = 0
    """Tiles outside the ranges of calibration."""
    meter: EnergyMeter | None = None
    """Measures the energy of the run; asked when it is summed up."""
    policy: str = "refuse a tile without a usable date"
    """What is done where no date is clear."""
    satellite_tiles: Counter[TileState] = field(default_factory=Counter)
    """Tiles by what they saw of Sentinel-2; `aerial_only` those of a model without that branch."""
    date_gap_days: int | None = None
    lattice_agreement: float | None = None
    pixels_before: int = 0
    """Pixels of the maps that an earlier, interrupted run has written."""
    resumed: bool = False
    damaged: "list[Damage]" = field(default_factory=list)
    seams: Seams | None = None
    plan: PlanSummary | None = None
    memory: MemoryUse | None = None
    fit: Fit | None = None
    shard: str | None = None
    """Which share of a run this is, such as `2/8`; None for a whole one."""
    shards: int = 0
    """Shares of other processes that are counted in."""
    run: str = ""
    """Hash of all that the maps depend on."""
    _outside: Counter[str] = field(default_factory=Counter)
    _dates_used: set[tuple[str, date]] = field(default_factory=set)
    _dates_total: dict[str, int] = field(default_factory=dict)
    _offsets: dict[str, tuple[DateOffset, ...]] = field(default_factory=dict)
    _device_before: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, opened: "Opened", clock: Clock | None = None) -> "Tally":
        """Count what a run of an opened bundle does, from the moment that the clock was made."""
        choice, test = opened.choice, opened.self_test
        return cls(choice, clock or Clock(), self_test=test, timed=opened.model)

    def __post_init__(self) -> None:
        """Leave out what the device has done before, such as the self-test."""
        if self.timed is not None:
            self._device_before = dict(self.timed.stage_ms)

    @property
    def tiles(self) -> int:
        """Tiles run."""
        return len(self.tile_seconds)

    @property
    def backend_name(self) -> str:
        """What runs the model."""
        return "pytorch" if self.backend is None else self.backend.name

    def dates_used(self, series: str) -> set[date]:
        """Dates of a series that at least one tile has used."""
        return {day for name, day in self._dates_used if name == series}

    def add_tile(
        self,
        scene: Observed,
        satellite: SatelliteInput | None,
        outside: tuple[str, ...] = (),
        *,
        seconds: float,
    ) -> None:
        """Count a tile whose result has just come; always called by one and the same thread.

        Args:
            scene: What the tile is a part of.
            satellite: Its satellite input; None without one.
            outside: Bands in which it is unlike calibration.
            seconds: What the model took for it, its share of a batch.
        """
        self.tile_seconds.append(seconds)
        self.cold_start_s = self.cold_start_s or self.clock.wall_s
        self.tiles_outside += bool(outside)
        self._outside.update(outside)
        self.satellite_tiles[state_of(satellite)] += 1
        if satellite is not None and scene.satellite is not None:
            self.encoder_runs += self.runs_per_tile
            series = scene.satellite.name
            self._dates_total.setdefault(series, scene.satellite.dates)
            self._offsets.setdefault(series, scene.satellite.radiometry)
            self._dates_used.update((series, day) for day in satellite.dates_used)

    def add_dates(self, used: Iterable[tuple[str, date]]) -> None:
        """Count dates that this run has used before it was interrupted, by series."""
        self._dates_used.update(used)

    def add_scene(self, grid: Grid, outputs: list[str]) -> None:
        """Count a scene whose maps are complete."""
        self.pixels += grid.shape[0] * grid.shape[1]
        self.area_km2 += grid.area_km2
        self.outputs += outputs

    def as_note(self) -> dict[str, Any]:
        """All of it that another process needs to count this share in; see `absorb`."""
        return {
            "began": time.time() - self.clock.wall_s,
            "stages_s": dict(self.clock.stages_s),
            "waiting_s": {name: dict(waited) for name, waited in self.clock.waiting_s.items()},
            "tile_seconds": [round(seconds, 6) for seconds in self.tile_seconds],
            "empty_tiles": self.empty_tiles,
            "cold_start_s": self.cold_start_s,
            "pixels": self.pixels - self.pixels_before,
            "encoder_runs": self.encoder_runs,
            "outside": [self.tiles_outside, dict(self._outside)],
            "satellite_tiles": dict(self.satellite_tiles),
            "lattice_agreement": self.lattice_agreement,
            "resumed": self.resumed,
            "series": {
                name: [
                    total,
                    [[item.day.isoformat(), item.dn, item.origin] for item in self._offsets[name]],
                ]
                for name, total in self._dates_total.items()
            },
        }

    def absorb(self, note: Mapping[str, Any]) -> None:
        """Count in what another process did of the same run, whose maps are taken over.

        What says something of one process only is left out of the report then.
        """
        self.shards += 1
        self.meter = self.timed = None
        began = time.perf_counter() - (time.time() - note["began"])
        self.clock.started = min(self.clock.started, began)
        for stage, seconds in note["stages_s"].items():
            self.clock.add_busy(stage, seconds)
        for stage, waited in note["waiting_s"].items():
            for reason, seconds in waited.items():
                self.clock.add_waiting(stage, reason, seconds)
        if note["lattice_agreement"] is not None:
            before, added = self.tiles, len(note["tile_seconds"])
            known = (self.lattice_agreement or 0.0) * before
            self.lattice_agreement = (known + note["lattice_agreement"] * added) / (before + added)
        self.tile_seconds += note["tile_seconds"]
        self.empty_tiles += note["empty_tiles"]
        self.cold_start_s = max(self.cold_start_s, note["cold_start_s"])
        self.pixels_before -= note["pixels"]
        self.encoder_runs += note["encoder_runs"]
        self.tiles_outside += note["outside"][0]
        self._outside.update(note["outside"][1])
        self.satellite_tiles.update(note["satellite_tiles"])
        self.resumed = self.resumed or note["resumed"]
        for name, (total, offsets) in note["series"].items():
            self._dates_total[name] = total
            self._offsets[name] = tuple(
                DateOffset(day=date.fromisoformat(day), dn=dn, origin=origin)
                for day, dn, origin in offsets
            )

    def report(self, card: ModelCard, precision: str, segx_version: str) -> Report:
        """Sum up."""
        wall = self.clock.wall_s
        ran = self.backend
        now = max(self.pixels - self.pixels_before, 0) / max(self.pixels, 1)
        return Report(
            segx_version=segx_version,
            bundle=BundleName(name=card.name, sha256=card.sha256),
            backend=self.backend_name,
            device="chosen by PyTorch" if ran is None else ran.device,
            precision=precision,
            wall_s=wall,
            cold_start_s=self.cold_start_s,
            stages_s=dict(self.clock.stages_s),
            tiles=self.tiles,
            pixels=self.pixels,
            area_km2=self.area_km2,
            mpx_per_s=now * self.pixels / wall / 1e6,
            km2_per_h=now * self.area_km2 / wall * 3600,
            peak_rss_mib=peak_rss_mib(),
            latency_ms=latency(self.tile_seconds),
            satellite=None if card.satellite is None else self._satellite(),
            outputs=tuple(self.outputs),
            drift=None if card.input_ranges is None else self._drift(),
            passed_over={} if ran is None else reasons_by_name(ran),
            self_test=self.self_test,
            device_ms=self._device_ms(),
            waiting_s={stage: dict(waited) for stage, waited in self.clock.waiting_s.items()},
            bound_by=self.clock.bound_by,
            model_share=self._model_share(wall),
            energy=None if self.meter is None else self.meter.energy,
            damaged=tuple(self.damaged),
            seams=self.seams,
            plan=self.plan,
            resumed=self.resumed,
            tiles_skipped=self.empty_tiles,
            memory=self.memory,
            fit=self.fit,
            shard=self.shard,
            shards=self.shards,
            run=self.run,
        )

    def _model_share(self, wall: float) -> float | None:
        """Busy time of the model over wall time, both after the first call."""
        first = 1 if self.plan is None else self.plan.batch
        if self.tiles <= first or self.shards:
            return None
        busy = self.clock.stages_s.get("infer", 0.0) - sum(self.tile_seconds[:first])
        return busy / max(wall - self.cold_start_s, 1e-9)

    def _device_ms(self) -> dict[str, float] | None:
        if self.timed is None:
            return None
        return mean_added(self._device_before, self.timed.stage_ms, self.tiles)

    def _drift(self) -> Drift:
        return Drift(
            tiles_outside=self.tiles_outside,
            share=self.tiles_outside / max(self.tiles, 1),
            bands=dict(self._outside.most_common()),
        )

    def _satellite(self) -> SatelliteUse:
        return SatelliteUse(
            dates_total=sum(self._dates_total.values()),
            dates_used=len(self._dates_used),
            encoder_runs=self.encoder_runs,
            policy=self.policy,
            tiles_clear=self.satellite_tiles["clear"],
            tiles_covered=self.satellite_tiles["covered"],
            tiles_aerial_only=self.satellite_tiles["aerial_only"],
            date_gap_days=self.date_gap_days,
            lattice_agreement=self.lattice_agreement,
            offsets=dict(self._offsets),
        )


def reasons_by_name(choice: BackendChoice) -> dict[str, str]:
    """Why each backend that would have been preferred was not taken."""
    return {item.name: item.reason for item in choice.passed_over}


def mean_added(
    before: Mapping[str, float], after: Mapping[str, float], runs: int
) -> dict[str, float] | None:
    """Divide what was added to each stage by the number of runs; None where there are no stages."""
    if not after:
        return None
    return {name: (total - before.get(name, 0.0)) / max(runs, 1) for name, total in after.items()}
