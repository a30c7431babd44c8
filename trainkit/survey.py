"""Look at the patches before training: how many, of which areas, classes and dates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from runtime.classes import LandCoverClass
from runtime.dataset import Dataset
from runtime.errors import DataError
from runtime.raster import RasterReader
from runtime.stream.survey import SAMPLE_TAG

from .batches import Patches, fits_in_memory, labels_of
from .config import TrainConfig
from .inputs import satellite_spec
from .tune import choose_tune

REPORTING_SPLIT = "val"
"""Patches that scores are reported on; nothing is chosen by them."""

MOST_PATCHES = 512
"""Classes and dates are taken from no more training patches than this, evenly spread."""

MOST_RASTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSets:
    """Patches by what they are used for; no patch is in two of them."""

    fit: Patches
    """Training patches that weights are fitted to."""
    tune: Patches
    """Training patches set aside to choose weights and to stop early."""
    val: Patches
    """Patches that are scored at the end."""


def split_patches(dataset: Dataset, config: TrainConfig) -> PatchSets:
    """Share out the patches of the splits `train` and `val`.

    Raises:
        DataError: If a split is missing or there are too few patches.
    """
    train, val = dataset.ids("train"), dataset.ids(REPORTING_SPLIT)
    tune = choose_tune(dataset, train, share=config.training.tune_share, seed=config.seed)
    keep = fits_in_memory(len(train) + len(val), config)
    aside = set(tune)

    def patches(ids: tuple[str, ...]) -> Patches:
        return Patches(
            source=dataset,
            ids=ids,
            inputs=config.input,
            satellite=satellite_spec(config),
            keep=keep,
        )

    fit = tuple(patch_id for patch_id in train if patch_id not in aside)
    return PatchSets(fit=patches(fit), tune=patches(tune), val=patches(val))


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a data set holds, as far as training is concerned."""

    root: Path
    licence: str
    """Terms of the data and whom to name."""
    splits: dict[str, int]
    """Patches by split."""
    areas: int
    tune: int
    """Patches of the training split that are set aside."""
    in_memory: bool
    classes: tuple[LandCoverClass, ...]
    counts: NDArray[np.int64]
    """Pixels of each class in the training patches looked at, shape (K,)."""
    surveyed: int
    """Training patches looked at."""
    dates: tuple[date, ...]
    """Days of the satellite series that these patches use; empty without a satellite branch."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each class, 0 to 1, shape (K,)."""
        shares: NDArray[np.float64] = self.counts / max(int(self.counts.sum()), 1)
        return shares


def survey(dataset: Dataset, sets: PatchSets, classes: int) -> Survey:
    """Read training patches and sum them up.

    Args:
        dataset: The data set.
        sets: Its patches; what fits in memory is read here, once.
        classes: Number of classes that the model tells apart.

    Raises:
        DataError: If a patch is damaged or has no labels, or the model has another number of
            classes.
    """
    if len(dataset.classes) != classes:
        raise DataError(
            f"{dataset.root} has {len(dataset.classes)} classes and num_classes is {classes}; "
            "they must be equal; correct the config"
        )
    count = len(sets.fit)
    step = 1 if sets.fit.keep else -(-count // MOST_PATCHES)
    counts = np.zeros(classes, dtype=np.int64)
    dates: set[date] = set()
    for index in range(0, count, step):
        sample = sets.fit[index]
        counts += np.bincount(labels_of(sample).ravel(), minlength=256)[:classes]
        if sample.satellite is not None:
            dates.update(sample.satellite.dates_used)
    groups = dataset.groups()
    return Survey(
        root=dataset.root,
        licence=dataset.licence,
        splits={split: len(ids) for split, ids in dataset.splits.items()},
        areas=len({groups[i] for patches in (sets.fit, sets.tune, sets.val) for i in patches.ids}),
        tune=len(sets.tune),
        in_memory=sets.fit.keep,
        classes=dataset.classes,
        counts=counts,
        surveyed=len(range(0, count, step)),
        dates=tuple(sorted(dates)),
    )


def is_generated(root: Path) -> bool:
    """Whether the rasters of a data set say that they were generated."""
    rasters = sorted(root.rglob("*.tif"))
    step = -(-len(rasters) // MOST_RASTERS) or 1
    return bool(rasters) and all(SAMPLE_TAG in tags for tags in _tags(rasters[::step]))


def _tags(rasters: list[Path]) -> Iterator[Mapping[str, str]]:
    for path in rasters:
        # Where it lies does not matter here.
        with RasterReader(
            path, assume_crs="EPSG:2154", assume_transform=Affine.scale(1.0, -1.0)
        ) as reader:
            yield reader.info.tags
