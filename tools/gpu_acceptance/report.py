"""Write what was found: everything as JSON, and tables for people."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.files import write_text
from runtime.jsonfile import plain, write_json

from .job import Job, Outcome

JSON_NAME, TABLE_NAME = "gpu_acceptance.json", "gpu_acceptance.md"


def write(job: Job, outcomes: Sequence[Outcome]) -> None:
    """Write both files; called after every step, so that nothing found is lost."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    write_json(job.out / JSON_NAME, {"created": now, "job": job, "outcomes": outcomes})
    lines = [f"# GPU acceptance, {now}", "", *_steps(outcomes)]
    for outcome in outcomes:
        found = plain(outcome.result)
        if isinstance(found, dict):
            lines += _details(outcome.step, found)
    write_text(job.out / TABLE_NAME, "\n".join(lines) + "\n")


def _steps(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield from _table(
        ["step", "ended", "s", "words"],
        [[o.step, o.status, f"{o.seconds:.1f}", o.words[:300]] for o in outcomes],
    )


def _details(step: str, found: Mapping[str, Any]) -> Iterator[str]:
    if "rows" in found and "batch" in found:
        yield from _latency(step, found)
    elif "rows" in found:
        yield from _parity(step, found)
    else:
        yield from ("", f"## {step}", "")
        yield from (f"- {name}: {value}" for name, value in found.items())


def _latency(step: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {step}, {found['rounds']} rounds in turns", "")
    rows = found["rows"]
    stages = list(dict.fromkeys(name for row in rows.values() for name in row["stages_ms"]))
    yield from _table(
        ["", "p50 ms", "p95 ms", "tiles/s", *(f"{name} ms" for name in stages)],
        [
            [
                name,
                *(f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "tiles_per_s")),
                *(f"{row['stages_ms'][s]:.2f}" if s in row["stages_ms"] else "" for s in stages),
            ]
            for name, row in rows.items()
        ],
    )
    yield ""
    yield from (f"- not timed: {name}: {words}" for name, words in found["not timed"].items())


def _parity(step: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {step}: {'passed' if found['passed'] else 'MISSED'}", "")
    yield from _table(
        ["input", "part", "largest difference", "scale", "same class", "misses"],
        [
            [
                row["input"],
                row["part"],
                f"{row['agreement']['max_abs']:.2e}",
                f"{row['agreement']['scale']:.3g}",
                f"{row['agreement']['argmax']:.4f}",
                "; ".join(row["misses"]),
            ]
            for row in found["rows"]
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |"


def where(out: Path) -> str:
    """Say where the files lie."""
    return f"wrote {out / TABLE_NAME} and {out / JSON_NAME}"
