"""Open a folder of patches, whatever its layout, and check that it fits a model."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from .card import ModelCard
from .classes import LandCoverClass
from .datasets.flair import FlairTree
from .datasets.flair_hub import FlairHub
from .datasets.flair_hub_layout import AERIAL as AERIAL_FOLDER
from .datasets.flair_hub_layout import holds_flair_hub
from .datasets.folder_dataset import FolderDataset
from .datasets.folder_images import is_folder_dataset
from .datasets.folder_settings import SETTINGS
from .datasets.landcover_ai import IMAGES, MASKS, LandCoverAi
from .datasets.potsdam import Potsdam
from .datasets.potsdam_files import is_potsdam
from .datasets.scene_dataset import TILE_PX, SceneDataset
from .datasets.splits import Split
from .errors import DataError, GridError
from .products import OffsetOption
from .sample import Sample, check_bands
from .satellite import SatelliteSpec
from .scene import RESOLUTION_TOLERANCE, SCENE_AERIAL, fits


class Dataset(Protocol):
    """Patches in splits, most with labels."""

    root: Path

    @property
    def classes(self) -> tuple[LandCoverClass, ...]:
        """Classes by index."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the aerial bands that every patch has."""

    @property
    def licence(self) -> str:
        """Terms of the data and whom to name, as a sentence for whoever gets what learned it."""

    @property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Patch ids by split."""

    def ids(self, split: Split) -> tuple[str, ...]:
        """Ids of a split's patches; an unknown split is a `DataError`."""

    def groups(self) -> dict[str, str]:
        """Area of each patch by id; patches of one area share one resolution."""

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a patch's centre on the ground, in metres."""

    def resolution_m(self, patch_id: str) -> float:
        """Side of a patch's pixels, in metres."""

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one patch."""

    def fingerprint(self) -> str:
        """Hash of what the data set holds."""


def open_dataset(
    path: Path, *, tile: int = TILE_PX, satellite_offset: OffsetOption = "auto"
) -> Dataset:
    """Open a data set of any layout, by what lies in it.

    Args:
        path: Folder of the data set.
        tile: Side of the tiles that a scene, Potsdam and folders of a user's own are cut into, in
            pixels; patches of the other layouts have the size that is published.
        satellite_offset: Radiometric offset of Sentinel-2 series, or how it is found.

    Raises:
        DataError: If the folder is missing, its layout is not known, or it is damaged.
    """
    if not path.is_dir():
        raise DataError(f"{path} is no folder; expected a data set; check the path")
    if (path / SCENE_AERIAL).is_file():
        return SceneDataset(path, tile=tile, satellite_offset=satellite_offset)
    if is_folder_dataset(path):
        return FolderDataset(path, tile=tile, satellite_offset=satellite_offset)
    if (path / IMAGES).is_dir() and (path / MASKS).is_dir():
        return LandCoverAi(path, satellite_offset=satellite_offset)
    if holds_flair_hub(path):
        return FlairHub(path, satellite_offset=satellite_offset)
    if next(path.rglob("IMG_*.tif"), None) is not None:
        return FlairTree(path, satellite_offset=satellite_offset)
    if is_potsdam(path):
        return Potsdam(path, tile=tile, satellite_offset=satellite_offset)
    raise DataError(
        f"{path} holds no data set; expected IMG_*.tif (a FLAIR #2 tree), *_{AERIAL_FOLDER}/ "
        f"(FLAIR-HUB), {IMAGES}/ and {MASKS}/ (LandCover.ai v1), top_potsdam_*.tif (ISPRS "
        f"Potsdam), {SETTINGS} with images/ and labels/ (a folder of your own) or {SCENE_AERIAL} "
        "(a scene); check the path"
    )


def check_dataset_fit(dataset: Dataset, card: ModelCard, ids: Sequence[str]) -> None:
    """Check that patches are of the kind that a model was trained on, before they are read.

    Classes are not compared: a model may be calibrated on data of others.

    Args:
        dataset: Holds the patches.
        card: What to know of the model.
        ids: The patches; one of each area is looked at.

    Raises:
        BandError: If an aerial band of the model is missing.
        GridError: If an aerial resolution differs from the model's by more than a tenth.
    """
    check_bands(dataset.bands, card.aerial.bands, where=str(dataset.root))
    groups = dataset.groups()
    one_of_each = {groups[patch_id]: patch_id for patch_id in ids}
    expected = card.aerial.resolution_m
    for area, patch_id in one_of_each.items():
        found = dataset.resolution_m(patch_id)
        if not fits(found, expected):
            shown = "a CRS in degrees" if math.isnan(found) else f"{found:.3f} m per pixel"
            raise GridError(
                f"{dataset.root} has {shown} in {area}; expected {expected:.3f} m "
                f"within {RESOLUTION_TOLERANCE:.0%}; resample it first, or leave it out by a "
                "splits.json"
            )


def samples(dataset: Dataset, split: Split, satellite: SatelliteSpec | None) -> Iterator[Sample]:
    """Read a split's patches one after the other."""
    for patch_id in dataset.ids(split):
        yield dataset.read(patch_id, satellite)
