"""What the rasters of the output hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..classes import LandCoverClass

NODATA = 255
"""Value of a pixel without data, in every map."""
BLOCK = 512
"""Side of a block of a finished map; maps are written in rows of this height."""

OverviewRule = Literal["mode", "average"]
"""How four pixels become one: the most frequent, the upper left, the mean."""

GOOD, COVERED_DATES, AERIAL_ONLY, DAMAGED = range(4)
"""Values of the quality map."""
QUALITY = (
    LandCoverClass(name="all inputs good", color="#2c7bb6"),
    LandCoverClass(name="satellite from covered dates only", color="#ffffbf"),
    LandCoverClass(name="aerial only", color="#fdae61"),
    LandCoverClass(name="aerial damaged", color="#d7191c"),
)
"""Names and colours of the quality map's values."""

ONE_TILE, AGREE, DIFFER = range(3)
"""Values of the disagreement map."""
DISAGREEMENT = (
    LandCoverClass(name="seen by one tile", color="#d9d9d9"),
    LandCoverClass(name="tiles agree", color="#2c7bb6"),
    LandCoverClass(name="tiles differ", color="#d7191c"),
)
"""Names and colours of the disagreement map's values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapKind:
    """What a raster of the output holds: uint8 bands, 255 where there is no data."""

    suffix: str
    """Part of the file name after the aerial file's stem."""
    bands: tuple[str, ...]
    """Description of each band."""
    overviews: OverviewRule
    classes: tuple[LandCoverClass, ...] = ()
    """Name and colour of each value, where values are classes of something."""
    band_tags: Mapping[str, str] = field(default_factory=dict)
    """Names of its values, where they are not the model's classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTags:
    """Tags of a map."""

    file: Mapping[str, str]
    """What made it."""
    band: Mapping[str, str]
    """Names of the classes."""


def class_map(classes: Sequence[LandCoverClass]) -> MapKind:
    """Class indices with their colours."""
    return MapKind(
        suffix="landcover",
        bands=("land cover",),
        overviews="mode",
        classes=tuple(classes),
    )


def confidence_map() -> MapKind:
    """Probability of the winning class, 0 to 254."""
    return MapKind(suffix="confidence", bands=("confidence",), overviews="average")


def margin_map() -> MapKind:
    """Probability of the winning class less that of the runner-up, 0 to 254."""
    return MapKind(suffix="margin", bands=("margin",), overviews="average")


def probability_map(classes: Sequence[LandCoverClass]) -> MapKind:
    """Probability of every class, 0 to 254, one band each."""
    return MapKind(
        suffix="probabilities", bands=tuple(item.name for item in classes), overviews="average"
    )


def quality_map() -> MapKind:
    """What a pixel's class rests on.

    0 all inputs good, 1 satellite from covered dates only, 2 aerial only, 3 aerial damaged (the
    other maps hold nodata there).
    """
    return MapKind(
        suffix="quality",
        bands=("quality",),
        overviews="mode",
        classes=QUALITY,
        band_tags=_named("QUALITY", QUALITY),
    )


def disagreement_map() -> MapKind:
    """Whether the tiles that see a pixel give it one class.

    0 only one tile sees it, 1 all give it the same class, 2 they differ.
    """
    return MapKind(
        suffix="disagreement",
        bands=("disagreement",),
        overviews="mode",
        classes=DISAGREEMENT,
        band_tags=_named("DISAGREEMENT", DISAGREEMENT),
    )


def class_tags(classes: Sequence[LandCoverClass]) -> dict[str, str]:
    """Band tags that name the classes: CLASS_0=building and so on."""
    return _named("CLASS", classes)


def _named(prefix: str, classes: Sequence[LandCoverClass]) -> dict[str, str]:
    return {f"{prefix}_{index}": item.name for index, item in enumerate(classes)}
