"""Write what was found: everything as JSON, and tables for people."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from runtime.computer import describe_computer
from runtime.files import write_text
from runtime.jsonfile import write_json

from .contest import Rules, Turn
from .ratios import FIGURES, Group, Ratio, agreement, by_round, last_map, ratio

HEAD = (
    "",
    "tiles",
    "process s",
    "start and imports s",
    "work s",
    "of it opening s",
    "peak MiB",
    "x process",
    "x work",
    "x steady",
    "x memory",
    "same class",
)

NOTES = (
    "Seconds and MiB are medians over the rounds. `x`: how many times longer, or larger, than the "
    "run of segx in the first row, smallest / median of the rounds' ratios.",
    "process: from start to end of the process, measured from outside. work: without interpreter "
    "and imports. steady: without opening the model, compiling and warming up either.",
    "same class: share of the pixels that have the class of segx's map in the first row.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What was compared, and how."""

    title: str
    rules: Rules
    settings: Mapping[str, Any]
    """What each contender was given."""
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()
    turns: list[Turn] = field(default_factory=list)


def summarise(contest: Contest) -> list[dict[str, Any]]:
    """Sum up every group: rows by contender, the first one being segx's."""
    return [
        {
            "title": group.title,
            "rows": [_row(contest.turns, group, name) for name in (group.segx, *group.others)],
        }
        for group in contest.groups
    ]


def _row(turns: Sequence[Turn], group: Group, name: str) -> dict[str, Any]:
    own = [turn for turn in turns if turn.contender == name]
    failed = next((turn.failed for turn in own if turn.failed), "")
    inside = [turn.inside for turn in own if turn.inside is not None]
    figures = {key: list(by_round(own, name, figure).values()) for key, figure in FIGURES.items()}
    figures["start_s"] = [item.start_s for item in inside]
    figures["opening_s"] = [item.opening_s for item in inside]
    return {
        "contender": name,
        "failed": failed,
        "rounds": len(inside),
        "tiles": inside[-1].tiles if inside else None,
        "medians": {key: median(values) if values else None for key, values in figures.items()},
        "ratios": {key: ratio(turns, name, group.segx, figure) for key, figure in FIGURES.items()},
        "agreement": _agreement(turns, name, group.segx),
    }


def _agreement(turns: Sequence[Turn], name: str, reference: str) -> float | None:
    own, other = last_map(turns, name), last_map(turns, reference)
    return None if own is None or other is None else agreement(own, other)


def write(contest: Contest, stem: str) -> list[Path]:
    """Write `STEM.json` and `STEM.md` into the folder of the runs; give their paths."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    machine, groups = describe_computer(), summarise(contest)
    table, everything = (contest.rules.out / f"{stem}.{kind}" for kind in ("md", "json"))
    write_json(
        everything,
        {
            "title": contest.title,
            "created": now,
            "machine": machine,
            "rules": contest.rules,
            "settings": contest.settings,
            "groups": groups,
            "turns": contest.turns,
        },
    )
    write_text(table, "\n".join(lines(contest, groups, machine, now)) + "\n")
    return [table, everything]


def lines(
    contest: Contest, groups: Sequence[Mapping[str, Any]], machine: Mapping[str, str], now: str
) -> Iterator[str]:
    """Give the lines of the Markdown file."""
    rules = contest.rules
    yield from (f"# {contest.title}", "")
    yield f"{now}; {rules.rounds} rounds in turns, {rules.threads} cores and threads each."
    yield "; ".join(f"{name}: {text}" for name, text in machine.items())
    for group in groups:
        yield from ("", f"## {group['title']}", "")
        yield from _table([HEAD, *(_cells(row) for row in group["rows"] if row["rounds"])])
        failed = [row for row in group["rows"] if row["failed"]]
        yield from (f"\n- {row['contender']} failed: {row['failed']}" for row in failed)
    yield ""
    yield from (f"- {note}" for note in (*NOTES, *contest.notes))


def _cells(row: Mapping[str, Any]) -> list[str]:
    medians, ratios, share = row["medians"], row["ratios"], row["agreement"]
    shown = [row["contender"], str(row["tiles"])]
    shown += [f"{medians[key]:.2f}" for key in ("process_s", "start_s", "work_s", "opening_s")]
    shown.append(f"{medians['peak_rss_mib']:.0f}")
    shown += [_ratio(ratios[key]) for key in FIGURES]
    return [*shown, "" if share is None else f"{share:.4%}"]


def _ratio(found: Ratio | None) -> str:
    return "" if found is None else f"{found.min:.2f} / {found.median:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    head, *rest = rows
    for row in (head, ["---"] * len(head), *rest):
        yield "| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |"
