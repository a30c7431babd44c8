"""`segx bench`: time bundles, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..options import BackendName

if TYPE_CHECKING:
    from runtime.bench import BenchResult


def bench(
    bundles: list[Path] | None = typer.Argument(
        None, metavar="[BUNDLE]...", help="Default: the newest verified one, else the packaged toy."
    ),
    backend: BackendName = typer.Option(BackendName.auto, help="Library that runs the bundles."),
    scene: Path | None = typer.Option(
        None, help="Scene for the end-to-end run. Default: a generated one."
    ),
    warmup: int = typer.Option(3, min=0, help="Runs of a tile that are not counted."),
    repeats: int = typer.Option(20, min=1, help="Runs of a tile that are counted."),
    threads: int | None = typer.Option(None, min=1, help="Threads. Default: the backend's."),
    json: Path | None = typer.Option(None, help="Also write the figures to this file."),
) -> None:
    """Time bundles per part, per tile and end to end; needs no data and no GPU.

    Example: segx bench bundles/a.segx bundles/b.segx --json bench.json
    """
    import tempfile

    from runtime.backends import choose_backend
    from runtime.bench import INSIDE, BenchPlan
    from runtime.bench import bench as measure
    from runtime.bundle import open_bundle

    from ..bundles import TOY, newest_bundle
    from ..console import chosen, done, progress, say, write_json
    from ..sample import write_scene

    paths = list(bundles or [])
    if not paths:
        newest = newest_bundle()
        paths = [newest or TOY]
        chosen("bundle", paths[0], "the newest verified one" if newest else "the packaged toy")
    choice = choose_backend(backend.value)
    chosen("backend", f"{choice.name} on {choice.device}", choice.reason)
    plan = BenchPlan(warmup=warmup, repeats=repeats, threads=threads)
    opened = [open_bundle(path) for path in paths]
    results = []
    with tempfile.TemporaryDirectory(prefix="segx-bench-") as folder:
        if scene is None:
            chosen("scene", "a generated one", "no --scene was given")
            scene = write_scene(Path(folder) / "scene", seed=1)
        for bundle in opened:
            with progress(bundle.manifest.name) as advance:
                results.append(measure(bundle, choice, plan, scene=scene, on_step=advance))
    _print(results)
    say(f"inside the timings: {INSIDE}")
    if json is not None:
        write_json(json, {"results": results})
        done(json, f"segx inspect {paths[0]}")
    else:
        say(f"next: segx inspect {paths[0]}")


def _print(results: "list[BenchResult]") -> None:
    from ..console import table

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
        title="one tile, all parts",
    )
    table(
        ["bundle", *dict.fromkeys(part for r in results for part in r.part_ms)],
        [
            [
                r.bundle,
                *(r.part_ms.get(p) for p in dict.fromkeys(q for s in results for q in s.part_ms)),
            ]
            for r in results
        ],
        title="parts, mean ms",
    )
    _print_end_to_end(results)


def _print_end_to_end(results: "list[BenchResult]") -> None:
    from ..console import table

    table(
        ["bundle", "wall s", "Mpx/s", "km2/h", "efficiency", "peak MiB", "mIoU %", "verified"],
        [
            [
                r.bundle,
                r.end_to_end.wall_s if r.end_to_end else None,
                r.end_to_end.mpx_per_s if r.end_to_end else None,
                r.end_to_end.km2_per_h if r.end_to_end else None,
                r.efficiency,
                r.peak_rss_mib,
                100 * r.accuracy.miou if r.accuracy else None,
                "yes" if r.verified else "no",
            ]
            for r in results
        ],
        title="end to end over the scene",
    )
