"""Which Sentinel-2 dates each file's maps are made of, also after a run went on."""

from datetime import date

from ..satellite import SatelliteInput
from ..tally import Tally
from ..tiler import Tile
from .jobs import Job, SheetStrip
from .targets import Notes

_NOTE = "dates"

Days = frozenset[date]


class DatesUsed:
    """Dates by file; a new one is noted in the journal before any map can hold what it showed."""

    def __init__(self, work: Notes, tally: Tally) -> None:
        """Take over what this run noted before it was interrupted.

        Args:
            work: Where notes are kept.
            tally: Told of those dates.
        """
        self._work = work
        self._days: dict[str, Days] = {}
        self._kept: dict[Days, Days] = {}
        for stem, series, *days in (note[_NOTE] for note in work.notes if _NOTE in note):
            found = frozenset(map(date.fromisoformat, days))
            self._keep(stem, self._known(stem) | found)
            tally.add_dates((series, day) for day in found)

    def add(self, job: Job, tile: Tile, satellite: SatelliteInput | None) -> None:
        """Count the dates of a tile for the files that it is mapped in.

        Raises:
            DataError: If the disk does not take a note.
        """
        series = job.area.mosaic.satellite
        if satellite is None or series is None:
            return
        used = set(satellite.dates_used)
        rows, cols = job.area.reach(tile)
        for strip in job.sheets:
            known = self._known(strip.sheet.stem)
            if not used <= known and _meets(strip, rows, cols):
                self._keep(strip.sheet.stem, known | used)
                new = sorted(used - known)
                note = [strip.sheet.stem, series.name, *(day.isoformat() for day in new)]
                self._work.note({_NOTE: note})

    def tags(self, stem: str) -> dict[str, str]:
        """Tags that list the dates of a file's maps; none where it shows no date."""
        days = sorted(self._known(stem))
        return {"SEGX_SATELLITE_DATES": ",".join(map(str, days))} if days else {}

    def _known(self, stem: str) -> Days:
        return self._days.get(stem, frozenset())

    def _keep(self, stem: str, days: Days) -> None:
        """Keep the dates of a file; those of thousands, mostly the same, are there once."""
        self._days[stem] = self._kept.setdefault(days, days)


def _meets(strip: SheetStrip, rows: slice, cols: slice) -> bool:
    """Whether a window of the tile grid and a file's part of a strip share pixels."""
    return all(
        places[0] < window.stop and window.start <= places[-1]
        for places, window in ((strip.rows, rows), (strip.taken, cols))
    )
