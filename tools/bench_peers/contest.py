"""Who takes part, one run of each, and rounds of them in turns."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runtime.jsonfile import write_json

ROOT = Path(__file__).resolve().parents[2]
MEASURE = Path(__file__).with_name("measure.py")
LAST_LINES = 8
MAP = "map.tif"
RESULT = "result.json"
SAID = ("backend", "precision", "peak_rss_mib", "stages_s", "waiting_s", "bound_by", "latency_ms")
"""Keys of segx's report that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What a program says of its own run."""

    start_s: float
    """Interpreter and imports."""
    work_s: float
    """All after that: opening the model, reading, running, writing."""
    opening_s: float
    """Of the work: opening the model, compiling, warming up."""
    steady_s: float | None
    """The work without opening; None where there is too little of it."""
    tiles: int
    """Tiles that went through the model."""
    map: Path
    says: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run of one contender."""

    contender: str
    round: int
    failed: str = ""
    """Why it did not end well."""
    process_s: float = math.nan
    """From start to end of the process, measured from outside."""
    cpu_s: float = math.nan
    peak_rss_mib: float = math.nan
    inside: Inside | None = None


class Contender(Protocol):
    """What is run in turns."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    def command(self, folder: Path) -> list[str]:
        """Write into an empty folder what a run needs, and give the command line."""

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        """Read what the run wrote into its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segx:
    """`segx infer`, by its command line alone."""

    name: str
    bundle: Path
    source: Path
    backend: str
    threads: int
    toy: bool = False
    """Whether the bundle is one of generated imagery, which maps other imagery only if told to."""

    def command(self, folder: Path) -> list[str]:
        """Give the command line."""
        options = {
            "--bundle": self.bundle,
            "--out": folder / "maps",
            "--backend": self.backend,
            "--threads": self.threads,
            "--json": folder / RESULT,
        }
        flat = [str(word) for pair in options.items() for word in pair]
        toy = ["--toy-ok"] if self.toy else []
        return [sys.executable, "-m", "segx", "infer", str(self.source), *flat, *toy]

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        """Read the report."""
        report = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        wall, cold, tiles = report["wall_s"], report["cold_start_s"], report["tiles"]
        maps = [Path(path) for path in report["outputs"] if path.endswith("_landcover.tif")]
        # The cold start ends with the result of the first tile.
        steady = (wall - cold) * tiles / (tiles - 1) if tiles > 1 else None
        return Inside(
            start_s=outside["process_s"] - wall,
            work_s=wall,
            opening_s=cold,
            steady_s=steady,
            tiles=tiles,
            map=maps[0],
            says={key: report.get(key) for key in SAID},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A script that takes a task and writes how long its steps took."""

    name: str
    script: tuple[str, ...]
    """Interpreter and script."""
    task: Mapping[str, Any]

    def command(self, folder: Path) -> list[str]:
        """Write the task, and give the command line."""
        task = folder / "task.json"
        write_json(task, {**self.task, "map": str(folder / MAP)})
        return [*self.script, str(task), str(folder / RESULT)]

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        """Read the result."""
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return Inside(
            start_s=found["began"] - outside["began"] + found["imports_s"],
            work_s=found["work_s"],
            opening_s=found["opening_s"],
            steady_s=found["work_s"] - found["opening_s"],
            tiles=found["tiles"],
            map=folder / MAP,
            says={"versions": found["versions"]},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for every run."""

    rounds: int
    threads: int
    """Cores that a process may use, and threads that it is told to."""
    out: Path
    limit_s: float = 3600.0


def play(
    contenders: Sequence[Contender], rules: Rules, on_turn: Callable[[Turn], None]
) -> list[Turn]:
    """Run everyone once per round; who begins changes from round to round.

    A contender that fails sits out the later rounds.
    """
    turns: list[Turn] = []
    for number in range(rules.rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            if any(turn.failed for turn in turns if turn.contender == contender.name):
                continue
            turns.append(take_turn(contender, number, rules))
            on_turn(turns[-1])
    return turns


def take_turn(contender: Contender, number: int, rules: Rules) -> Turn:
    """Run a contender once, in a process of its own."""
    folder = rules.out / "runs" / folder_name(contender.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log, measured = folder / "log.txt", folder / "measured.json"
    cores = str(rules.threads)
    outer = [sys.executable, "-I", MEASURE, measured, log, str(rules.limit_s), cores]
    command = [*map(str, outer), *contender.command(folder)]
    subprocess.run(command, cwd=ROOT, env=environment(folder, cores), check=True)
    outside = json.loads(measured.read_text(encoding="utf-8"))
    if outside["code"] or not (folder / RESULT).is_file():
        ended = "out of time" if outside["process_s"] >= rules.limit_s else f"{outside['code']}"
        failed = f"ended with {ended}; {_tail(log)}"
        return Turn(contender=contender.name, round=number, failed=failed)
    return Turn(
        contender=contender.name,
        round=number,
        process_s=outside["process_s"],
        cpu_s=outside["cpu_s"],
        peak_rss_mib=outside["peak_rss_mib"],
        inside=contender.inside(folder, outside),
    )


def folder_name(name: str) -> str:
    """Name of a contender's folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def environment(folder: Path, cores: str) -> dict[str, str]:
    """Threads for libraries that take them from here, and no cache of the user's touched."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    apart = {"XDG_CACHE_HOME": "cache", "XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config"}
    shared = folder.parent / "home"
    return (
        dict(os.environ)
        | dict.fromkeys(threads, cores)
        | {name: str(shared / place) for name, place in apart.items()}
        | {"TORCHINDUCTOR_CACHE_DIR": str(shared / "inductor"), "PYTHONUNBUFFERED": "1"}
    )


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
