"""What a user says of a folder of images and labels: its `dataset.toml`.

licence = "CC BY 4.0, City of Example 2024"
bands = ["red", "green", "blue", "nir"]     # where the files do not name them
ignore = [0]                                # label values that mean nothing

[[classes]]
name = "building"
color = "#ff0000"                           # in maps, and in labels that are drawn in colours
value = 1                                   # in labels that hold numbers; else its place, from 0
"""

from dataclasses import dataclass
from pathlib import Path

from .. import schema
from ..classes import LandCoverClass
from ..errors import DataError
from ..tomlfile import read_toml

SETTINGS = "dataset.toml"
HIGHEST_VALUE = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledClass:
    """One class as the file gives it."""

    name: str
    color: str
    value: int | None = None
    """Value in labels that hold numbers; its place in the list, from 0, if None."""
    scored: bool = True

    @property
    def land_cover(self) -> LandCoverClass:
        """The class as every data set gives it."""
        return LandCoverClass(name=self.name, color=self.color, scored=self.scored)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """What `dataset.toml` says."""

    classes: tuple[LabelledClass, ...]
    bands: tuple[str, ...] = ()
    """Names of the bands of every image; empty where the files name them."""
    ignore: tuple[int, ...] = ()
    """Label values of pixels that count for nothing; so does the nodata value of a label file."""
    ignore_colors: tuple[str, ...] = ()
    """The same for labels that are drawn in colours, as #rrggbb."""
    resolution_m: float | None = None
    """Metres per pixel, where the files have no georeference."""
    licence: str = "not known: dataset.toml does not say; ask whoever made the data"

    def __post_init__(self) -> None:
        """Refuse classes that cannot be told apart."""
        if len(self.classes) < 2:
            raise ValueError(f"there are {len(self.classes)} classes; give two or more [[classes]]")
        given: tuple[tuple[str, list[object]], ...] = (
            ("name", [item.name for item in self.classes]),
            ("color", [rgb for rgb, _ in self.palette]),
            ("label value", [*self.values, *self.ignore]),
            ("band", list(self.bands)),
        )
        for what, found in given:
            for item in found:
                if found.count(item) > 1:
                    raise ValueError(f"the {what} {item} is given twice; give each once")
        if not all(0 <= value <= HIGHEST_VALUE for value in (*self.values, *self.ignore)):
            raise ValueError(
                f"a label value is not 0 to {HIGHEST_VALUE}; expected what labels can hold; "
                "correct it"
            )
        if self.resolution_m is not None and not 0 < self.resolution_m < 1e4:
            raise ValueError(f"resolution_m is {self.resolution_m}; give metres per pixel")

    @property
    def values(self) -> tuple[int, ...]:
        """Label value of each class."""
        return tuple(
            place if item.value is None else item.value for place, item in enumerate(self.classes)
        )

    @property
    def palette(self) -> tuple[tuple[tuple[int, int, int], int | None], ...]:
        """Colours in labels with the index of their class; None for those that are ignored."""
        known = [(item.land_cover.rgb, index) for index, item in enumerate(self.classes)]
        ignored = [
            (LandCoverClass(name="ignored", color=color).rgb, None) for color in self.ignore_colors
        ]
        return (*known, *ignored)


def read_settings(root: Path) -> FolderSettings:
    """Read the `dataset.toml` of a folder.

    Raises:
        DataError: If it is missing, no TOML, or says something that cannot be.
    """
    path = root / SETTINGS
    if not path.is_file():
        raise DataError(
            f"{root} has images and labels but no {SETTINGS}; expected one that names the classes; "
            "write it as docs/data.md shows"
        )
    data = read_toml(path, error=DataError)
    return schema.parse(FolderSettings, data, where=str(path), error=DataError)
