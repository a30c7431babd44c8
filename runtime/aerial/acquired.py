"""When an aerial image was taken, and how far that is from the Sentinel-2 dates.

In this order: a tag that says when the image was acquired, the one date in the file name, and the
TIFF's own date, which many programs set to the day on which they wrote the file.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from ..raster import RasterInfo

LONG_GAP_DAYS = 365
"""Aerial image and series further apart show different ground."""

FIRST_YEAR = 1919
"""Digits that give an earlier year are no date of an aerial survey."""

_TAGS = (
    "ACQUISITION_DATE",
    "ACQUISITIONDATE",
    "ACQUISITION_DATETIME",
    "ACQUISITIONDATETIME",
    "DATE_ACQUIRED",
    "EXIF_DATETIMEORIGINAL",
)
_TIFF_TAG = "TIFFTAG_DATETIME"

_IN_TAG = re.compile(r"\s*(\d{4})([-:/.]?)(\d{2})\2(\d{2})(?!\d)")
_IN_NAME = re.compile(r"(?<!\d)(\d{4})([-_]?)(\d{2})\2(\d{2})(?!\d)")


def acquired(path: Path, info: RasterInfo) -> date | None:
    """Find the day on which an aerial image was taken.

    Args:
        path: The file; its name may hold one date, as YYYYMMDD, YYYY-MM-DD or YYYY_MM_DD.
        info: Its header; tags hold dates as ISO 8601 or in TIFF's form, `YYYY:MM:DD HH:MM:SS`.

    Returns:
        The day; None if nothing says it, or the file name holds several dates.
    """
    tags = {name.upper(): text for name, text in info.tags.items()}
    for name in _TAGS:
        found = _tagged(tags.get(name, ""))
        if found is not None:
            return found
    named = set(_dates_in(path.stem))
    return named.pop() if len(named) == 1 else _tagged(tags.get(_TIFF_TAG, ""))


def date_gap_days(aerial: date | None, used: Iterable[date]) -> int | None:
    """Days from an aerial image to the nearest of the dates used.

    Returns:
        Days, 0 or more; None where the aerial date is not known or no date was used.
    """
    if aerial is None:
        return None
    return min((abs((day - aerial).days) for day in used), default=None)


def _tagged(text: str) -> date | None:
    match = _IN_TAG.match(text)
    return None if match is None else _plausible(match)


def _dates_in(name: str) -> Iterator[date]:
    for match in _IN_NAME.finditer(name):
        found = _plausible(match)
        if found is not None:
            yield found


def _plausible(match: re.Match[str]) -> date | None:
    try:
        found = date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None
    return found if found.year >= FIRST_YEAR and found <= date.today() else None
