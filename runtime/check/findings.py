"""What a look through a data set says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..datasets.scene_dataset import SPLIT
from ..datasets.splits import Split
from .dates import DateCoverage

Kind = Literal["damaged", "missing", "note"]
"""A file that cannot be used; something that training needs; what is odd and how it is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line about a data set."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCount:
    """Patches of one split."""

    split: Split
    patches: int
    labelled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCheck:
    """What was found in a data set."""

    root: Path
    layout: str
    licence: str
    bands: tuple[str, ...]
    splits: tuple[SplitCount, ...]
    unused: int
    """Patches that no split names."""
    areas: int
    resolution_m: tuple[float, float]
    """The finest and the coarsest; NaN where files lie in degrees."""
    crs: tuple[str, ...]
    """Names of the CRS of the images; empty where none was looked at."""
    shares: tuple[tuple[str, float], ...]
    """Name of each class and its share of the labelled pixels of all splits, 0 to 1."""
    ignored: float
    """Share of the labels' pixels that count for nothing."""
    near_colors: int
    """Labelled pixels that took the nearest colour of a class."""
    unknown_colors: int
    """Pixels of the labels that are like no colour, and are ignored."""
    satellite: DateCoverage | None
    """None without a series."""
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged, and nothing that training needs is missing."""
        return all(finding.kind == "note" for finding in self.findings)

    @property
    def is_scene(self) -> bool:
        """Whether it is a scene, which is mapped and measured rather than learned from."""
        return [count.split for count in self.splits] == [SPLIT]
