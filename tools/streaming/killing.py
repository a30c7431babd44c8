"""Kill `segx infer` at random moments, run it again, and compare all pixels of all maps."""

import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.output.journal import read_journal
from runtime.output.workplace import FOLDER
from runtime.pipeline import REPORT_NAME
from tools.bench_peers.contest import Rules, Turn, take_turn

from .commands import MAPS, Infer, folder_of, run
from .pixels import first_difference
from .report import Table

HEAD = (
    "identical",
    "resumed",
    "left something",
    "tiles",
    "tiles of the second run, least / median / most",
    "of them run twice, most",
    "s uninterrupted",
)
JOURNAL = "journal"
OUT_OF_TIME = "ended with out of time"
STARTS_PER_KILL = 5
"""Runs that are started for a kill at most: one may end before its moment, as where
the reference ran with empty caches. Moments stay uniform over the run that is killed."""
PROGRESS = re.compile(r"^tiles: (\d+)/(\d+),", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a run that was killed left on the disk."""

    pieces: int
    """Parts of block rows, of all maps."""
    sheets: int
    """Aerial files whose maps were finished."""
    is_whole: bool
    """Whether all was done, and it was killed on its way out."""

    @property
    def something(self) -> bool:
        """Whether a second run has something to go on with."""
        return not self.is_whole and bool(self.pieces or self.sheets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A run that was killed, and the one that went on."""

    moment_s: float
    """When it was killed, from its start."""
    done_share: float
    """Share of its tiles that it had said to be done, in tenths."""
    left: Left
    """What it left on the disk."""
    resumed: bool
    """Whether the second run went on with that."""
    tiles: int
    """Tiles of the second run."""
    twice: int
    """Tiles that both runs ran, at least."""
    again_s: float
    """What the second run took."""
    difference: str
    """Where the maps differ from those of a run that was not killed; empty if they do not."""

    @property
    def failed(self) -> bool:
        """Whether the maps differ, or what was left was not used."""
        return bool(self.difference) or self.resumed != self.left.something


def measure(
    bundle: Path,
    scene: Path,
    rules: Rules,
    *,
    seed: int,
    backend: str,
    extra: tuple[str, ...],
) -> Table:
    """Map a scene, then kill as many runs as there are rounds and go on with each.

    Args:
        bundle: What maps it.
        scene: What is mapped.
        rules: How often, threads, time limit and folder.
        seed: Seed of the moments, which are uniform over the time of a run.
        backend: That of the command line.
        extra: More words of the command line.

    Raises:
        SystemExit: If a run fails that was not killed, or runs end before they can be killed.
    """
    whole = Infer(
        name="reference",
        bundle=bundle,
        source=scene,
        backend=backend,
        threads=rules.threads,
        extra=extra,
    )
    reference = run(whole, rules)
    assert reference.inside is not None
    generator = random.Random(seed)
    trials: list[Trial] = []
    for number in range(rules.rounds):
        trials.append(_trial(number, whole, rules, reference, generator))
        print(f"kill {number + 1}: {trials[-1]}", flush=True)
    return Table(
        title="Killed at random moments and run again",
        settings={"bundle": bundle, "scene": scene, "rules": rules, "seed": seed, "extra": extra},
        head=HEAD,
        rows=[summarise(trials, reference.inside.tiles, reference.process_s)],
        details=[reference, *trials],
        notes=[
            "identical: names of files, all pixels of all maps and of their overviews.",
            "run twice: at least so many, from what the first run said of its progress.",
            *(f"failed: {trial}" for trial in trials if trial.failed),
        ],
        failed=any(trial.failed for trial in trials),
    )


def _trial(
    number: int, whole: Infer, rules: Rules, reference: Turn, generator: random.Random
) -> Trial:
    first = replace(whole, name=f"killed {number + 1}")
    folder = folder_of(first, rules)
    moment = _kill(first, rules, reference.process_s, generator)
    left = what_is_left(folder / MAPS)
    done_share = said_done((folder / "log.txt").read_text(encoding="utf-8", errors="replace"))
    second = replace(whole, name=f"again {number + 1}", maps=folder / MAPS)
    turn = run(second, rules, number)
    assert turn.inside is not None
    assert reference.inside is not None
    tiles, again = reference.inside.tiles, turn.inside.tiles
    difference = folders_differ(folder_of(whole, rules) / MAPS, folder / MAPS)
    if not difference:
        shutil.rmtree(folder)
        shutil.rmtree(folder_of(second, rules))
    return Trial(
        moment_s=moment,
        done_share=done_share,
        left=left,
        resumed=turn.inside.says["resumed"],
        tiles=again,
        twice=0 if left.is_whole else max(0, round(done_share * tiles) + again - tiles),
        again_s=turn.process_s,
        difference=difference,
    )


def _kill(first: Infer, rules: Rules, duration_s: float, generator: random.Random) -> float:
    """Start a run and kill it; one that ends before its moment is started anew."""
    for _ in range(STARTS_PER_KILL):
        moment = generator.uniform(0.0, duration_s)
        turn = take_turn(first, 0, replace(rules, limit_s=moment))
        if turn.failed.startswith(OUT_OF_TIME):
            return moment
        if turn.failed:
            raise SystemExit(f"{first.name}: {turn.failed}")
    raise SystemExit(f"{first.name}: {STARTS_PER_KILL} runs ended before they could be killed")


def what_is_left(maps: Path) -> Left:
    """Look at the folder of the maps of a run that was killed."""
    recorded = read_journal(maps / FOLDER / JOURNAL)
    return Left(
        pieces=sum(len(pieces) for pieces in recorded.pieces.values()) if recorded else 0,
        sheets=len(recorded.finished) if recorded else 0,
        is_whole=(maps / REPORT_NAME).is_file() and not (maps / FOLDER).exists(),
    )


def said_done(log: str) -> float:
    """Share of the tiles that a run said to be done before it was killed."""
    found = PROGRESS.findall(log)
    return int(found[-1][0]) / int(found[-1][1]) if found else 0.0


def folders_differ(reference: Path, other: Path) -> str:
    """Say in what two folders of maps differ: names, pixels or overviews; empty if in nothing.

    Tables and styles beside the maps are compared byte by byte.
    """
    names, found = ({path.name for path in folder.iterdir()} for folder in (reference, other))
    if names != found:
        return f"files {sorted(names ^ found)} are in one folder only"
    for name in sorted(names - {REPORT_NAME}):
        one, two = reference / name, other / name
        if name.endswith(".tif"):
            difference = first_difference(one, two)
        else:
            difference = "" if one.read_bytes() == two.read_bytes() else "its bytes differ"
        if difference:
            return f"{name}: {difference}"
    return ""


def summarise(trials: Sequence[Trial], tiles: int, duration_s: float) -> tuple[str, ...]:
    """Sum up all trials in one row of the table.

    Args:
        trials: One or more.
        tiles: Tiles of a run that is not killed.
        duration_s: What that takes.
    """
    again = sorted(trial.tiles for trial in trials)
    same = sum(not trial.difference for trial in trials)
    return (
        f"{same} of {len(trials)}",
        str(sum(trial.resumed for trial in trials)),
        str(sum(trial.left.something for trial in trials)),
        str(tiles),
        f"{again[0]} / {again[(len(again) - 1) // 2]} / {again[-1]}",
        str(max(trial.twice for trial in trials)),
        f"{duration_s:.1f}",
    )
