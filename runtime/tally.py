"""Count what a run of inference does, and sum it up."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from .backends import BackendChoice
from .card import ModelCard
from .grid import Grid
from .model import OpenModel
from .report import BundleName, Clock, Drift, Report, SatelliteUse, latency, peak_rss_mib
from .satellite import SatelliteInput
from .scene import Scene
from .selftest import SelfTest


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
    encoder_runs: int = 0
    outputs: list[str] = field(default_factory=list)
    tiles_outside: int = 0
    """Tiles outside the ranges of calibration."""
    _outside: Counter[str] = field(default_factory=Counter)
    _infer_s: float = 0.0
    _dates_used: set[tuple[str, date]] = field(default_factory=set)
    _dates_total: dict[str, int] = field(default_factory=dict)
    _device_before: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Leave out what the device has done before, such as the self-test."""
        if self.timed is not None:
            self._device_before = dict(self.timed.stage_ms)

    @property
    def tiles(self) -> int:
        """Tiles run."""
        return len(self.tile_seconds)

    def add_tile(
        self, scene: Scene, satellite: SatelliteInput | None, outside: tuple[str, ...] = ()
    ) -> None:
        """Count a tile that has just been run, and the bands in which it is unlike calibration."""
        infer_s = self.clock.stages_s["infer"]
        self.tile_seconds.append(infer_s - self._infer_s)
        self._infer_s = infer_s
        self.cold_start_s = self.cold_start_s or self.clock.wall_s
        self.tiles_outside += bool(outside)
        self._outside.update(outside)
        if satellite is not None and scene.satellite is not None:
            self.encoder_runs += 1
            series = scene.satellite.name
            self._dates_total.setdefault(series, scene.satellite.dates)
            self._dates_used.update((series, day) for day in satellite.dates_used)

    def add_scene(self, grid: Grid, outputs: list[str]) -> None:
        """Count a scene whose maps are complete."""
        self.pixels += grid.shape[0] * grid.shape[1]
        self.area_km2 += grid.area_km2
        self.outputs += outputs

    def report(self, card: ModelCard, precision: str, segx_version: str) -> Report:
        """Sum up."""
        wall = self.clock.wall_s
        ran = self.backend
        return Report(
            segx_version=segx_version,
            bundle=BundleName(name=card.name, sha256=card.sha256),
            backend="pytorch" if ran is None else ran.name,
            device="chosen by PyTorch" if ran is None else ran.device,
            precision=precision,
            wall_s=wall,
            cold_start_s=self.cold_start_s,
            stages_s=dict(self.clock.stages_s),
            tiles=self.tiles,
            pixels=self.pixels,
            area_km2=self.area_km2,
            mpx_per_s=self.pixels / wall / 1e6,
            km2_per_h=self.area_km2 / wall * 3600,
            peak_rss_mib=peak_rss_mib(),
            latency_ms=latency(self.tile_seconds),
            satellite=self._satellite(),
            outputs=tuple(self.outputs),
            drift=None if card.input_ranges is None else self._drift(),
            passed_over={} if ran is None else reasons_by_name(ran),
            self_test=self.self_test,
            device_ms=self._device_ms(),
        )

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

    def _satellite(self) -> SatelliteUse | None:
        if not self.encoder_runs:
            return None
        return SatelliteUse(
            dates_total=sum(self._dates_total.values()),
            dates_used=len(self._dates_used),
            encoder_runs=self.encoder_runs,
            policy="refuse a tile without a usable date",
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
