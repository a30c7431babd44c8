"""Read what the names of Sentinel-2 products and files say.

A product name such as `S2A_MSIL2A_20210415T105021_N0300_R051_T31UDP_20210415T135921` holds the day
of acquisition and the processing baseline (N0300). From baseline 04.00 on, digital numbers carry an
offset of 1000 (Sentinel-2 Products Specification Document, radiometric offset).
"""

import datetime
import re
from pathlib import Path
from typing import Literal

from .errors import SatelliteError

OffsetOption = Literal["auto", "0", "1000"]
"""Whether the radiometric offset of a series is looked for, or what it is on every date."""

OFFSET_FROM_BASELINE = 400
RADIOMETRIC_OFFSET = 1000
OWN_PROCESSING = 9999
"""Baseline in the names of what users processed themselves, which says nothing."""

_PRODUCT = re.compile(r"S2[A-D]_MSIL[12][AC]_(\d{8})T\d{6}_N(\d{4})_")
_SCENE_FILE = re.compile(r"S2_(\d{8})\.tiff?", re.IGNORECASE)
_DAY = re.compile(r"(?<!\d)(20\d{2})(\d{2})(\d{2})(?!\d)")


def parse_day(digits: str, *, where: str) -> datetime.date:
    """Read a day written as YYYYMMDD.

    Raises:
        SatelliteError: If the digits are not a day.
    """
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError as error:
        raise SatelliteError(
            f"{where} names the day '{digits}', which does not exist; expected YYYYMMDD; rename it"
        ) from error


def product_baseline(name: str) -> int | None:
    """Read the processing baseline from a product name, such as 509 from N0509; None without."""
    product = _PRODUCT.search(name)
    baseline = None if product is None else int(product.group(2))
    return None if baseline == OWN_PROCESSING else baseline


def offset_of_baseline(baseline: int) -> int:
    """Give the radiometric offset of a processing baseline such as 509, for 05.09."""
    return RADIOMETRIC_OFFSET if baseline >= OFFSET_FROM_BASELINE else 0


def parse_product(line: str, *, where: str) -> tuple[datetime.date, int | None]:
    """Read the day of acquisition and the radiometric offset from a product name.

    Args:
        line: One line of a FLAIR #2 `products.txt`.
        where: Name of the file for messages.

    Returns:
        The day, and the offset in digital numbers; None where the name holds no baseline.

    Raises:
        SatelliteError: If the line holds no day.
    """
    product = _PRODUCT.search(line)
    if product:
        day, baseline = parse_day(product.group(1), where=where), product_baseline(line)
        return day, None if baseline is None else offset_of_baseline(baseline)
    digits = _DAY.search(line)
    if digits:
        return parse_day("".join(digits.groups()), where=where), None
    raise SatelliteError(
        f"{where} has the line {line[:60]!r}; expected a Sentinel-2 product name with its date "
        "(S2A_MSIL2A_YYYYMMDDT...); restore the file"
    )


def parse_products(
    text: str, *, where: str
) -> tuple[tuple[datetime.date, ...], tuple[int | None, ...]]:
    """Read the days and radiometric offsets of a FLAIR #2 `products.txt`, in file order.

    Raises:
        SatelliteError: If a line holds no day, or the file is empty.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise SatelliteError(f"{where} is empty; expected one product name per date; restore it")
    days, offsets = zip(*(parse_product(line, where=where) for line in lines), strict=True)
    return days, offsets


def scene_file_day(path: Path) -> datetime.date | None:
    """Read the day from a file named `S2_YYYYMMDD.tif`; None for a file of another name."""
    match = _SCENE_FILE.fullmatch(path.name)
    return parse_day(match.group(1), where=str(path)) if match else None
