"""Count the dates of Sentinel-2 series by month, and how much of the ground they show."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..satellite import MONTHS, DatePolicy
from ..satellite_cells import PixelSource

STRIP_ROWS = 128
"""Rows of a series that are looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DateCoverage:
    """Dates of all series of a data set."""

    series: int
    dates: tuple[int, int]
    """Fewest and most dates of a series."""
    first: datetime.date
    last: datetime.date
    per_month: tuple[int, ...]
    """Dates of all series in each calendar month, shape (12,)."""
    clear_share: tuple[float, ...]
    """Mean share of the ground that a date of the month shows, 0 to 1; NaN without a date."""
    offset_dates: int
    """Dates whose digital numbers hold the offset of processing baseline 04.00; it is taken off."""


def cover_dates(sources: Iterable[PixelSource]) -> DateCoverage | None:
    """Count the dates of series; None if there is no series.

    Args:
        sources: Opened series, each once.

    Raises:
        DataError: If a file is damaged.
    """
    counts: list[int] = []
    days: list[datetime.date] = []
    clear: list[float] = []
    offsets = 0
    for source in sources:
        counts.append(len(source.days))
        days.extend(source.days)
        clear.extend(_clear_shares(source))
        offsets += sum(offset != 0 for offset in source.offsets)
    if not days:
        return None
    months = np.array([day.month for day in days])
    shares = [
        [share for share, month in zip(clear, months, strict=True) if month == m + 1]
        for m in range(MONTHS)
    ]
    return DateCoverage(
        series=len(counts),
        dates=(min(counts), max(counts)),
        first=min(days),
        last=max(days),
        per_month=tuple(int((months == month + 1).sum()) for month in range(MONTHS)),
        clear_share=tuple(float(np.mean(of)) if of else float("nan") for of in shares),
        offset_dates=offsets,
    )


def _clear_shares(source: PixelSource) -> list[float]:
    """Share of a series' pixels that each date shows, by the limit of the default policy."""
    limit = DatePolicy().cloud_probability
    rows, cols = source.shape
    seen = np.zeros(len(source.days), dtype=np.int64)
    for start in range(0, rows, STRIP_ROWS):
        pixels = source.read(slice(start, min(start + STRIP_ROWS, rows)), slice(0, cols))
        seen += np.count_nonzero((pixels.cover < limit) & pixels.filled, axis=(0, 1))
    return [float(count) / (rows * cols) for count in seen]
