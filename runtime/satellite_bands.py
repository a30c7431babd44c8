"""Find the bands of a Sentinel-2 file, by name where it has names, else by place.

Bands that are named may lie in any order, beside others. A band that is lacking is refused by name,
unless another one is declared to stand for it (`--satellite-substitute B8A=B08`).
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from .errors import BandError, ConfigError
from .raster import RasterInfo
from .satellite import BANDS

NO_SUBSTITUTES: Mapping[str, str] = MappingProxyType({})

_ONE_DIGIT = re.compile(r"B(\d)")


def parse_substitutes(text: str | None) -> Mapping[str, str]:
    """Read a value of `--satellite-substitute`: `LACKING=HELD`, with commas between several.

    Returns:
        The band that stands for each that is lacking.

    Raises:
        ConfigError: If it names no bands, a band for itself, or one that is itself lacking.
    """
    if text is None:
        return NO_SUBSTITUTES
    found: dict[str, str] = {}
    for item in text.split(","):
        lacking, _, held = (_name(part) for part in item.partition("="))
        if lacking not in BANDS or held not in BANDS or lacking in found:
            raise _wrong(text, item)
        found[lacking] = held
    for lacking, held in found.items():
        if held in found:
            raise _wrong(text, f"{lacking}={held}")
    return found


def _wrong(text: str, item: str) -> ConfigError:
    return ConfigError(
        f"--satellite-substitute {text} says {item!r}; expected LACKING=HELD such as B8A=B08, of "
        f"{', '.join(BANDS)}; correct --satellite-substitute"
    )


def band_order(info: RasterInfo, substitutes: Mapping[str, str]) -> tuple[int, ...]:
    """Find the ten bands in a file.

    Args:
        info: The file's header.
        substitutes: The band that stands for each that is lacking.

    Returns:
        Index of each of `BANDS` in the file, from 0.

    Raises:
        BandError: If one is lacking or there twice, or bands without names are not ten.
        ConfigError: If a band is there for which another one is to stand.
    """
    names = tuple(_name(name) for name in info.bands)
    if not all(names):
        if info.count != len(BANDS) or substitutes:
            raise BandError(
                f"{info.path} holds {info.count} unnamed bands; expected the {len(BANDS)} bands "
                f"{', '.join(BANDS)} in this order; name the bands of the file"
            )
        return tuple(range(len(BANDS)))
    for band in substitutes:
        if band in names:
            raise ConfigError(
                f"--satellite-substitute says what stands for {band}, and {info.path} holds it; "
                "expected bands that are lacking; leave it out"
            )
    wanted = [substitutes.get(band, band) for band in BANDS]
    wrong = [band for band in dict.fromkeys(wanted) if names.count(band) != 1]
    if wrong:
        raise BandError(
            f"{info.path} holds {', '.join(names)} and so {_found(names, wrong)}; expected each of "
            f"{', '.join(BANDS)} once; {_remedy(names, wrong)}"
        )
    return tuple(names.index(band) for band in wanted)


def _found(names: tuple[str, ...], wrong: list[str]) -> str:
    lacking = [band for band in wrong if band not in names]
    return f"lacks {', '.join(lacking)}" if lacking else f"{', '.join(wrong)} more than once"


def _remedy(names: tuple[str, ...], wrong: list[str]) -> str:
    held = [band for band in BANDS if band in names]
    if not held or any(band in names for band in wrong):
        return "rewrite the file"
    return (
        "give a series that holds it, or tell segx infer what stands for it, such as "
        f"--satellite-substitute {wrong[0]}={_nearest(wrong[0], held)}"
    )


def _nearest(band: str, held: list[str]) -> str:
    """The band that is held next to another one in wavelength."""
    return min(held, key=lambda other: abs(BANDS.index(other) - BANDS.index(band)))


def order_text(order: tuple[int, ...], substitutes: Mapping[str, str]) -> str | None:
    """Say which bands of a file are used; None where they are its own ten, in their order."""
    if order == tuple(range(len(BANDS))):
        return None
    numbers = ", ".join(str(index + 1) for index in order)
    stand = [f"{held} stands for {lacking}" for lacking, held in substitutes.items()]
    return "; ".join([f"bands {numbers} of the files are {', '.join(BANDS)}", *stand])


def _name(text: str) -> str:
    """Spell a band as Sentinel-2 products do: `b2` is B02."""
    name = text.strip().upper()
    match = _ONE_DIGIT.fullmatch(name)
    return f"B0{match[1]}" if match else name
