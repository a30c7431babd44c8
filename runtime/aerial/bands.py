"""Choose the bands of an aerial file that a model takes, in the model's order.

A file's own order must be the model's. Any other is refused with the `--bands` value that mends it,
never put right silently: band names are often wrong.
"""

from collections.abc import Iterable, Sequence

from ..errors import BandError, ConfigError
from ..manifest import AerialSpec
from ..raster import RasterInfo
from ..scene import are_names
from .elevation import ELEVATION

_FLAGGED_BY_DEFAULT = 4
"""A file of as many bands has its last one flagged as alpha by GDAL itself."""


def choose_bands(
    info: RasterInfo, wanted: str | None, spec: AerialSpec, *, elevation: bool = False
) -> tuple[int, ...] | None:
    """Find which bands of a file the model takes.

    Args:
        info: The file's header.
        wanted: Value of `--bands`: 1-based numbers or names of the file's bands, with commas
            between, in the model's order. None: the file's own order.
        spec: What the model takes.
        elevation: Whether the model's last band, elevation, comes from elsewhere (`--elevation`).

    Returns:
        Indices of bands, from 0, in the model's order; None: all bands as they are stored.

    Raises:
        BandError: If number or order of the bands differ, or a wanted one is not there.
        ConfigError: If `--bands` or `--elevation` does not go with the model.
    """
    expected = _expected(spec, elevation)
    if wanted is not None:
        chosen = _parse(wanted, info, expected)
    else:
        chosen = _data_bands(info, expected)
        _check_order(info, chosen, expected, elevation)
    # An alpha band that is taken is named, else it would hide pixels.
    whole = info.alpha is None and chosen == tuple(range(info.count))
    return None if whole else chosen


def choose_for_all(
    infos: Iterable[RasterInfo], wanted: str | None, spec: AerialSpec, *, elevation: bool = False
) -> tuple[int, ...] | None:
    """Find which bands of the files of a mosaic the model takes; see `choose_bands`.

    Raises:
        BandError: If a file does not fit, or not as the others do.
        ConfigError: If `--bands` or `--elevation` does not go with the model.
    """
    found: dict[tuple[int, ...] | None, RasterInfo] = {}
    kinds: dict[tuple[object, ...], RasterInfo] = {}
    for info in infos:
        kinds.setdefault((info.count, info.bands, info.alpha), info)
    for info in kinds.values():
        bands = choose_bands(info, wanted, spec, elevation=elevation)
        if bands is None and wanted is not None:
            bands = tuple(range(info.count))  # not the same as bands that another file names
        found[bands] = info
    several = [bands for bands in found if bands is not None]
    if len(several) > 1:
        one, other = (found[bands] for bands in several[:2])
        raise BandError(
            f"{one.path} and {other.path} touch and hold the model's bands at other places; "
            "expected the same in all files of a mosaic; rewrite one, or infer them from different "
            "folders"
        )
    return several[0] if several else None


def bands_text(bands: Sequence[int] | None, spec: AerialSpec) -> str | None:
    """Say which bands of a file are which of the model's; None where they are the file's own."""
    if bands is None or list(bands) == list(range(len(bands))):
        return None
    numbers = ", ".join(str(index + 1) for index in bands)
    return f"bands {numbers} of the file are {', '.join(spec.bands[: len(bands)])}"


def _expected(spec: AerialSpec, elevation: bool) -> tuple[str, ...]:
    """Names of the bands that the file itself must hold, in lower case."""
    names = tuple(name.lower() for name in spec.bands)
    if not elevation:
        return names
    if names[-1] != ELEVATION:
        raise ConfigError(
            f"--elevation is given for a model of {', '.join(names)}; expected one whose last band "
            f"is {ELEVATION}; leave --elevation out"
        )
    return names[:-1]


def _parse(wanted: str, info: RasterInfo, expected: tuple[str, ...]) -> tuple[int, ...]:
    items = [item.strip() for item in wanted.split(",")]
    found = tuple(_index(item, info) for item in items)
    if len(found) != len(expected):
        remedy = "correct --bands"
        if len(found) + 1 == len(expected) and expected[-1] == ELEVATION:
            remedy = "pass --elevation FILE or --elevation zero too, or name that band as well"
        raise ConfigError(
            f"--bands {wanted} names {len(found)}; expected {len(expected)}, in this order: "
            f"{', '.join(expected)}; {remedy}"
        )
    if len(set(found)) != len(found):
        raise ConfigError(
            f"--bands {wanted} names a band of {info.path} twice; expected another band for each "
            f"of {', '.join(expected)}; correct --bands"
        )
    return found


def _index(item: str, info: RasterInfo) -> int:
    names = _names(info)
    if item.isdecimal() and 1 <= int(item) <= info.count:
        return int(item) - 1
    if item and names.count(item.lower()) == 1:
        return names.index(item.lower())
    raise BandError(
        f"{info.path} holds {_shown(names)} and no single band '{item}'; expected 1 to "
        f"{info.count} or the name of one band; correct --bands"
    )


def _data_bands(info: RasterInfo, expected: tuple[str, ...]) -> tuple[int, ...]:
    """Bands that are not the mask of the others.

    GDAL flags the fourth of four bands as alpha unless it is told otherwise: where the model takes
    four, that band is data. Any other was meant to be a mask.
    """
    lacking = len(expected) - (expected[-1] == ELEVATION)
    flagged = info.count == _FLAGGED_BY_DEFAULT and info.count in (len(expected), lacking)
    return tuple(i for i in range(info.count) if flagged or i != info.alpha)


def _check_order(
    info: RasterInfo, held: tuple[int, ...], expected: tuple[str, ...], elevation: bool
) -> None:
    names = tuple(info.bands[index].lower() for index in held)
    if len(names) == len(expected) and not _says_otherwise(names, expected):
        return
    if elevation and ELEVATION in names:
        remedy = f"leave --elevation out, or {_mended_by(_names(info), expected)}"
    elif not elevation and _lacks_elevation(names, expected):
        remedy = _without_elevation(names, _names(info), expected[:-1])
    else:
        remedy = _mended_by(_names(info), expected)
    raise BandError(
        f"{info.path} holds {_shown(names)}; expected {len(expected)}: {', '.join(expected)}, in "
        f"this order; {remedy}"
    )


def _lacks_elevation(held: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    if expected[-1] != ELEVATION or ELEVATION in held:
        return False
    return are_names(held) or len(held) == len(expected) - 1


def _without_elevation(held: tuple[str, ...], names: tuple[str, ...], rest: tuple[str, ...]) -> str:
    """What to do about a file that lacks elevation, and perhaps more."""
    added = "pass --elevation FILE or --elevation zero"
    if len(held) == len(rest) and not _says_otherwise(held, rest):
        return added
    if len(names) < len(rest):
        return _mended_by(names, rest)
    return f"{added}, and {_mended_by(names, rest)}"


def _mended_by(names: tuple[str, ...], expected: tuple[str, ...]) -> str:
    """What to do about bands in another order or without names."""
    if len(names) < len(expected):
        return "give a file that holds them all"
    if any(names.count(name) != 1 for name in expected):
        return "name the bands to take with --bands, as numbers in this order"
    return "pass --bands " + ",".join(str(names.index(name) + 1) for name in expected)


def _says_otherwise(names: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    """Whether names tell of another order; those of a file that names few bands count too."""
    if are_names(names):
        return names != expected
    return any(
        name in expected and name != band for name, band in zip(names, expected, strict=True)
    )


def _names(info: RasterInfo) -> tuple[str, ...]:
    return tuple(name.lower() for name in info.bands)


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names) if all(names) else f"{len(names)} unnamed bands"
