"""Show what a bench measured, and how it compares with an earlier one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .console import chosen, table

if TYPE_CHECKING:
    from runtime.bench import BenchResult
    from runtime.bench_compare import Change


def print_results(results: "Sequence[BenchResult]") -> None:
    """Show latency, parts and runs end to end."""
    table(
        ["bundle", "executed", "MiB", "load s", "p50 ms", "p95 ms", "tiles/s", "Mpx/s"],
        [
            [
                r.bundle,
                f"{r.backend} {r.precision}",
                r.size_mib,
                r.load_s,
                r.latency_ms.p50,
                r.latency_ms.p95,
                r.tiles_per_s,
                r.mpx_per_s,
            ]
            for r in results
        ],
        title="one tile, all parts" if results[0].batch == 1 else "one call, all parts",
    )
    if results[0].batch > 1:
        chosen("tiles per call", results[0].batch)
    _print_means("parts, mean ms", [(r.bundle, r.part_ms) for r in results])
    if any(r.device_ms for r in results):
        _print_means("on the GPU, mean ms", [(r.bundle, r.device_ms or {}) for r in results])
    _print_end_to_end(results)


def _print_means(title: str, rows: list[tuple[str, dict[str, float]]]) -> None:
    names = list(dict.fromkeys(name for _, means in rows for name in means))
    table(
        ["bundle", *names],
        [[bundle, *(means.get(name) for name in names)] for bundle, means in rows],
        title=title,
    )


def _print_end_to_end(results: "Sequence[BenchResult]") -> None:
    head = ["wall s", "Mpx/s", "km2/h", "efficiency", "least", "model %", "peak MiB", "mIoU %"]
    table(
        ["bundle", *head, "verified"],
        [
            [
                r.bundle,
                *_end_to_end_cells(r),
                100 * r.accuracy.miou if r.accuracy else None,
                "yes" if r.verified else "no",
            ]
            for r in results
        ],
        title="end to end over the scene",
    )
    if any(len(r.rounds) > 1 for r in results):
        chosen("rounds", len(results[0].rounds), "tiles/s and efficiency: median")
    for r in results:
        if r.end_to_end is not None and r.end_to_end.energy is not None:
            energy = r.end_to_end.energy
            used = f"{energy.joules:.1f} J, {energy.mean_watts:.1f} W"
            chosen(f"energy of {r.bundle}", used, energy.source)


def _end_to_end_cells(result: "BenchResult") -> list[object]:
    run = result.end_to_end
    if run is None:
        return [None, None, None, None, None, None, result.peak_rss_mib]
    return [
        run.wall_s,
        run.mpx_per_s,
        run.km2_per_h,
        result.efficiency,
        result.efficiency_least,
        None if run.model_share is None else 100 * run.model_share,
        run.peak_rss_mib,
    ]


def print_changes(changes: "Sequence[Change]") -> None:
    """Show every figure before and now, and what had no figure before."""
    table(
        ["bundle", "backend", "figure", "before", "now", "worse by", "at most", "passed"],
        [
            [
                change.bundle,
                change.backend,
                f"{change.figure}, {change.unit}",
                f"{change.before:.2f}",
                f"{change.now:.2f}",
                f"{change.worse:+.2f} {_unit(change)}",
                f"{change.bound:g} {_unit(change)}",
                "yes" if change.passed else "no",
            ]
            for change in changes
        ],
        title="against the earlier bench",
    )
    judged = {change.bundle for change in changes if change.figure == "mIoU"}
    for name in dict.fromkeys(change.bundle for change in changes):
        if name not in judged:
            chosen(f"mIoU of {name}", "not compared", "not measured on the same patches")


def _unit(change: "Change") -> str:
    return "points" if change.in_points else "%"
