"""A model of both inputs: `segx infer` with its bundles beside the checkpoint in PyTorch."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.bundle import open_bundle

from .contest import Contender, Rules, Segx, Worker, play
from .ratios import Group
from .report import Contest
from .single import say

WAYS = ("eager", "compile-fp32", "compile-bf16")
"""Those of `torch_loop`."""

NOTES = (
    "PyTorch runs the same tiles with what segx makes of the Sentinel-2 series, and writes one "
    "GeoTIFF; it computes no confidence and checks nothing. Its opening is loading, compiling and "
    "one tile to warm up; that of segx ends with the first tile.",
    "compile: torch.compile with channels_last; bf16: under BF16 autocast, which is slow on "
    "processors without BF16 units.",
    "The ratio to quote for a bundle is the smallest among the ways of PyTorch.",
)


def contenders(
    checkpoint: Path,
    bundles: Mapping[str, Path],
    scene: Path,
    *,
    backends: Sequence[str],
    ways: Sequence[str],
    threads: int,
) -> list[Contender]:
    """Name everyone who takes part: segx with each bundle and backend, PyTorch in each way."""
    runs = [(name, backend) for name in bundles for backend in backends]
    found: list[Contender] = [
        Segx(
            name=segx_name(name, backend),
            bundle=bundles[name],
            source=scene,
            backend=backend,
            threads=threads,
            toy=open_bundle(bundles[name]).manifest.model.toy,
        )
        for name, backend in runs
    ]
    common = {
        "checkpoint": str(checkpoint),
        "scene": str(scene),
        "threads": threads,
        "halo": common_halo(bundles),
    }
    script = (sys.executable, "-m", f"{__package__}.torch_worker")
    found += [
        Worker(name=torch_name(way), script=script, task={**common, "way": way}) for way in ways
    ]
    return found


def segx_name(bundle: str, backend: str) -> str:
    """Name of a run of segx in the tables."""
    return f"segx, {bundle}, {backend}"


def torch_name(way: str) -> str:
    """Name of a run of PyTorch in the tables."""
    return f"PyTorch, {way}"


def common_halo(bundles: Mapping[str, Path]) -> int:
    """Halo of all bundles, with which PyTorch steps too.

    Raises:
        SystemExit: If they differ.
    """
    found = {name: open_bundle(path).manifest.aerial.halo for name, path in bundles.items()}
    if len(set(found.values())) != 1:
        raise SystemExit(f"bundles of one halo are needed for equal work; found {found}")
    return next(iter(found.values()))


def compete(
    checkpoint: Path,
    bundles: Mapping[str, Path],
    scene: Path,
    *,
    backends: Sequence[str],
    ways: Sequence[str],
    rules: Rules,
) -> Contest:
    """Run everyone in turns; each run of segx is compared with every way of PyTorch."""
    taking_part = contenders(
        checkpoint, bundles, scene, backends=backends, ways=ways, threads=rules.threads
    )
    contest = Contest(
        title="Both inputs: segx and PyTorch",
        rules=rules,
        settings={"checkpoint": checkpoint, "bundles": dict(bundles), "scene": scene},
        groups=tuple(
            Group(title=name, segx=name, others=tuple(map(torch_name, ways)))
            for name in (segx_name(name, backend) for name in bundles for backend in backends)
        ),
        notes=NOTES,
    )
    contest.turns.extend(play(taking_part, rules, on_turn=say))
    return contest
