"""Names of channels that are made of Sentinel-2 bands, and the bands that each needs.

    B08     the band itself
    B08E    the band stretched from its 2nd to its 98th percentile, cut off at 0 and 1
    NDVI    (B08 - B04) / (B08 + B04)
    NDWI    (B03 - B08) / (B03 + B08), of McFeeters: open water; not Gao's, which takes B11

Reference: Berka et al. 2025 (DIFD), arXiv 2503.22909, names indices and enhanced bands; what it
does to enhance a band it leaves open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runtime.satellite import BANDS

INDICES = {"NDVI": ("B08", "B04"), "NDWI": ("B03", "B08")}
"""Normalised differences: of the first band and the second."""

ENHANCED = "E"
"""Ending of the name of an enhanced band."""

LOW_PERCENT, HIGH_PERCENT = 2.0, 98.0
"""Percentiles of an enhanced band that become 0 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel of a satellite branch."""

    name: str
    kind: Literal["band", "enhanced", "index"]
    bands: tuple[str, ...]
    """What it is made of."""


def channel_of(name: str) -> Channel:
    """Say what a name stands for.

    Raises:
        ValueError: If there is no such channel.
    """
    if name in BANDS:
        return Channel(name=name, kind="band", bands=(name,))
    if name in INDICES:
        return Channel(name=name, kind="index", bands=INDICES[name])
    band = name.removesuffix(ENHANCED)
    if band != name and band in BANDS:
        return Channel(name=name, kind="enhanced", bands=(band,))
    raise ValueError(
        f"there is no satellite channel '{name}'; use a band ({', '.join(BANDS)}), an enhanced one "
        f"(such as {BANDS[0]}{ENHANCED}) or {' or '.join(INDICES)}"
    )


def check_channels(names: Sequence[str], bands: Sequence[str]) -> None:
    """Refuse channels that are not known, come twice, or need a band that is not there.

    Args:
        names: Channels.
        bands: Bands that they can be made of.

    Raises:
        ValueError: Saying what is wrong, and what to do about it.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"satellite_channels is {list(names)}; give at least one channel, each once"
        )
    for name in names:
        missing = [band for band in channel_of(name).bands if band not in bands]
        if missing:
            raise ValueError(
                f"satellite channel {name} is made of {', '.join(missing)}, and "
                f"input.satellite_bands has {', '.join(bands)}; add {', '.join(missing)} there"
            )
