"""Open the Sentinel-2 series of one FLAIR-HUB patch: two GeoTIFFs, and dates from a GeoPackage."""

import datetime
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import BandError, DataError, SatelliteError
from ..grid import Grid
from ..products import OffsetOption, parse_day
from ..raster import RasterReader
from ..satellite import BANDS, SatelliteStack
from .flair import CRS
from .geopackage import PatchColumn

DATES = "GLOBAL_SENTINEL2_MTD_DATES.gpkg"

_DAY = re.compile(r"\d{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchStack:
    """All dates of a patch, and where they lie."""

    stack: SatelliteStack
    grid: Grid


def open_patch_series(
    data: Path,
    masks: Path,
    dates: PatchColumn | None,
    patch_id: str,
    *,
    root: Path,
    offset: OffsetOption = "auto",
) -> PatchStack:
    """Open the series of a patch.

    Args:
        data: Digital numbers, 10 bands of the first date, then 10 of the next.
        masks: Snow and cloud probability of the first date, then of the next.
        dates: Dates by patch; None where their file is missing.
        patch_id: The patch.
        root: Folder of the data set.
        offset: The radiometric offset; none is assumed unless one is given, since no product is
            named and a patch is too small to show dark ground.

    Raises:
        SatelliteError: If a file or the dates are missing, or they do not belong together.
        BandError: If a file does not hold whole dates.
        DataError: If a file is damaged.
    """
    if dates is None:
        raise SatelliteError(
            f"{root} has no {DATES}; expected the dates of the Sentinel-2 series; unpack "
            "GLOBAL_ALL_MTD there"
        )
    if not masks.is_file():
        raise SatelliteError(
            f"{root} has no snow and cloud masks for {patch_id}; expected {masks}; unpack "
            "SENTINEL2_MSK-SC of its domain"
        )
    with RasterReader(data, assume_crs=CRS) as reader:
        info = reader.info
        count, rest = divmod(info.count, len(BANDS))
        if rest or info.dtype not in ("uint16", "int16"):
            raise BandError(
                f"{data} has {info.count} {info.dtype} bands; expected {len(BANDS)} uint16 bands "
                f"({', '.join(BANDS)}) per date; give the series as published"
            )
        dn = reader.read_all().reshape(count, len(BANDS), *info.grid.shape)
    with RasterReader(masks, assume_crs=CRS) as reader:
        if reader.info.count != 2 * count or reader.info.grid.shape != info.grid.shape:
            raise SatelliteError(
                f"{masks} has {reader.info.count} bands of {reader.info.grid.shape} px for {count} "
                f"dates of {info.grid.shape} px; expected snow and cloud of each; give both files "
                "as published"
            )
        cover = reader.read_all().reshape(count, 2, *info.grid.shape)
    days = _days(dates, patch_id, count)
    given = 0 if offset == "auto" else int(offset)
    stack = SatelliteStack(dn=dn, cover=cover, dates=days, offsets=(given,) * count)
    return PatchStack(stack=stack, grid=info.grid)


def _days(dates: PatchColumn, patch_id: str, count: int) -> tuple[datetime.date, ...]:
    """Read the days of a patch's dates, in the order of their indices.

    Raises:
        SatelliteError: If there are none, or another number than of dates in the series.
    """
    text = dates.get(patch_id)
    if text is None:
        raise SatelliteError(
            f"{dates.path} has no dates for {patch_id}; expected one per date of its series; "
            "restore the file, or leave the patch out by a splits.json"
        )
    try:
        found = json.loads(str(text))
        listed = [str(found[index]) for index in sorted(found, key=int)]
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{dates.path} holds {str(text)[:40]!r} for {patch_id}; expected dates by index, such "
            'as {"0": "20190104"}; restore the file'
        ) from error
    if len(listed) != count or not all(map(_DAY.fullmatch, listed)):
        raise SatelliteError(
            f"{dates.path} has {len(listed)} dates such as '{(listed or [''])[0][:12]}' for "
            f"{patch_id}, whose series has {count}; expected one YYYYMMDD for each; restore both"
        )
    where = f"{dates.path}, {patch_id},"
    return tuple(parse_day(digits, where=where) for digits in listed)
