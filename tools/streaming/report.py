"""Write what was found: everything as JSON, and a table for people."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.computer import describe_computer
from runtime.files import write_text
from runtime.jsonfile import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was found."""

    title: str
    settings: dict[str, Any]
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    details: list[Any]
    """Everything, for the JSON file."""
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    """Whether something is not as it is to be."""


def write(table: Table, out: Path, stem: str) -> list[Path]:
    """Write `STEM.md` and `STEM.json` into a folder; give their paths."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    machine = describe_computer()
    text, everything = (out / f"{stem}.{kind}" for kind in ("md", "json"))
    write_json(everything, {"created": now, "machine": machine, "found": table})
    lines = [f"# {table.title}", "", f"{now}; " + "; ".join(machine.values()), ""]
    lines += [_line(row) for row in (table.head, ["---"] * len(table.head), *table.rows)]
    lines += ["", *(f"- {note}" for note in table.notes)]
    write_text(text, "\n".join(lines) + "\n")
    return [text, everything]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
