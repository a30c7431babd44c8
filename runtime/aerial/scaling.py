"""Turn aerial imagery of 16 bits into the uint8 that a model takes.

    --scale LOW,HIGH      these stored values become 0 and 255, in every band
    --scale LOW%,HIGH%    as above, but percentiles of all files of the run, band by band
    neither               the rule of the model (`aerial.value_scaling` of the manifest)

One rule holds for all tiles of a run, so that neighbours fit together and a run that goes on has
the same pixels. Without a rule such imagery is refused.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BandError, ConfigError, DataError
from ..manifest import AerialSpec
from ..raster import RasterInfo
from .elevation import ELEVATION
from .mosaic import AerialFile

SCALABLE = ("uint16", "int16")
"""Types of stored values that a rule can be applied to."""

_WINDOW = 64
"""Side of the windows that percentiles are measured on, in pixels."""
_MOST_WINDOWS = 4096
_WINDOWS_PER_SIDE = 8
"""Most windows along each side of a file."""
_BINS = 2**16

Measured = Sequence[tuple[AerialFile, "tuple[int, ...] | None"]]
"""Files, and the bands of each in the model's order; None for all as they are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Which stored values become 0 and 255; one value per band that is read from the files."""

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    text: str
    """The rule and where it comes from, for report and tags."""

    def apply(self, pixels: NDArray[np.integer], out: NDArray[np.uint8]) -> None:
        """Scale linearly, round half up, and cut off what lies outside.

        Args:
            pixels: Stored values, shape (bands, height, width).
            out: Where the result goes, of the same shape.
        """
        for band, (low, high) in enumerate(zip(self.minimum, self.maximum, strict=True)):
            values = pixels[band].astype(np.float32)
            values -= np.float32(low)
            values *= np.float32(255.0 / (high - low))
            values += np.float32(0.5)
            out[band] = values.clip(0, 255)


def choose_scaling(files: Measured, wanted: str | None, spec: AerialSpec) -> Scaling | None:
    """Find the rule for the files of a run; None where they are uint8 already.

    Args:
        files: All files of the run that are not read as they are.
        wanted: Value of `--scale`.
        spec: What the model takes.

    Raises:
        BandError: If a file is of another type, or nothing says how it is scaled.
        ConfigError: If `--scale` says nothing, or something that is not needed.
        DataError: If percentiles are asked for, and the files hold no data.
    """
    infos = [file.info for file, _ in files]
    scaled = [info for info in infos if info.dtype != spec.dtype]
    if not scaled:
        if wanted is not None:
            raise ConfigError(
                f"--scale {wanted} is given, and {infos[0].path} is {spec.dtype}; expected "
                "imagery of 16 bits; leave --scale out"
            )
        return None
    if len(scaled) < len(infos):
        other = next(info for info in infos if info.dtype == spec.dtype)
        raise BandError(
            f"{scaled[0].path} is {scaled[0].dtype} and {other.path} is {spec.dtype}; expected one "
            "type in a run; infer them into different folders"
        )
    names = _names(files[0], spec)
    _check_types(scaled, names, wanted, spec)
    if wanted is not None:
        return _asked_for(wanted, files, names)
    rule = spec.value_scaling
    if rule is None:
        raise BandError(_without_rule(scaled[0], spec))
    count = len(names)
    return _scaling(rule.minimum[:count], rule.maximum[:count], names, "by the bundle's rule")


def _names(file: tuple[AerialFile, "tuple[int, ...] | None"], spec: AerialSpec) -> tuple[str, ...]:
    """Names of the bands that are read from the files."""
    aerial, bands = file
    return spec.bands[: aerial.info.count if bands is None else len(bands)]


def _check_types(
    infos: Sequence[RasterInfo], names: Sequence[str], wanted: str | None, spec: AerialSpec
) -> None:
    for info in infos:
        if info.dtype not in SCALABLE:
            raise BandError(
                f"{info.path} is {info.dtype}; expected {spec.dtype}, or {' or '.join(SCALABLE)} "
                "with --scale; convert it first"
            )
    if ELEVATION in names and wanted is not None:
        raise BandError(
            f"{infos[0].path} is {infos[0].dtype} and holds {ELEVATION}, which --scale does not "
            "know the unit of; expected heights from elsewhere; pass --elevation FILE or "
            "--elevation zero, and leave that band out of --bands"
        )


def _without_rule(info: RasterInfo, spec: AerialSpec) -> str:
    return (
        f"{info.path} is {info.dtype}; expected {spec.dtype}; say which values become 0 and 255: "
        "--scale LOW,HIGH, or --scale 2%,98% for percentiles of all files"
    )


def _asked_for(wanted: str, files: Measured, names: Sequence[str]) -> Scaling:
    low, high, percent = parse_scale(wanted)
    if not percent:
        count = len(names)
        return _scaling((low,) * count, (high,) * count, names, "by --scale")
    found = _percentiles(files, low, high, len(names))
    origin = f"{low:g}% to {high:g}% of {len(files)} file(s)"
    return _scaling(found[0], found[1], names, origin)


def parse_scale(wanted: str) -> tuple[float, float, bool]:
    """Read a value of `--scale`: low, high, and whether they are percentiles.

    Raises:
        ConfigError: If it is neither `LOW,HIGH` nor `LOW%,HIGH%`.
    """
    items = [item.strip() for item in wanted.split(",")]
    percent = all(item.endswith("%") for item in items)
    low = high = math.nan
    if len(items) == 2:
        with suppress(ValueError):
            low, high = (float(item.removesuffix("%") if percent else item) for item in items)
    outside = percent and not (low >= 0 and high <= 100)
    if not (-math.inf < low < high < math.inf) or outside:
        raise ConfigError(
            f"--scale is {wanted!r}; expected LOW,HIGH such as 0,4095, or percentiles such as "
            "2%,98%; correct --scale"
        )
    return low, high, percent


def _scaling(
    minimum: Sequence[float], maximum: Sequence[float], names: Sequence[str], origin: str
) -> Scaling:
    pairs = list(zip(minimum, maximum, strict=True))
    if len(set(pairs)) == 1:
        ranges = f"{pairs[0][0]:g} to {pairs[0][1]:g}"
    else:
        ranges = ", ".join(
            f"{name} {low:g} to {high:g}" for name, (low, high) in zip(names, pairs, strict=True)
        )
    return Scaling(
        minimum=tuple(minimum),
        maximum=tuple(maximum),
        text=f"{ranges} become 0 to 255 ({origin})",
    )


def _percentiles(
    files: Measured, low: float, high: float, bands: int
) -> tuple[list[float], list[float]]:
    """Percentiles of each band, over windows that are spread evenly over all files."""
    counts = np.zeros((bands, _BINS), dtype=np.int64)
    for file, chosen in files:
        _count(file, chosen, _windows_per_side(len(files)), counts)
    if not counts.any():
        raise DataError(
            f"{files[0][0].path} and {len(files) - 1} more hold no data where percentiles were "
            "measured; expected imagery; say the values: --scale LOW,HIGH"
        )
    first = float(np.iinfo(files[0][0].info.dtype).min)
    lows = [first + _percentile(band, low) for band in counts]
    highs = [first + _percentile(band, high) for band in counts]
    # A band of one value has no range, and becomes 0.
    return lows, [max(top, bottom + 1) for bottom, top in zip(lows, highs, strict=True)]


def _windows_per_side(files: int) -> int:
    return max(1, min(_WINDOWS_PER_SIDE, math.isqrt(_MOST_WINDOWS // files)))


def _count(
    file: AerialFile, bands: tuple[int, ...] | None, per_side: int, counts: NDArray[np.int64]
) -> None:
    """Add the values of some windows of a file; a damaged one is passed over, as in a map."""
    height, width = (min(_WINDOW, size) for size in file.info.grid.shape)
    rows, cols = (_starts(size, per_side) for size in file.info.grid.shape)
    first = int(np.iinfo(file.info.dtype).min)
    with file.open() as reader:
        for row in rows:
            for col in cols:
                with suppress(DataError):
                    pixels, valid = reader.read_valid(row, col, height, width, bands=bands)
                    shown = slice(None) if valid is None else valid
                    for band, plane in enumerate(pixels):
                        values = plane[shown].ravel().astype(np.int64) - first
                        counts[band] += np.bincount(values, minlength=_BINS)


def _starts(size: int, most: int) -> list[int]:
    """Where windows begin that lie in the middle of equal parts of an axis."""
    parts = min(most, -(-size // _WINDOW))
    middles = (np.arange(parts) + 0.5) * size / parts
    starts = np.clip(middles - _WINDOW / 2, 0, max(size - _WINDOW, 0))
    return [int(start) for start in starts]


def _percentile(counts: NDArray[np.int64], percent: float) -> int:
    """Least value that so many percent of the values do not exceed."""
    total = counts.cumsum()
    return int(np.searchsorted(total, max(1.0, total[-1] * percent / 100.0)))
