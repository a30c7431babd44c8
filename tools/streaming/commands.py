"""Command lines of segx that are run in a process of their own, and what they say of it."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools.bench_peers.contest import (
    RESULT,
    Contender,
    Inside,
    Rules,
    Segx,
    Turn,
    folder_name,
    take_turn,
)

MAPS = "maps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Infer:
    """`segx infer`, into its own folder or one that another run left."""

    name: str
    bundle: Path
    source: Path
    backend: str
    threads: int
    extra: tuple[str, ...] = ()
    """More words of the command line."""
    maps: Path | None = None
    """Folder for the maps; in the folder of the run if None."""

    def command(self, folder: Path) -> list[str]:
        """Give the command line."""
        options = {
            "--bundle": self.bundle,
            "--out": self.maps or folder / MAPS,
            "--backend": self.backend,
            "--threads": self.threads,
            "--json": folder / RESULT,
        }
        flat = [str(word) for pair in options.items() for word in pair]
        return [*_segx("infer"), str(self.source), *flat, "--toy-ok", *self.extra]

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        """Read the report, and keep all of it but the names of files."""
        segx = Segx(
            name=self.name,
            bundle=self.bundle,
            source=self.source,
            backend=self.backend,
            threads=self.threads,
        )
        report = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        del report["outputs"]
        return replace(segx.inside(folder, outside), says=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """`segx bench` of one bundle over a scene."""

    name: str
    bundle: Path
    scene: Path
    backend: str
    threads: int
    rounds: int

    def command(self, folder: Path) -> list[str]:
        """Give the command line."""
        options = {
            "--scene": self.scene,
            "--rounds": self.rounds,
            "--backend": self.backend,
            "--threads": self.threads,
            "--json": folder / RESULT,
        }
        flat = [str(word) for pair in options.items() for word in pair]
        return [*_segx("bench"), str(self.bundle), *flat]

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        """Read the figures."""
        (found,) = json.loads((folder / RESULT).read_text(encoding="utf-8"))["results"]
        report = found["end_to_end"]
        return Inside(
            start_s=math.nan,
            work_s=report["wall_s"],
            opening_s=found["load_s"],
            steady_s=report["wall_s"] - report["cold_start_s"],
            tiles=report["tiles"],
            map=folder,
            says=found,
        )


def run(contender: Contender, rules: Rules, number: int = 0) -> Turn:
    """Run a command that is to end well, and say so in a line.

    Raises:
        SystemExit: If it does not.
    """
    turn = take_turn(contender, number, rules)
    if turn.failed:
        raise SystemExit(f"{contender.name}: {turn.failed}")
    print(f"{contender.name}: {turn.process_s:.1f} s, {turn.peak_rss_mib:.0f} MiB", flush=True)
    return turn


def folder_of(contender: Contender, rules: Rules) -> Path:
    """Folder of a run."""
    return rules.out / "runs" / folder_name(contender.name)


def _segx(command: str) -> list[str]:
    return [sys.executable, "-m", "segx", command]
