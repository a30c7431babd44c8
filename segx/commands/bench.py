"""`segx bench`: time bundles, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import (
    BackendFlag,
    BackendName,
    CudaFlag,
    EnginesFlag,
    HtmlFlag,
    RebuildFlag,
    RunFlags,
    SkipSelfTestFlag,
    TrustFlag,
)

if TYPE_CHECKING:
    from runtime.bench import BenchPlan
    from runtime.bench_compare import Change

    from ..bench_jobs import Outputs

SLOWER_OR_WORSE = 3
"""Exit code of a bench whose comparison is out of bounds."""

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

BackendsFlag = Annotated[
    str | None,
    typer.Option(
        "--backends",
        help="Time on several libraries, such as openvino,onnxruntime; all: on each that can be "
        "used here.",
    ),
]
EvalFlag = Annotated[
    str | None,
    typer.Option(
        "--eval", help="Files of `segx eval --json` whose confusion matrices the page shows."
    ),
]
CardFlag = Annotated[
    Path | None,
    typer.Option(
        "--card", help="Also write a card of this machine, without names, users and paths."
    ),
]
CompareFlag = Annotated[
    Path | None,
    typer.Option(
        "--compare",
        help="A file of `segx bench --json` of this machine; exit code 3 if bundles are slower or "
        "less accurate.",
    ),
]
SlowdownFlag = Annotated[
    float,
    typer.Option("--max-slowdown", min=0.0, help="Per cent of time, in --compare, at most."),
]
LossFlag = Annotated[
    float,
    typer.Option(
        "--max-loss",
        min=0.0,
        help="Points of mIoU, and of agreement on the golden tile, in --compare, at most.",
    ),
]

_OF_PROTOCOL = ("data", "models", "patches")
_NOT_OF_PROTOCOL = (
    *("bundles", "scene", "warmup", "repeats", "batch", "backends"),
    *("cuda", "rebuild", "engines", "trust_engines"),
    *("html", "eval_", "card", "compare", "max_slowdown", "max_loss"),
)
_NEEDS = {"eval_": "html", "max_slowdown": "compare", "max_loss": "compare"}
"""Options that say nothing without another one."""


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
    backends: BackendsFlag = None,
    html: HtmlFlag = None,
    eval_: EvalFlag = None,
    card: CardFlag = None,
    compare: CompareFlag = None,
    max_slowdown: SlowdownFlag = 10.0,
    max_loss: LossFlag = 0.5,
    json: Path | None = typer.Option(None, help="Also write the figures to this file."),
) -> None:
    """Time bundles per part, per tile and end to end; needs no data and no GPU.

    Example: segx bench bundles/a.segx bundles/b.segx --html bench.html --json bench.json

    In a pipeline: segx bench bundles/a.segx --rounds 5 --compare bench.json

    With a rule: segx bench --protocol flair2 --data flair2/ --models lf-dlm,bundles/a.segx
    """
    _refuse_given(ctx, protocol)
    from runtime.bench import BenchPlan

    from ..bench_jobs import Outputs

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
    flags.request(batch=batch)  # wrong use is told before anything is opened
    asked = _Asked(
        bundles=tuple(bundles or ()),
        flags=flags,
        backends=backends,
        plan=BenchPlan(warmup=warmup, repeats=repeats, rounds=rounds),
        batch=batch,
        scene=scene,
        compare=compare,
        max_slowdown=max_slowdown,
        max_loss=max_loss,
        evals=eval_ or "",
    )
    if not _bench(asked, Outputs(json=json, html=html, card=card)):
        raise typer.Exit(SLOWER_OR_WORSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is to be timed, and how."""

    bundles: tuple[Path, ...]
    flags: RunFlags
    backends: str | None
    plan: "BenchPlan"
    batch: int
    scene: Path | None
    compare: Path | None
    max_slowdown: float
    max_loss: float
    evals: str


def _bench(asked: _Asked, outputs: "Outputs") -> bool:
    """Time bundles; give whether they keep to the bounds of a comparison."""
    import tempfile

    from runtime.bench import INSIDE
    from runtime.bench_compare import Bounds, Settings, compare
    from runtime.machine import look_at_machine

    from .. import bench_jobs as jobs
    from ..bench_tables import print_changes, print_results
    from ..console import say

    bundles = jobs.choose_bundles(asked.bundles)
    ways = jobs.choose_backends(asked.flags, asked.backends)
    with tempfile.TemporaryDirectory(prefix="segx-bench-") as folder:
        work = Path(folder)
        scene, called = jobs.choose_scene(asked.scene, asked.batch, work)
        bench = jobs.Bench(
            bundles=bundles,
            backends=ways,
            plan=asked.plan,
            batch=asked.batch,
            scene=scene,
            settings=Settings(threads=asked.flags.threads, batch=asked.batch, scene=called),
            machine=look_at_machine(),
            pictures=outputs.html is not None,
        )
        old = jobs.read_old(asked.compare, bench)
        evals = jobs.read_evals(asked.evals)
        measured = jobs.run_bench(bench, work)
        results = [result for _, result in measured.results]
        print_results(results)
        say(f"inside the timings: {INSIDE}")
        changes: Sequence[Change] = ()
        if old is not None and asked.compare is not None:
            bounds = Bounds(slowdown=asked.max_slowdown, loss=asked.max_loss)
            changes = compare(old, results, bounds, asked.compare)
            print_changes(changes)
        jobs.write_outputs(outputs, bench, measured, changes, evals)
    return all(change.passed for change in changes)


def _refuse_given(ctx: typer.Context, protocol: ProtocolName | None) -> None:
    """Refuse options that say nothing with the rule, without it, or without another option."""
    beside = "without --protocol" if protocol is None else "to --protocol"
    for name in _OF_PROTOCOL if protocol is None else _NOT_OF_PROTOCOL:
        if _is_given(ctx, name):
            hint = "BUNDLE" if name == "bundles" else f"--{name.strip('_').replace('_', '-')}"
            remedy = "use --models" if name == "bundles" else "leave it out"
            raise typer.BadParameter(f"says nothing {beside}; {remedy}", param_hint=hint)
    for name, needed in _NEEDS.items():
        if _is_given(ctx, name) and not _is_given(ctx, needed):
            hint = f"--{name.strip('_').replace('_', '-')}"
            raise typer.BadParameter(f"says nothing without --{needed}", param_hint=hint)
    if _is_given(ctx, "backends") and _is_given(ctx, "backend"):
        raise typer.BadParameter("names them all; leave --backend out", param_hint="--backends")


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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
