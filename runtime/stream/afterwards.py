"""Make something of the finished maps, before their run counts as done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..output.workplace import Workplace
from ..report import Report
from .mapset import MapSet

_NOTE = "made"


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterMap:
    """What is made of every class map."""

    make: Callable[[Path, Path], Path]
    """Takes a finished map and a folder for unfinished files, and gives the file that it made."""
    settings: str
    """All that its result depends on, beside the map."""
    progress: Callable[[], Callable[[int, int], None]]
    """Called at the beginning; what it gives is called with the maps done and all maps."""


def make_after(report: Report, maps: MapSet, work: Workplace, after: AfterMap) -> Report:
    """Make it of every class map; what an interrupted run has made is not made again.

    Args:
        report: What the run did until now.
        maps: The finished maps.
        work: Where they were made.
        after: What to do with each.

    Returns:
        The report with what was made, and the seconds that it took, which are in no other figure.

    Raises:
        SegxError: If it cannot be made.
    """
    begin, advance = time.perf_counter(), after.progress()
    told = [note[_NOTE] for note in work.notes if _NOTE in note]
    known = {(of, settings): name for name, of, settings in told}
    made = []
    sheets = [sheet for found in maps.sheets for sheet in found]
    for number, sheet in enumerate(sheets, start=1):
        path = Path(sheet.paths[0])
        file = work.out / known.get((path.name, after.settings), "")
        if not file.is_file():
            file = after.make(path, work.folder)
            work.note({_NOTE: [file.name, path.name, after.settings]})
        made.append(str(file))
        advance(number, len(sheets))
    return replace(
        report, outputs=(*report.outputs, *made), vectorize_s=time.perf_counter() - begin
    )
