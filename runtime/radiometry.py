"""Find the radiometric offset of each date of a Sentinel-2 series.

From processing baseline 04.00 on, 1000 is added to the digital numbers of Level-2A products
(Sentinel-2 Products Specification Document, radiometric offset). The date does not tell: archives
were processed anew, so that old dates come with it too. In this order:

    given        --satellite-offset 0 or 1000, for every date
    metadata     a tag of the file: RADIOMETRIC_OFFSET, PROCESSING_BASELINE or PRODUCT_URI
    product      the processing baseline in the name of the product (N0400 and later)
    estimated    the dark pixels of the date against those of the other dates
    assumed      the date shows no dark pixels: as most of the other dates

The darkest ground of a date (shadow, water, forest) reflects a few percent in some band. Without
the offset its numbers are some hundreds, with it they are a thousand more.
"""

import datetime
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import SatelliteError
from .products import RADIOMETRIC_OFFSET, OffsetOption, offset_of_baseline, product_baseline
from .satellite_cells import PixelSource

OffsetOrigin = Literal["given", "metadata", "product", "estimated", "assumed"]
"""Where the offset of a date comes from."""

ASSUMED: OffsetOrigin = "assumed"

OFFSET_TAG = "RADIOMETRIC_OFFSET"
BASELINE_TAG = "PROCESSING_BASELINE"
PRODUCT_TAG = "PRODUCT_URI"
"""Tags of a GeoTIFF; the first that is there decides."""

DARK_PERCENT = 1.0
"""Share of the pixels, in percent, that are darker than the dark level."""
CERTAIN = 900.0
"""A dark level below this has no offset: reflectance would be below -0.01."""
MOST_ABOVE = 700.0
"""Dark ground reflects at most 0.07 more than what the offset alone comes to; else it is hidden."""
GROUND_PERCENT = 25.0
"""The ground is as dark as on this share of the dates, in percent, whose offset is settled; the
brighter ones may be covered."""
CLEAR_PERCENT = 50
"""Pixels of a cloud or snow probability below this are looked at, where there are some."""
CLEAR_SHARE = 0.1
"""Where a smaller share is clear, it is the edges of clouds: they prove no offset."""
LEAST_PIXELS = 256
"""Fewer may all be bright by chance: they prove no offset either."""
BOX = 64
"""Side of the boxes of pixels that are looked at."""
BOXES = 3
"""Boxes down and across, evenly spread over a series that is larger."""

_BASELINE = re.compile(r"N?(\d{2})\.?(\d{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """The radiometric offset of a date."""

    dn: int
    """0 or 1000 digital numbers."""
    origin: OffsetOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class DateOffset:
    """A date of a series with its radiometric offset, for reports."""

    day: datetime.date
    dn: int
    origin: OffsetOrigin


def tagged_offset(tags: Mapping[str, str], *, where: str) -> Offset | None:
    """Read the offset from the tags of a file; None if they do not say.

    Raises:
        SatelliteError: If a tag cannot be understood.
    """
    if OFFSET_TAG in tags:
        text = tags[OFFSET_TAG].strip()
        if text not in get_args(OffsetOption)[1:]:
            raise SatelliteError(
                f"{where} has the tag {OFFSET_TAG}={text[:20]!r}; expected 0 or "
                f"{RADIOMETRIC_OFFSET}; mend the tag, or take it off to have the offset estimated"
            )
        return Offset(dn=int(text), origin="metadata")
    if BASELINE_TAG in tags:
        found = _BASELINE.fullmatch(tags[BASELINE_TAG].strip())
        if found is None:
            raise SatelliteError(
                f"{where} has the tag {BASELINE_TAG}={tags[BASELINE_TAG][:20]!r}; expected one "
                "such as 05.09; mend the tag, or take it off to have the offset estimated"
            )
        baseline = int("".join(found.groups()))
        return Offset(dn=offset_of_baseline(baseline), origin="metadata")
    named = product_baseline(tags.get(PRODUCT_TAG, ""))
    return None if named is None else Offset(dn=offset_of_baseline(named), origin="metadata")


def product_offset(dn: int | None) -> Offset | None:
    """Give the offset that a product name says; None if it says nothing."""
    return None if dn is None else Offset(dn=dn, origin="product")


def settle_offsets(
    named: Sequence[Offset | None],
    option: OffsetOption,
    dark: Callable[[], NDArray[np.float64]],
) -> tuple[Offset, ...]:
    """Settle the offset of every date of a series.

    Args:
        named: What metadata and product names say of each date; None where they say nothing.
        option: `auto`, or the offset of every date.
        dark: Gives the dark level of every date, shape (dates,); asked only where it is needed.
    """
    if option != "auto":
        return (Offset(dn=int(option), origin="given"),) * len(named)
    known = [item for item in named if item is not None]
    if len(known) == len(named):
        return tuple(known)
    levels = dark()
    found = _estimate([None if item is None else item.dn for item in named], levels)
    judged = Counter(dn for dn in found if dn is not None)
    usual = RADIOMETRIC_OFFSET if judged[RADIOMETRIC_OFFSET] > judged[0] else 0
    return tuple(
        item
        or (Offset(dn=usual, origin=ASSUMED) if dn is None else Offset(dn=dn, origin="estimated"))
        for item, dn in zip(named, found, strict=True)
    )


def _estimate(known: Sequence[int | None], levels: NDArray[np.float64]) -> list[int | None]:
    """Tell the offset of each date by its dark level; None for a date that shows no dark ground."""
    found = [
        0 if dn is None and level < CERTAIN else dn
        for dn, level in zip(known, levels.tolist(), strict=True)
    ]
    grounds = [
        level - dn
        for dn, level in zip(found, levels.tolist(), strict=True)
        if dn is not None and math.isfinite(level)
    ]
    ground = max(float(np.percentile(grounds, GROUND_PERCENT)), 0.0) if grounds else 0.0
    for place, level in enumerate(levels.tolist()):
        if found[place] is None and level <= ground + RADIOMETRIC_OFFSET + MOST_ABOVE:
            jump = level - ground
            found[place] = RADIOMETRIC_OFFSET if jump > RADIOMETRIC_OFFSET / 2 else 0
    return found


def dark_levels(source: PixelSource) -> NDArray[np.float64]:
    """Measure the dark level of every date: what one percent of its pixels stays below in a band.

    It is that of the darkest band. Clouds, haze and snow are bright in some bands only, so that a
    date must be covered all over to hide it.

    Args:
        source: The series; up to nine boxes of 64 x 64 px are read.

    Returns:
        Digital numbers as stored, shape (dates,); NaN for a date that shows too little.

    Raises:
        DataError: If a file is damaged.
    """
    boxes = [
        source.read(rows, cols)
        for rows in _boxes(source.shape[0])
        for cols in _boxes(source.shape[1])
    ]
    levels = np.full(len(source.days), np.nan)
    for place in range(len(levels)):
        pixels = np.concatenate([box.dn[:, :, place][box.filled[:, :, place]] for box in boxes])
        cover = np.concatenate([box.cover[:, :, place][box.filled[:, :, place]] for box in boxes])
        if not len(pixels):
            continue
        clear = cover < CLEAR_PERCENT
        shown = clear.mean() >= CLEAR_SHARE and clear.sum() >= LEAST_PIXELS
        seen = pixels[clear] if shown else pixels
        level = float(np.percentile(seen, DARK_PERCENT, axis=0).min())
        if shown or level < CERTAIN:
            levels[place] = level
    return levels


def _boxes(size: int) -> list[slice]:
    """Runs of pixels that are looked at: all of a small side, else some, evenly spread."""
    if size <= BOXES * BOX:
        return [slice(0, size)]
    starts = np.linspace(0, size - BOX, BOXES).astype(int) // BOX * BOX
    return [slice(int(start), int(start) + BOX) for start in starts]


def dated(
    days: Sequence[datetime.date], offsets: Sequence[int], origins: Sequence[OffsetOrigin]
) -> tuple[DateOffset, ...]:
    """Bring days and offsets together; without origins they are assumed."""
    each = zip(days, offsets, origins or (ASSUMED,) * len(days), strict=True)
    return tuple(DateOffset(day=day, dn=dn, origin=origin) for day, dn, origin in each)
