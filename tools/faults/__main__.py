"""Disturb segx while it works, run it again, and see that nothing is wrong or lost.

    python -m tools.faults --out build/faults
    python -m tools.faults --only train,infer --faults "kill -9" --times 30 --seed 2

Trains, exports, maps and times a tiny model of generated imagery, each once without a fault. Every
trial then disturbs a run, undoes the fault and runs the command again, and fails if a run hangs,
shows a traceback, ends with success and another result, leaves something unfinished under a final
name, or if the run after it does not end with the result of the undisturbed one. Needs Linux and a
C compiler; a full disk is tried where this process may mount one. Run it from the root of a
checkout, in its environment.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from runtime.jsonfile import write_json
from segx.bundles import TOY
from segx.sample import write_flair2, write_scene
from tools.streaming.report import Table, write

from .child import HANG_S, IDLE_S, Setting, environment_of, run
from .commands import Command, Sources, commands
from .faults import FAULTS, Fault, FullDisk, can_mount
from .shim import build_shim
from .trial import ANEW, UNHARMED, WENT_ON, Trial, make_reference, try_once
from .warm import Warm

CONFIG, EXPORTED = (Path(__file__).with_name(name) for name in ("tiny.toml", "aerial.toml"))
"""What the trials train, and what is trained once for exports."""
SCENE_SHAPE = (1100, 900)
"""Three block rows of maps, so that there is something to go on with."""
Named = TypeVar("Named", Command, Fault)
HEAD = ("command", "fault", "trials", UNHARMED, WENT_ON, ANEW, "failed")


def main() -> int:
    """Do what the command line asks; gives 1 if a trial failed."""
    options = _parser().parse_args()
    out: Path = options.out.resolve()
    library = build_shim(out)
    faults = _chosen(FAULTS, options.faults)
    notes = [
        f"hang: {HANG_S:g} s without a new byte of output and with less than {IDLE_S:g} s of "
        "processor time of the run and all that it started."
    ]
    if any(isinstance(fault, FullDisk) for fault in faults) and not can_mount(out / "mounted"):
        faults = [fault for fault in faults if not isinstance(fault, FullDisk)]
        notes.append("full disk: not tried, as this process may not mount one.")
    sources = _sources(out, options.threads)
    table = Table(
        title="Faults, and the run after each",
        settings=vars(options),
        head=HEAD,
        rows=[],
        details=[],
        notes=notes,
    )
    for command in _chosen(commands(sources, options.threads), options.only):
        setting = Setting(logs=out / "logs" / command.name, threads=options.threads)
        with _warm(command, library, setting) as warm:
            setting = replace(setting, warm=warm)
            for found in _disturb(command, faults, out, library, setting, options):
                # After each fault, as a whole run takes hours.
                table = _longer(table, found)
                files = write(table, out, "faults")
    print(files[0].read_text(encoding="utf-8"))
    print(f"wrote {files[0]} and {files[1]}")
    return int(table.failed)


def _longer(table: Table, found: Sequence[Trial]) -> Table:
    trials = [*table.details, *found]
    failed = [f"failed: {trial}" for trial in found if trial.failures]
    return replace(
        table,
        rows=rows_of(trials),
        details=trials,
        notes=[*table.notes, *failed],
        failed=table.failed or bool(failed),
    )


def _warm(
    command: Command, library: Path, setting: Setting
) -> "AbstractContextManager[Warm | None]":
    """Start training and export in forks of a process that has their libraries."""
    if not command.is_slow_to_start:
        return nullcontext()
    return closing(Warm(library, setting.logs / "warm", environment_of(setting)))


def rows_of(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Sum up trials by command and fault."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.command, trial.fault), []).append(trial)
    return [
        (
            *key,
            str(len(group)),
            *(str(sum(trial.end == end for trial in group)) for end in (UNHARMED, WENT_ON, ANEW)),
            str(sum(bool(trial.failures) for trial in group)),
        )
        for key, group in groups.items()
    ]


def _disturb(
    command: Command,
    faults: Sequence[Fault],
    out: Path,
    library: Path,
    setting: Setting,
    options: argparse.Namespace,
) -> Iterator[list[Trial]]:
    """Try all faults on a command; gives the trials of one fault after the other."""
    reference = make_reference(command, out / "references" / command.name, setting, library)
    print(
        f"{command.name}: {reference.seconds:.1f} s, {reference.peak_bytes >> 20} MiB, "
        f"{reference.reads} reads, {reference.writes} writes",
        flush=True,
    )
    for fault in faults:
        trials = []
        for number in range(options.first, options.first + options.times):
            name = f"{command.name}-{fault.name}-{number}".replace(" ", "-")
            folder = out / "trials" / name
            trial = try_once(
                command,
                fault,
                number,
                reference,
                folder=folder,
                setting=replace(setting, logs=folder / "logs"),
                library=library,
                seed=options.seed,
            )
            trials.append(trial)
            result = " | ".join(trial.failures) or trial.end
            print(f"{name}: {trial.told}; {trial.codes}; {result}", flush=True)
        yield trials


def _sources(out: Path, threads: int) -> Sources:
    """Generate imagery, and train on it, unless that was done before."""
    folder = out / "sources"
    sources = Sources(
        flair2=folder / "flair2",
        config=folder / CONFIG.name,
        scene=folder / "scene",
        run=folder / "run",
        bundle=folder / TOY.name,
    )
    whole = folder / "whole.json"
    if whole.is_file():
        return sources
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(CONFIG, sources.config)
    shutil.copytree(TOY, sources.bundle)
    write_flair2(sources.flair2, seed=1, areas=2, patches_per_side=2)
    write_scene(sources.scene, seed=2, shape=SCENE_SHAPE)
    setting = Setting(logs=out / "logs" / "sources", threads=threads)
    words = ["train", sources.flair2, "--config", EXPORTED, "--out", sources.run]
    ran = run(words, setting, out=folder)
    if ran.code:
        raise SystemExit(f"a training fails without a fault: {ran.err}")
    write_json(whole, sources)
    return sources


def _chosen(items: Sequence[Named], names: str) -> list[Named]:
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = set(wanted) - {item.name for item in items}
    if unknown:
        raise SystemExit(f"there is no {sorted(unknown)}; there is {[item.name for item in items]}")
    return [item for item in items if not wanted or item.name in wanted]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("build/faults"))
    parser.add_argument("--only", default="", help="commands, with commas between; default: all")
    parser.add_argument("--faults", default="", help="faults, with commas between; default: all")
    parser.add_argument("--times", type=int, default=3, help="trials of each fault and command")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
