"""Open a folder of training patches, whatever its layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from .classes import LandCoverClass
from .errors import DataError
from .flair import FlairTree
from .sample import Sample
from .satellite import SatelliteSpec
from .splits import Split


class Dataset(Protocol):
    """Patches with labels, in splits."""

    root: Path

    @property
    def classes(self) -> tuple[LandCoverClass, ...]:
        """Classes by index."""

    @property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Patch ids by split."""

    def ids(self, split: Split) -> tuple[str, ...]:
        """Ids of a split's patches; an unknown split is a `DataError`."""

    def groups(self) -> dict[str, str]:
        """Area of each patch by id."""

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a patch's centre on the ground, in metres."""

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one patch."""

    def fingerprint(self) -> str:
        """Hash of what the data set holds."""


def open_dataset(path: Path) -> Dataset:
    """Open a data set.

    Raises:
        DataError: If the folder is missing or its layout is not known.
    """
    if not path.is_dir():
        raise DataError(f"{path} is no folder; expected a data set; check the path")
    return FlairTree(path)


def samples(dataset: Dataset, split: Split, satellite: SatelliteSpec | None) -> Iterator[Sample]:
    """Read a split's patches one after the other."""
    for patch_id in dataset.ids(split):
        yield dataset.read(patch_id, satellite)
