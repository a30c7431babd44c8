"""Count what a run of inference does, and sum it up."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

from .backends import BackendChoice
from .card import ModelCard
from .grid import Grid
from .report import BundleName, Clock, Drift, Report, SatelliteUse, latency, peak_rss_mib
from .satellite import SatelliteInput
from .scene import Scene


@dataclass
class Tally:
    """What has been done since it was made."""

    backend: BackendChoice
    clock: Clock = field(default_factory=Clock)
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
        return Report(
            segx_version=segx_version,
            bundle=BundleName(name=card.name, sha256=card.sha256),
            backend=self.backend.name,
            device=self.backend.device,
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
        )

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
