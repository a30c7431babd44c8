"""Time and memory of planning a country: `segx infer --dry-run` over many aerial files."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bench_peers.contest import RESULT, Inside, Rules, Turn

from .commands import Infer, run
from .report import Table
from .sheets import make_sheets

HEAD = ("sheets", "side px", "tiles", "process s", "ms a sheet", "peak MiB", "KiB a sheet")


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
    """Plan folders of several numbers of files, each in a process of its own.

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
    turns: dict[int, Turn] = {}
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
        turns[count] = run(DryRun(infer=infer), rules)
        shutil.rmtree(source)
    return Table(
        title="Plans of many aerial files",
        settings={"bundle": bundle, "scene": scene, "rules": rules, "extra": extra},
        head=HEAD,
        rows=[row_of(count, side, turns) for count in counts],
        details=[turns],
        notes=[
            "`segx infer --dry-run`: interpreter, headers of all files, the model opened and "
            "timed, and tiles, memory, disk and time said.",
            "a sheet: what is added to the run of fewest files, by the files that are added.",
        ],
    )


def row_of(count: int, side: int, turns: Mapping[int, Turn]) -> tuple[str, ...]:
    """Sum a run up in a row of the table."""
    turn, least = turns[count], min(turns)
    assert turn.inside is not None
    added = count - least
    each = ("", "")
    if added:
        more_s = turn.process_s - turns[least].process_s
        more_mib = turn.peak_rss_mib - turns[least].peak_rss_mib
        each = (f"{1e3 * more_s / added:.2f}", f"{1024 * more_mib / added:.2f}")
    return (
        str(count),
        str(side),
        str(turn.inside.tiles),
        f"{turn.process_s:.1f}",
        each[0],
        f"{turn.peak_rss_mib:.0f}",
        each[1],
    )
