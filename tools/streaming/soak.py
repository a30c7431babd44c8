"""Hours of inference: do memory, open files and threads stay flat?

loop     one process that maps files and arrays over and over by the Python API
sheets   one `segx infer` over thousands of small files
"""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.jsonfile import write_json
from tools.bench_peers.contest import RESULT, ROOT, Rules, environment, folder_name

from .commands import MAPS, Infer
from .flatness import FIGURES, SHARE, WINDOWS, Course, course
from .large import make_large
from .report import Table
from .sheets import make_sheets
from .watching import Sample, watch

ROUNDS_PER_OPENING = 4
"""Of the loop; then the bundle is closed and opened anew."""
SERVICE = ("env", "MALLOC_ARENA_MAX=2")
"""How the loop is started: as docs/python.md says of what maps by the Python API for long."""
LOOP_SIDE = 1200
"""Side of the scene that is mapped over and over, in pixels."""
HEAD = (
    "run",
    "minutes",
    "done",
    "as it is to be",
    *(
        f"{name} {text}"
        for name in ("MiB", "open files", "threads")
        for text in ("of halves", "rise (bound)")
    ),
    "flat",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run."""

    minutes: float
    """Of the loop; none if 0."""
    sheets: int
    """Small files; none if 0."""
    side: int
    """Of a small file, in pixels."""
    every_s: float
    """Seconds between two looks at the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """One long run."""

    name: str
    samples: tuple[Sample, ...]
    courses: tuple[Course, ...]
    done: str
    wrong: str
    """What it did wrong; empty if nothing."""
    says: Any
    """What it wrote of itself."""

    @property
    def failed(self) -> bool:
        """Whether something grew, or came out wrong."""
        return bool(self.wrong) or not all(course.is_flat for course in self.courses)


def measure(bundle: Path, scene: Path, plan: Plan, rules: Rules, *, backend: str) -> Table:
    """Run for long, and look at the process every few seconds.

    Args:
        bundle: What maps.
        scene: Folder with an aerial raster and, if the bundle takes one, a series.
        plan: For how long, and over how many files.
        rules: Threads, time limit and folder.
        backend: That of the command line.

    Raises:
        SystemExit: If a run fails, or is too short to be judged.
    """
    soaks = []
    if plan.minutes:
        soaks.append(_loop(bundle, scene, plan, rules, backend))
    if plan.sheets:
        soaks.append(_sheets(bundle, scene, plan, rules, backend))
    return Table(
        title="Long runs: memory, open files and threads",
        settings={"bundle": bundle, "scene": scene, "plan": plan, "rules": rules},
        head=HEAD,
        rows=[row_of(soak) for soak in soaks],
        details=soaks,
        notes=[
            f"one look every {plan.every_s:g} s, of the loop whenever the bundle was closed; of "
            "halves: lowest to highest value of the first and of the second half of the run.",
            f"rise: median slope (Theil-Sen) between the lows of {WINDOWS} windows of the second "
            "half, times the length of the whole run; flat: all rises are below their bounds, for "
            f"memory {SHARE['rss_mib']:.0%} of the lowest value of the second half.",
            *(f"wrong: {soak.name}: {soak.wrong}" for soak in soaks if soak.wrong),
        ],
        failed=any(soak.failed for soak in soaks),
    )


def _loop(bundle: Path, scene: Path, plan: Plan, rules: Rules, backend: str) -> Soak:
    """Map files and arrays over and over in one process."""
    folder = _folder(rules, "loop")
    task, result = folder / "task.json", folder / RESULT
    given = {
        "bundle": bundle,
        "scene": make_large(scene, LOOP_SIDE, rules.out / "scenes" / "loop"),
        "maps": folder / MAPS,
        "seconds": 60.0 * plan.minutes,
        "rounds_per_opening": ROUNDS_PER_OPENING,
        "threads": rules.threads,
        "backend": backend,
    }
    write_json(task, given)
    command = [*SERVICE, sys.executable, "-m", "tools.streaming.looping", str(task), str(result)]
    samples = _run("loop", command, folder, plan, rules)
    said = json.loads(result.read_text(encoding="utf-8"))
    rounds, closings = said["rounds"], [Sample(**item) for item in said["closings"]]
    return Soak(
        name="loop",
        samples=tuple(samples),
        courses=_courses("loop", closings),
        done=f"{len(rounds)} rounds, {len(closings)} openings",
        wrong=differing(rounds),
        says=said,
    )


def differing(rounds: Sequence[dict[str, Any]]) -> str:
    """Say which kinds of rounds did not give the same pixels each time; empty if all did."""
    found = defaultdict(set)
    for item in rounds:
        found[item["kind"]].add((item["maps"], item["arrays"]))
    several = [f"{kind}: {len(sums)} results" for kind, sums in found.items() if len(sums) > 1]
    return "; ".join(several)


def _sheets(bundle: Path, scene: Path, plan: Plan, rules: Rules, backend: str) -> Soak:
    """Map thousands of small files at once."""
    name = f"{plan.sheets} files of {plan.side} px"
    folder = _folder(rules, "sheets")
    source = make_sheets(scene, rules.out / "scenes" / "sheets", count=plan.sheets, side=plan.side)
    infer = Infer(name=name, bundle=bundle, source=source, backend=backend, threads=rules.threads)
    samples = _run(name, infer.command(folder), folder, plan, rules)
    report = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    maps = len(list((folder / MAPS).glob("*_landcover.tif")))
    del report["outputs"]
    shutil.rmtree(source)
    shutil.rmtree(folder / MAPS)
    return Soak(
        name=name,
        samples=tuple(samples),
        courses=_courses(name, samples),
        done=f"{report['tiles']} tiles, {maps} maps",
        wrong="" if maps == plan.sheets else f"{maps} maps",
        says=report,
    )


def _folder(rules: Rules, name: str) -> Path:
    folder = rules.out / "runs" / folder_name(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _run(name: str, command: Sequence[str], folder: Path, plan: Plan, rules: Rules) -> list[Sample]:
    """Run a command that is to end well, and look at it."""
    log = folder / "log.txt"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(folder, str(rules.threads)),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[: rules.threads])
        samples = watch(process, every_s=plan.every_s, limit_s=rules.limit_s)
    if process.returncode:
        raise SystemExit(f"{name}: ended with {process.returncode}; see {log}")
    return samples


def _courses(name: str, samples: Sequence[Sample]) -> tuple[Course, ...]:
    try:
        return tuple(course(samples, figure) for figure in FIGURES)
    except ValueError as error:
        raise SystemExit(f"{name}: {error}") from error


def row_of(soak: Soak) -> tuple[str, ...]:
    """Sum a run up in a row of the table."""
    figures = []
    for item in soak.courses:
        halves = (f"{low:.0f} to {high:.0f}" for low, high in (item.first, item.second))
        digits = 1 if item.figure == "rss_mib" else 2
        figures += [", ".join(halves), f"{item.rise:+.{digits}f} ({item.bound:.0f})"]
    return (
        soak.name,
        f"{soak.samples[-1].at_s / 60:.1f}",
        soak.done,
        soak.wrong or "yes",
        *figures,
        "yes" if all(item.is_flat for item in soak.courses) else "no",
    )
