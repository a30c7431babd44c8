"""Time and memory of planning a country of many aerial files.

read        `segx infer --dry-run` over files that are headers alone
simulated   the same plan of headers that are there already, in a process without a model
"""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.scene import SCENE_AERIAL
from tools.bench_peers.contest import RESULT, Inside, Rules, Turn

from .commands import Infer, run
from .report import Table
from .sheets import make_sheets

HEAD = (
    "sheets",
    "headers",
    "side px",
    "tiles",
    "process s",
    "ms a sheet",
    "peak MiB",
    "KiB a sheet",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """`segx infer --dry-run`, and the plan that it writes."""

    infer: Infer

    @property
    def name(self) -> str:
        """What it is called."""
        return self.infer.name

    def command(self, folder: Path) -> list[str]:
        """Give the command line."""
        return [*self.infer.command(folder), "--dry-run"]

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        """Read the plan."""
        return _inside(folder, outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The plan of files that are not there; see `country`."""

    bundle: Path
    aerial: Path
    count: int
    side: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"simulation of {self.count}"

    def command(self, folder: Path) -> list[str]:
        """Give the command line."""
        words = (self.bundle, self.aerial, self.count, self.side, folder / RESULT)
        return [sys.executable, "-m", "tools.streaming.country", *map(str, words)]

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        """Read the plan."""
        return _inside(folder, outside)


def _inside(folder: Path, outside: Mapping[str, float]) -> Inside:
    plan: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return Inside(
        start_s=math.nan,
        work_s=outside["process_s"],
        opening_s=math.nan,
        steady_s=None,
        tiles=plan["tiles"],
        map=folder,
        says=plan,
    )


def measure(
    bundle: Path,
    scene: Path,
    rules: Rules,
    *,
    counts: Sequence[int],
    side: int,
    backend: str,
    extra: tuple[str, ...],
) -> Table:
    """Plan several numbers of files, read and simulated, each in a process of its own.

    Args:
        bundle: What is to map them.
        scene: Folder with the aerial raster that they are like.
        rules: Threads, time limit and folder.
        counts: Numbers of files.
        side: Side of a file, in pixels.
        backend: That of the command line.
        extra: More words of the command line.

    Raises:
        SystemExit: If a run fails.
    """
    read: dict[int, Turn] = {}
    simulated: dict[int, Turn] = {}
    for count in counts:
        source = make_sheets(
            scene, rules.out / "scenes" / f"{count}", count=count, side=side, empty=True
        )
        infer = Infer(
            name=f"plan of {count}",
            bundle=bundle,
            source=source,
            backend=backend,
            threads=rules.threads,
            extra=extra,
        )
        read[count] = run(DryRun(infer=infer), rules)
        shutil.rmtree(source)
        aerial = scene / SCENE_AERIAL
        simulation = Simulation(bundle=bundle, aerial=aerial, count=count, side=side)
        simulated[count] = run(simulation, rules)
    return Table(
        title="Plans of many aerial files",
        settings={"bundle": bundle, "scene": scene, "rules": rules, "extra": extra},
        head=HEAD,
        rows=[*rows_of("read", side, read), *rows_of("simulated", side, simulated)],
        details=[read, simulated],
        notes=[
            "read: `segx infer --dry-run`: interpreter, headers of all files, the model opened and "
            "timed, and tiles, memory, disk and time said.",
            "simulated: interpreter, headers made up, and tiles said.",
            "a sheet: what is added to the run of fewest files, by the files that are added.",
        ],
    )


def rows_of(headers: str, side: int, turns: Mapping[int, Turn]) -> Iterator[tuple[str, ...]]:
    """Sum runs up in rows of the table."""
    least = min(turns)
    for count, turn in turns.items():
        assert turn.inside is not None
        each = ("", "")
        if added := count - least:
            more_s = turn.process_s - turns[least].process_s
            more_mib = turn.peak_rss_mib - turns[least].peak_rss_mib
            each = (f"{1e3 * more_s / added:.2f}", f"{1024 * more_mib / added:.2f}")
        yield (
            str(count),
            headers,
            str(side),
            str(turn.inside.tiles),
            f"{turn.process_s:.1f}",
            each[0],
            f"{turn.peak_rss_mib:.0f}",
            each[1],
        )
