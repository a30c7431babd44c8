"""Tiles per second end to end over those of the model alone, on a scene and a large one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tools.bench_peers.contest import Rules, Turn

from .commands import Bench, run
from .large import make_large
from .report import Table

HEAD = (
    "bundle",
    "scene",
    "executed",
    "tiles",
    "model ms per tile",
    "end to end ms per tile",
    "efficiency min / median",
    "bound by",
    "peak MiB",
)


def measure(bundle: Path, scene: Path, rules: Rules, *, backend: str, large: int | None) -> Table:
    """Measure a bundle with `segx bench`, in a process for each scene.

    Args:
        bundle: What is measured.
        scene: Folder with `aerial.tif` and, if the bundle takes one, a series.
        rules: Rounds, threads, time limit and folder.
        backend: That of the command line.
        large: Side of a further scene made of this one, in pixels; None for no such.

    Raises:
        SystemExit: If a run fails, or a scene has a single tile.
    """
    turns: dict[str, Turn] = {}
    for name, path in _scenes(scene, large, rules.out):
        bench = Bench(
            name=f"{bundle.stem} {name}",
            bundle=bundle,
            scene=path,
            backend=backend,
            threads=rules.threads,
            rounds=rules.rounds,
        )
        turns[name] = turn = run(bench, rules)
        if turn.inside is None or turn.inside.says["efficiency"] is None:
            raise SystemExit(
                f"{path} is a single tile, which has no efficiency; choose a larger scene"
            )
    return Table(
        title="Efficiency: end to end over the model alone",
        settings={"bundle": bundle, "scene": scene, "large": large, "rules": rules},
        head=HEAD,
        rows=[_row(name, turn) for name, turn in turns.items()],
        details=[turns],
        notes=[
            f"{rules.rounds} rounds in turns, {rules.threads} cores and threads; model: all parts "
            "in a row on one tile in memory; end to end: after the first tile; both are medians.",
        ],
    )


def _scenes(scene: Path, large: int | None, out: Path) -> Iterator[tuple[str, Path]]:
    yield scene.name, scene
    if large is not None:
        name = f"{scene.name}-{large}"
        yield name, make_large(scene, large, out / "scenes" / name)


def _row(name: str, turn: Turn) -> tuple[str, ...]:
    assert turn.inside is not None
    found = turn.inside.says
    report: Mapping[str, Any] = found["end_to_end"]
    end_to_end = median(item["end_to_end_tiles_per_s"] for item in found["rounds"])
    return (
        found["bundle"],
        name,
        f"{found['backend']} {found['precision']}",
        str(report["tiles"]),
        f"{1e3 / found['tiles_per_s']:.2f}",
        f"{1e3 / end_to_end:.2f}",
        f"{found['efficiency_least']:.3f} / {found['efficiency']:.3f}",
        str(report["bound_by"]),
        f"{report['peak_rss_mib']:.0f}",
    )
