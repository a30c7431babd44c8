"""`segx bench`: time bundles, side by side."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import (
    BackendFlag,
    BackendName,
    CudaFlag,
    EnginesFlag,
    RebuildFlag,
    RunFlags,
    SkipSelfTestFlag,
    TrustFlag,
)

if TYPE_CHECKING:
    from runtime.bench import BenchPlan, BenchResult
    from runtime.bundle import Bundle
    from runtime.ladder import RunRequest

RoundsFlag = Annotated[
    int,
    typer.Option(
        "--rounds", min=1, help="Runs end to end, each beside the model alone; 5 for a figure."
    ),
]

Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads. Default: the backend's; all with --protocol."),
]


class ProtocolName(str, Enum):
    """Timing rules of challenges."""

    flair2 = "flair2"


ProtocolFlag = Annotated[
    ProtocolName | None,
    typer.Option(
        "--protocol",
        help="Time as a challenge does; flair2: every patch of --data from reading to the written "
        "prediction, over the time of U-T&T in PyTorch.",
    ),
]
DataFlag = Annotated[
    Path | None, typer.Option("--data", help="FLAIR #2 tree, for --protocol.", show_default=False)
]
ModelsFlag = Annotated[
    str | None,
    typer.Option(
        "--models",
        help="Presets (random weights, PyTorch), checkpoints and bundles that --protocol times "
        "beside the baseline. Default: the presets that the rule's paper times.",
    ),
]
PatchesFlag = Annotated[
    int | None, typer.Option("--patches", min=1, help="First patches of --data. Default: all.")
]

_OF_PROTOCOL = ("data", "models", "patches")
_NOT_OF_PROTOCOL = (
    *("bundles", "scene", "warmup", "repeats", "batch"),
    *("cuda", "rebuild", "engines", "trust_engines"),
)


def bench(
    ctx: typer.Context,
    bundles: list[Path] | None = typer.Argument(
        None, metavar="[BUNDLE]...", help="Default: the newest verified one, else the packaged toy."
    ),
    backend: BackendFlag = BackendName.auto,
    scene: Path | None = typer.Option(
        None, help="Scene for the end-to-end run. Default: a generated one."
    ),
    warmup: int = typer.Option(3, min=0, help="Runs of a tile that are not counted."),
    repeats: int = typer.Option(20, min=1, help="Runs of a tile that are counted."),
    rounds: RoundsFlag = 1,
    protocol: ProtocolFlag = None,
    data: DataFlag = None,
    models: ModelsFlag = None,
    patches: PatchesFlag = None,
    batch: int = typer.Option(
        1, min=1, help="Tiles per call; above 1 end to end only over a --scene that is named."
    ),
    threads: Threads = None,
    cuda: CudaFlag = None,
    rebuild: RebuildFlag = None,
    engines: EnginesFlag = None,
    trust_engines: TrustFlag = False,
    skip_self_test: SkipSelfTestFlag = False,
    json: Path | None = typer.Option(None, help="Also write the figures to this file."),
) -> None:
    """Time bundles per part, per tile and end to end; needs no data and no GPU.

    Example: segx bench bundles/a.segx bundles/b.segx --json bench.json

    With a rule: segx bench --protocol flair2 --data flair2/ --models lf-dlm,bundles/a.segx
    """
    _refuse_given(ctx, protocol)
    import tempfile

    from runtime.bench import INSIDE, BenchPlan
    from runtime.bundle import open_bundle

    from ..bundles import TOY, newest_bundle
    from ..console import chosen, done, say, write_json
    from ..sample import write_scene

    flags = RunFlags(
        backend=backend,
        threads=threads,
        cuda=cuda,
        rebuild=rebuild,
        engines=engines,
        trust_engines=trust_engines,
        skip_self_test=skip_self_test,
    )
    if protocol is not None:
        _compete(flags, data, models, patches, rounds, json)
        return
    request = flags.request(batch=batch)
    paths = list(bundles or [])
    if not paths:
        newest = newest_bundle()
        paths = [newest or TOY]
        chosen("bundle", paths[0], "the newest verified one" if newest else "the packaged toy")
    plan = BenchPlan(warmup=warmup, repeats=repeats, rounds=rounds)
    found = [open_bundle(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="segx-bench-") as folder:
        if scene is None and batch == 1:
            chosen("scene", "a generated one", "no --scene was given")
            scene = write_scene(Path(folder) / "scene", seed=1)
        results = [
            _measure(
                bundle,
                request,
                plan,
                scene=scene,
                name="backend" if len(found) == 1 else f"backend of {bundle.manifest.name}",
            )
            for bundle in found
        ]
    _print(results)
    say(f"inside the timings: {INSIDE}")
    if json is not None:
        write_json(json, {"results": results})
        done(json, f"segx inspect {paths[0]}")
    else:
        say(f"next: segx inspect {paths[0]}")


def _refuse_given(ctx: typer.Context, protocol: ProtocolName | None) -> None:
    """Refuse options that say nothing with the rule, or without it."""
    names = _OF_PROTOCOL if protocol is None else _NOT_OF_PROTOCOL
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            hint = "BUNDLE" if name == "bundles" else f"--{name.replace('_', '-')}"
            beside = "without --protocol" if protocol is None else "to --protocol"
            remedy = "use --models" if name == "bundles" else "leave it out"
            raise typer.BadParameter(f"says nothing {beside}; {remedy}", param_hint=hint)


def _compete(
    flags: RunFlags,
    data: Path | None,
    models: str | None,
    patches: int | None,
    rounds: int,
    json: Path | None,
) -> None:
    from ..protocol_flair2 import Rules
    from ..protocol_tables import compete_and_say
    from ..protocol_worker import Task

    if data is None:
        raise typer.BadParameter("name a FLAIR #2 tree", param_hint="--data")
    rules = Rules(data=data, patches=patches, rounds=rounds, threads=flags.threads)
    task = Task(backend=flags.backend.value, self_test=not flags.skip_self_test)
    compete_and_say(models, rules, task, json)


def _measure(
    bundle: "Bundle", request: "RunRequest", plan: "BenchPlan", *, scene: Path | None, name: str
) -> "BenchResult":
    from runtime.bench import bench as measure

    from ..console import progress
    from ..models import open_and_say

    opened = open_and_say(bundle, request, name=name)
    try:
        with progress(bundle.manifest.name) as advance:
            return measure(bundle, opened, plan, scene=scene, on_step=advance)
    finally:
        opened.model.close()


def _print(results: "list[BenchResult]") -> None:
    from ..console import chosen, table

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
    from ..console import table

    names = list(dict.fromkeys(name for _, means in rows for name in means))
    table(
        ["bundle", *names],
        [[bundle, *(means.get(name) for name in names)] for bundle, means in rows],
        title=title,
    )


def _print_end_to_end(results: "list[BenchResult]") -> None:
    from ..console import chosen, table

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
