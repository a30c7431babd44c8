"""A card of one machine: what it is, and what bundles did on it, without a word on whose it is.

Bundles are named by their configuration and hash. Nothing of the input is on a card.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from .bench import BenchResult
from .bundle import Bundle
from .machine import Machine
from .manifest import Precision
from .report import Report

CARD_VERSION = 1
SHEET_PX = 25_000
"""Side of the sheet that times and energies are given for, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetCost:
    """What a sheet of 25 000 px a side would take, worked out from a run over less."""

    minutes: float
    """The cold start included."""
    joules: float | None
    """None where the machine's energy cannot be read."""
    energy_source: str | None
    """What was measured, and by which interface."""
    measured_px: int
    """Pixels of the run that it is worked out from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRun:
    """What one bundle did with one backend."""

    config: str
    """Configuration of the model."""
    sha256: str
    """Of the bundle's manifest."""
    precision: Precision
    """That the bundle is named after."""
    backend: str
    device: str
    executed: str
    """Precision that was found to be computed in."""
    batch: int
    verified: bool
    golden_agreement: float
    """Parity: share of the golden tile's pixels whose class is the expected one."""
    miou: float | None
    """As measured at export, 0 to 1."""
    size_mib: float
    latency_p50_ms: float
    """One call, all parts."""
    latency_p95_ms: float
    part_ms: dict[str, float]
    tiles_per_s: float
    """Of the model alone."""
    cold_start_s: float
    """Opening the bundle, engines that had to be built included, and its first tile."""
    mpx_per_s: float | None
    """End to end; None without such a run."""
    km2_per_h: float | None
    peak_rss_mib: float
    sheet: SheetCost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCard:
    """What was measured on one machine."""

    card_version: int
    made: str
    """Day, UTC."""
    segx_version: str
    machine: Machine
    runs: tuple[CardRun, ...]


def make_card(
    machine: Machine, runs: Sequence[tuple[Bundle, BenchResult]], *, segx_version: str
) -> MachineCard:
    """Make the card of a bench.

    Args:
        machine: What it ran on.
        runs: What was timed, with what came out.
        segx_version: What timed it.
    """
    return MachineCard(
        card_version=CARD_VERSION,
        made=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        segx_version=segx_version,
        machine=machine,
        runs=tuple(_run(bundle, result) for bundle, result in runs),
    )


def _run(bundle: Bundle, result: BenchResult) -> CardRun:
    manifest, whole = bundle.manifest, result.end_to_end
    start = result.load_s + result.first_tile_s
    return CardRun(
        config=manifest.model.config,
        sha256=bundle.sha256,
        precision=manifest.precision,
        backend=result.backend,
        device=result.device,
        executed=result.precision,
        batch=result.batch,
        verified=result.verified,
        golden_agreement=result.golden_agreement,
        miou=None if result.accuracy is None else result.accuracy.miou,
        size_mib=result.size_mib,
        latency_p50_ms=result.latency_ms.p50,
        latency_p95_ms=result.latency_ms.p95,
        part_ms=result.part_ms,
        tiles_per_s=result.tiles_per_s,
        cold_start_s=start,
        mpx_per_s=None if whole is None else whole.mpx_per_s,
        km2_per_h=None if whole is None else whole.km2_per_h,
        peak_rss_mib=result.peak_rss_mib,
        sheet=None if whole is None else sheet_cost(whole, start_s=start),
    )


def sheet_cost(run: Report, *, start_s: float) -> SheetCost:
    """Work out what a whole sheet would take at the pace of a run.

    Args:
        run: A run over less.
        start_s: Seconds until the model is ready, counted once.
    """
    times = SHEET_PX**2 / max(run.pixels, 1)
    return SheetCost(
        minutes=(start_s + times * run.wall_s) / 60,
        joules=None if run.energy is None else times * run.energy.joules,
        energy_source=None if run.energy is None else run.energy.source,
        measured_px=run.pixels,
    )
