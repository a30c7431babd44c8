"""Lists of classes that published weights have, and a user's own."""

from dataclasses import dataclass
from pathlib import Path

from runtime import schema
from runtime.classes import LandCoverClass
from runtime.datasets import flair, landcover_ai, potsdam_published
from runtime.errors import ConfigError
from runtime.tomlfile import read_toml

_FURTHER = (
    *(("swimming pool", "#3de6eb"), ("snow", "#ffffff"), ("clear cut", "#8ab3a0")),
    *(("mixed", "#6b714f"), ("ligneous", "#c5dc42"), ("greenhouse", "#9999ff")),
    ("other", "#000000"),
)
"""Labels 13 to 19 of FLAIR #1."""

FLAIR_19 = (
    *flair.CLASSES[:12],
    *(LandCoverClass(name=name, color=color, scored=False) for name, color in _FURTHER),
)
"""All labels of FLAIR #1, which FLAIR-INC's models have, in their order."""

_HUB_ORDER = (
    *("building", "greenhouse", "swimming pool", "impervious surface", "pervious surface"),
    *("bare soil", "water", "snow", "herbaceous vegetation", "agricultural land", "plowed land"),
    *("vineyard", "deciduous", "coniferous", "brushwood"),
    *("clear cut", "ligneous", "mixed", "other"),
)
_UNTRAINED = 4
"""Classes at the end of FLAIR-HUB's list that its models are not trained for."""

_BY_NAME = {item.name: item for item in FLAIR_19}

FLAIR_HUB_19 = tuple(
    LandCoverClass(
        name="undefined" if name == "other" else name,
        color=_BY_NAME[name].color,
        scored=index < len(_HUB_ORDER) - _UNTRAINED,
    )
    for index, name in enumerate(_HUB_ORDER)
)
"""COSIA classes of FLAIR-HUB; the last four have no weight in its training."""

LISTS: dict[str, tuple[LandCoverClass, ...]] = {
    "flair13": flair.CLASSES,
    "flair19": FLAIR_19,
    "flair-hub": FLAIR_HUB_19,
    "landcover-ai": landcover_ai.CLASSES,
    "potsdam": potsdam_published.CLASSES,
}
"""Known lists by name."""

OF_PRESETS = {"flair-inc": "flair19", "flair-hub": "flair-hub"}
"""List of presets whose names begin so; of others, the only one of their number of classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFile:
    """A user's TOML file: `[[classes]]` with `name`, `color` and, if need be, `scored = false`."""

    classes: tuple[LandCoverClass, ...]


def default_list(config: str, count: int) -> str:
    """Name the list that a config's classes are of.

    Raises:
        ConfigError: If none is known.
    """
    for start, name in OF_PRESETS.items():
        if config.startswith(start) and len(LISTS[name]) == count:
            return name
    fitting = [name for name, classes in LISTS.items() if len(classes) == count]
    if len(fitting) != 1:
        raise ConfigError(
            f"{config} has {count} classes without names; expected to be told them; give --classes "
            f"FILE, or one of {', '.join(LISTS)}"
        )
    return fitting[0]


def read_classes(name_or_path: str) -> tuple[LandCoverClass, ...]:
    """Give a known list, or that of a TOML file.

    Raises:
        ConfigError: If there is no such list or file, or it names a class twice or none.
    """
    if name_or_path in LISTS:
        return LISTS[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(
            f"there is no list of classes '{name_or_path}'; expected a TOML file with [[classes]], "
            f"or one of {', '.join(LISTS)}; correct it"
        )
    classes = schema.parse(ClassFile, read_toml(path), where=str(path)).classes
    names = [item.name for item in classes]
    if not 2 <= len(names) <= 254 or len(set(names)) < len(names):
        raise ConfigError(
            f"{path} has {len(names)} classes, {len(set(names))} of them different; expected 2 to "
            "254, each once; correct it"
        )
    return classes
