"""What every command prints in one way: choices, progress, tables, the last line, JSON files.

Results go to stdout, progress and logs to stderr. Rich is imported only for a progress bar, and a
progress bar is drawn only on a terminal.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import typer

from runtime.jsonfile import write_json

__all__ = [
    "chosen",
    "configure_logging",
    "done",
    "progress",
    "progress_lines",
    "say",
    "table",
    "write_json",
]

LINES_PER_RUN = 10
"""How many progress lines a whole run writes where there is no terminal."""


class Advance(Protocol):
    """Tell how far the work is; fits every ``on_tile(done, total)`` callback."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` units are finished; ``note`` is shown behind."""


class _Line(logging.Formatter):
    """Records in the form of the command's own warnings."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"segx: {record.levelname.lower()}: {record.name}: {text}"


def configure_logging(*, verbose: bool = False) -> None:
    """Send the log to stderr: warnings only, or what happens when verbose."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in ("segx", "trainkit", "exporter", "calibration", "runtime"):
        logging.getLogger(package).setLevel(logging.INFO if verbose else logging.WARNING)


def say(text: str) -> None:
    """Print one line of a result."""
    typer.echo(text)


def chosen(name: str, value: object, why: str = "") -> None:
    """Print a value that the command settled on, and why: ``backend: openvino (no GPU)``."""
    say(f"{name}: {value} ({why})" if why else f"{name}: {value}")


def done(path: Path, next_command: str = "") -> None:
    """Print the last line of a command: where the result lies and what to run next."""
    say(f"wrote {path}" + (f"; next: {next_command}" if next_command else ""))


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Print an aligned table; numbers stand to the right, floats with two decimals.

    Args:
        head: Names of the columns.
        rows: Cells, as many in each row as there are names. None and NaN print as ``-``.
        title: A line above the table.
    """
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows)
        for column in range(len(head))
    ]
    if title:
        say(title)
    for row in [cells[0], ["-" * width for width in widths], *cells[1:]]:
        columns = zip(row, widths, numeric, strict=True)
        line = (text.rjust(width) if right else text.ljust(width) for text, width, right in columns)
        say("  ".join(line).rstrip())


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@contextmanager
def progress(description: str) -> Iterator[Advance]:
    """Show how far a loop is, on stderr: a bar with ETA on a terminal, else a few plain lines.

    Example:
        >>> with progress("map") as advance:  # doctest: +SKIP
        ...     infer(bundle, pair, out, on_tile=advance)
    """
    if not sys.stderr.isatty():
        yield progress_lines(description)
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield advance


def progress_lines(description: str, clock: Callable[[], float] = time.monotonic) -> Advance:
    """Progress as plain lines, one for every tenth of the work."""
    start = clock()
    printed = 0
    before: int | None = None  # what an earlier attempt had done says nothing about the pace

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal printed, before
        before = done - 1 if before is None else before
        step = done * LINES_PER_RUN // max(total, 1)
        if step <= printed:
            return
        printed = step
        elapsed = clock() - start
        left = elapsed * (total - done) / max(done - before, 1)
        when = _duration(elapsed) + (f", about {_duration(left)} left" if done < total else "")
        typer.echo(
            f"{description}: {done}/{total}, {when}" + (f"; {note}" if note else ""), err=True
        )

    return advance


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
