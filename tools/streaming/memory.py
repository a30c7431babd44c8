"""Peak memory of `segx infer` by side of the raster."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench_peers.contest import Rules, Turn

from .commands import MAPS, Infer, folder_of, run
from .report import Table
from .virtual import make_scene

HEAD = (
    "side px",
    "--max-memory",
    "tiles",
    "process s",
    "peak MiB",
    "planned MiB",
    "x smallest side",
    "bound by",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is mapped."""

    aerial: Path
    """The file that scenes are made of."""
    sides: tuple[int, ...]
    """Of the scenes, in pixels."""
    kind: str
    """How the scenes are stored: one of `virtual.KINDS`."""
    cut: int
    """Side of the files of a mosaic, in pixels."""
    limits: tuple[str | None, ...]
    """Values of --max-memory; None for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """One run."""

    side: int
    limit: str | None
    turn: Turn


def measure(
    plan: Plan, bundle: Path, rules: Rules, *, backend: str, extra: tuple[str, ...]
) -> Table:
    """Map scenes of several sides, each in a process of its own; maps are removed.

    Args:
        plan: The scenes, and how much memory may be used.
        bundle: What maps them: one that takes aerial imagery only.
        rules: Threads, time limit and folder.
        backend: That of the command line.
        extra: More words of the command line.

    Raises:
        SystemExit: If a run fails.
    """
    peaks = []
    for side in plan.sides:
        folder = rules.out / "scenes" / f"{plan.kind}-{side}"
        source = make_scene(folder, plan.aerial, side, kind=plan.kind, cut=plan.cut)
        for limit in plan.limits:
            allowed = () if limit is None else ("--max-memory", limit)
            infer = Infer(
                name=f"{plan.kind} {side} {limit or 'no limit'}",
                bundle=bundle,
                source=source,
                backend=backend,
                threads=rules.threads,
                extra=(*extra, *allowed),
            )
            peaks.append(Peak(side=side, limit=limit, turn=run(infer, rules)))
            shutil.rmtree(folder_of(infer, rules) / MAPS)
        shutil.rmtree(folder)
    return Table(
        title="Peak memory by side of the raster",
        settings={"plan": plan, "bundle": bundle, "rules": rules, "extra": extra},
        head=HEAD,
        rows=[_row(peak, ratio_of(peak, peaks)) for peak in peaks],
        details=peaks,
        notes=[
            "peak: largest resident memory of the process, counted by the kernel.",
            f"scenes: {plan.aerial.name} repeated, as {plan.kind}; {' '.join(extra)}".rstrip("; "),
        ],
    )


def ratio_of(peak: Peak, peaks: Sequence[Peak]) -> float:
    """How many times the memory of the smallest side with the same limit."""
    alike = [other for other in peaks if other.limit == peak.limit]
    least = min(alike, key=lambda other: other.side)
    return peak.turn.peak_rss_mib / least.turn.peak_rss_mib


def _row(peak: Peak, ratio: float) -> tuple[str, ...]:
    inside = peak.turn.inside
    assert inside is not None
    return (
        str(peak.side),
        peak.limit or "",
        str(inside.tiles),
        f"{peak.turn.process_s:.1f}",
        f"{peak.turn.peak_rss_mib:.0f}",
        f"{inside.says['memory']['planned_mib']:.0f}",
        f"{ratio:.3f}",
        str(inside.says["bound_by"]),
    )
