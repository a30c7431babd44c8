"""What `segx bench` does beside printing: time everything, compare, write page and card."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from . import __version__
from .bundles import TOY, newest_bundle
from .console import chosen, done, progress, say, write_json
from .models import open_and_say
from .options import BackendName, RunFlags

if TYPE_CHECKING:
    from runtime.bench import BenchPlan, BenchResult
    from runtime.bench_compare import Change, OldBench, Settings
    from runtime.bundle import Bundle
    from runtime.ladder import Opened
    from runtime.machine import Machine

    from .page.classes import Confusion
    from .page.trial import Trial

ALL = "all"
SCENE_SEED = 1
GENERATED = f"generated, seed {SCENE_SEED}"
"""What the scene is called that is made where none is named."""
ABOUT_GENERATED = (
    "A generated scene, not a photograph: it shows what the bundles do, not what they are worth."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Files to write; None: not wanted."""

    json: Path | None
    html: Path | None
    card: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is timed, and how."""

    bundles: "tuple[Bundle, ...]"
    backends: tuple[RunFlags, ...]
    """How each bundle is opened, one after the other."""
    plan: "BenchPlan"
    batch: int
    scene: Path | None
    settings: "Settings"
    machine: "Machine"
    pictures: bool
    """Whether every bundle also maps the scene once for pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out."""

    results: "tuple[tuple[Bundle, BenchResult], ...]"
    trials: "tuple[Trial, ...]"


def choose_bundles(named: Sequence[Path]) -> "tuple[Bundle, ...]":
    """Open the bundles that were named, else the newest verified one, else the packaged toy."""
    from runtime.bundle import open_bundle

    paths = list(named)
    if not paths:
        newest = newest_bundle()
        paths = [newest or TOY]
        chosen("bundle", paths[0], "the newest verified one" if newest else "the packaged toy")
    return tuple(open_bundle(path) for path in paths)


def choose_backends(flags: RunFlags, backends: str | None) -> tuple[RunFlags, ...]:
    """Settle which libraries run every bundle.

    Raises:
        ConfigError: If there is no such library.
    """
    from runtime.backends import Backend
    from runtime.errors import BackendError, ConfigError
    from runtime.usable import require_usable

    if backends is None:
        return (flags,)
    known = get_args(Backend)
    names = [name.strip() for name in backends.split(",") if name.strip()]
    if names == [ALL]:
        names = []
        for name in known:
            try:
                require_usable(name, flags.cuda or "auto")
            except BackendError as error:
                chosen("passed over", name, str(error).partition(";")[0])
            else:
                names.append(name)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ConfigError(
            f"--backends is '{backends}'; expected {ALL}, or some of {', '.join(known)}; correct it"
        )
    return tuple(replace(flags, backend=BackendName(name)) for name in dict.fromkeys(names))


def choose_scene(scene: Path | None, batch: int, work: Path) -> tuple[Path | None, str]:
    """Give the scene to map, and what it is called in comparisons; none for a batch without one.

    Args:
        scene: The one that was named.
        batch: Tiles per call.
        work: Folder for one that is generated.
    """
    if scene is not None:
        return scene, _hash_of(scene)
    if batch > 1:
        return None, ""
    from .sample import write_scene

    chosen("scene", "a generated one", "no --scene was given")
    return write_scene(work / "scene", seed=SCENE_SEED), GENERATED


def _hash_of(scene: Path) -> str:
    from runtime.fingerprint import fingerprint

    if not scene.exists():
        return ""  # what is missing is told when it is opened
    if scene.is_file():
        return fingerprint(scene.parent, [scene])
    return fingerprint(scene, (path for path in scene.rglob("*") if path.is_file()))


def run_bench(bench: Bench, work: Path) -> Measured:
    """Time every bundle on every backend.

    Args:
        bench: What to time.
        work: Folder for maps that pictures are made of.

    Raises:
        SegxError: If a bundle cannot be opened or does not fit the scene.
    """
    results: list[tuple[Bundle, BenchResult]] = []
    trials: dict[str, Trial] = {}
    alone = len(bench.bundles) == 1
    for bundle in bench.bundles:
        for flags in bench.backends:
            name = "backend" if alone else f"backend of {bundle.manifest.name}"
            opened = open_and_say(bundle, flags.request(batch=bench.batch), name=name)
            with closing(opened.model):
                results.append((bundle, _time(bench, bundle, opened)))
                if bench.pictures and bench.scene is not None and bundle.sha256 not in trials:
                    folder = work / f"maps-{len(trials)}"
                    trials[bundle.sha256] = _map(bundle, opened, bench.scene, folder)
    return Measured(results=tuple(results), trials=_reference_first(bench.bundles, trials))


def _time(bench: Bench, bundle: "Bundle", opened: "Opened") -> "BenchResult":
    from runtime.bench import bench as measure

    with progress(bundle.manifest.name) as advance:
        return measure(bundle, opened, bench.plan, scene=bench.scene, on_step=advance)


def _map(bundle: "Bundle", opened: "Opened", scene: Path, folder: Path) -> "Trial":
    from .page.trial import map_once

    with progress("tiles for pictures") as advance:
        return map_once(bundle, opened, scene, folder, label=bundle.manifest.name, advance=advance)


def _reference_first(
    bundles: "Sequence[Bundle]", trials: "dict[str, Trial]"
) -> "tuple[Trial, ...]":
    """Put maps in FP32 first: the others are compared with the first of them."""
    ordered = sorted(bundles, key=lambda bundle: bundle.manifest.precision != "fp32")
    return tuple(trials[key] for key in dict.fromkeys(b.sha256 for b in ordered) if key in trials)


def read_old(path: Path | None, bench: Bench) -> "OldBench | None":
    """Read an earlier bench before anything is measured, and refuse one of other circumstances.

    Raises:
        DataError: If it cannot be read, or was measured elsewhere or otherwise.
    """
    from runtime.bench_compare import check_same, read_bench

    if path is None:
        return None
    old = read_bench(path)
    check_same(old, bench.machine, bench.settings, path)
    return old


def read_evals(names: str) -> "list[Confusion]":
    """Read files of `segx eval --json`, whose names are separated by commas.

    Raises:
        DataError: If one cannot be read.
    """
    from .page.evaluated import read_eval

    paths = [Path(name.strip()) for name in names.split(",") if name.strip()]
    return [confusion for path in paths for confusion in read_eval(path)]


def write_outputs(
    outputs: Outputs,
    bench: Bench,
    measured: Measured,
    changes: "Sequence[Change]",
    evals: "Sequence[Confusion]",
) -> None:
    """Write what was asked for, and say so; the last line is that of the page, if there is one.

    Raises:
        SegxError: If a file cannot be written, or a bundle holds one that is not what it must be.
    """
    results = [result for _, result in measured.results]
    written = []
    if outputs.card is not None:
        from runtime.machine_card import make_card

        card = make_card(bench.machine, measured.results, segx_version=__version__)
        write_json(outputs.card, card)
        written.append(outputs.card)
    if outputs.json is not None:
        content: dict[str, object] = {"machine": bench.machine, "settings": bench.settings}
        content |= {"changes": changes} if changes else {}
        write_json(outputs.json, {**content, "results": results})
        written.append(outputs.json)
    if outputs.html is not None:
        from runtime.files import write_text

        write_text(outputs.html, _page(bench, measured, evals))
        written.append(outputs.html)
    following = f"segx inspect {bench.bundles[0].path}"
    for path in written[:-1]:
        done(path)
    if written:
        done(written[-1], following)
    else:
        say(f"next: {following}")


def _page(bench: Bench, measured: Measured, evals: "Sequence[Confusion]") -> str:
    from .page.compose import BenchContent, bench_page
    from .page.trial import show_trials

    own = [trial.confusion for trial in measured.trials if trial.confusion is not None]
    settings, plan = bench.settings, bench.plan
    named = bench.settings.scene != GENERATED
    about = f"Scene: {bench.scene.name}." if bench.scene and named else ABOUT_GENERATED
    content = BenchContent(
        results=measured.results,
        machine=bench.machine,
        settings=(
            ("threads asked for", settings.threads or "the backend's default"),
            ("tiles per call", settings.batch),
            ("calls, not counted and counted", f"{plan.warmup}, {plan.repeats}"),
            ("rounds", plan.rounds),
            ("scene", settings.scene or "none"),
        ),
        confusions=(*evals, *own),
        pictures=show_trials(measured.trials, about=about) if measured.trials else None,
    )
    return bench_page(content)
