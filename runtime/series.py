"""Open the Sentinel-2 files of one FLAIR #2 area.

    SEN2_*_data.npy       digital numbers, (dates, 10, rows, cols)
    SEN2_*_masks.npy      snow and cloud probability 0..100, (dates, 2, rows, cols)
    SEN2_*_products.txt   one product name per date, in the same order

Reference: Garioud et al. 2023, FLAIR #2, arXiv 2310.13336.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .errors import BandError, SatelliteError, brief
from .files import read_text
from .numpy_files import UNREADABLE, map_array
from .products import OffsetOption, parse_products
from .radiometry import dark_levels, product_offset, settle_offsets
from .satellite import BANDS, SatelliteStack

_ANY_ZONE = re.compile(r"Z\d+_")


def open_series(folder: Path, *, zone: str, offset: OffsetOption = "auto") -> SatelliteStack:
    """Open the SEN2 files of one area, found by suffix; the arrays stay on disk until used.

    Args:
        folder: Where the files lie.
        zone: Zone that the files name, if they name one.
        offset: The radiometric offset, or how it is found.

    Raises:
        SatelliteError: If a file is missing or damaged, or they do not belong together.
        BandError: If the series does not hold the ten bands.
    """
    data = _load(_only(folder, "data.npy", zone))
    cover = _load(_only(folder, "masks.npy", zone))
    products = _only(folder, "products.txt", zone)
    expected = "one product name per date; restore the file"
    text = read_text(products, expected=expected, error=SatelliteError)
    dates, named = parse_products(text, where=str(products))
    if data.ndim != 4 or data.shape[1] != len(BANDS):
        raise BandError(
            f"{folder} holds a series of shape {data.shape}; expected (dates, {len(BANDS)}, rows, "
            f"cols) with the bands {', '.join(BANDS)}; give the series as published"
        )
    try:
        stack = SatelliteStack(dn=data, cover=cover, dates=dates, offsets=(0,) * len(dates))
    except SatelliteError as error:
        raise SatelliteError(f"{folder}: {error}") from error
    said = [product_offset(dn) for dn in named]
    offsets = settle_offsets(said, offset, partial(dark_levels, stack))
    return replace(
        stack,
        offsets=tuple(item.dn for item in offsets),
        origins=tuple(item.origin for item in offsets),
    )


def holds_series(folder: Path, *, zone: str) -> bool:
    """Tell whether a folder holds the series of a zone."""
    return bool(_found(folder, "data.npy", zone))


def series_files(folder: Path, *, zone: str) -> tuple[Path, ...]:
    """Files of the series of a zone in a folder."""
    suffixes = ("data.npy", "masks.npy", "products.txt")
    return tuple(path for suffix in suffixes for path in _found(folder, suffix, zone))


def _found(folder: Path, suffix: str, zone: str) -> list[Path]:
    """Files of a kind that name this zone, or none; a folder may hold those of several zones."""
    this = re.compile(rf"{re.escape(zone)}(?![A-Za-z0-9])")
    return sorted(
        path
        for path in folder.glob(f"*{suffix}")
        if this.search(path.name) or not _ANY_ZONE.search(path.name)
    )


def _only(folder: Path, suffix: str, zone: str) -> Path:
    found = _found(folder, suffix, zone)
    if len(found) != 1:
        raise SatelliteError(
            f"{folder} holds {len(found)} files *{suffix} for the zone '{zone}'; expected one; "
            "restore the Sentinel-2 series of this area"
        )
    return found[0]


def _load(path: Path) -> NDArray[Any]:
    try:
        return map_array(path)
    except UNREADABLE as error:
        raise SatelliteError(
            f"{path} cannot be read as an array ({brief(error)}); expected a NumPy file; restore it"
        ) from error
