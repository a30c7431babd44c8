"""Patches as the branches take them: read once, drawn in an order that a seed fixes, and stacked.

A training run is a sequence of *draws*, numbered from 0. What a draw holds follows from its number
and the seed alone, so that a resumed run, or several processes, see exactly the draws that are
theirs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from runtime.dataset import Dataset as PatchSource
from runtime.errors import ConfigError, DataError
from runtime.sample import Sample
from runtime.satellite import MONTHS, SatelliteSpec

from .augment import Augmenter
from .config import InputConfig, TrainConfig

MEMORY_BYTES = 2 << 30
"""Patches are kept in memory when all of them together need less than this."""

Role = Literal["aerial", "satellite", "joint"]
"""What is taken of a sample: one input, or both."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """Patches of some ids, with labels and with the aerial bands in the model's order."""

    source: PatchSource
    ids: tuple[str, ...]
    inputs: InputConfig
    satellite: SatelliteSpec | None
    keep: bool
    """Whether a patch stays in memory once it has been read."""
    _kept: dict[str, Sample] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Read one patch; it has labels.

        Raises:
            DataError: If it has no labels, another size than the model's tiles, or is damaged.
            ConfigError: If the model takes an aerial band that the patches lack.
        """
        patch_id = self.ids[index]
        if patch_id in self._kept:
            return self._kept[patch_id]
        sample = self._read(patch_id)
        if self.keep:
            self._kept[patch_id] = sample
        return sample

    def __iter__(self) -> Iterator[Sample]:
        """Read the patches one after the other."""
        return (self[index] for index in range(len(self)))

    def _read(self, patch_id: str) -> Sample:
        sample = self.source.read(patch_id, self.satellite)
        if sample.labels is None:
            raise DataError(
                f"{self.source.root} has no labels for {patch_id}; training and its scores need "
                "them; add the labels or take the patch out of the split"
            )
        side = self.inputs.tile_size
        if sample.labels.shape != (side, side):
            raise DataError(
                f"{patch_id} is {sample.labels.shape[0]} x {sample.labels.shape[1]} px and "
                f"input.tile_size is {side}; they must be equal; correct the config"
            )
        self._check_bands(sample)
        return sample.with_bands(self.inputs.aerial_bands)

    def _check_bands(self, sample: Sample) -> None:
        """Blame an unknown band on the config, where it stands, rather than on the patch."""
        for band in self.inputs.aerial_bands:
            if band not in sample.bands:
                raise ConfigError(
                    f"input.aerial_bands has '{band}'; {self.source.root} has "
                    f"{', '.join(sample.bands)}; choose from these"
                )


def fits_in_memory(patches: int, config: TrainConfig) -> bool:
    """Whether this many patches need less than `MEMORY_BYTES`."""
    inputs = config.input
    size = (len(inputs.aerial_bands) + 1) * inputs.tile_size**2
    if config.takes_satellite:
        size += 4 * MONTHS * len(inputs.satellite_bands) * inputs.satellite_window**2
    return patches * size < MEMORY_BYTES


def labels_of(sample: Sample) -> NDArray[np.uint8]:
    """Give the labels of a sample that has some, shape (H, W)."""
    if sample.labels is None:
        raise ValueError(f"{sample.id} has no labels")
    return sample.labels


def arrays_of(sample: Sample, role: Role) -> Arrays:
    """Give what one unit takes of a sample, and its labels, by name."""
    arrays: Arrays = {"labels": labels_of(sample)}
    if role != "satellite":
        arrays["aerial"] = sample.aerial
    if role == "aerial":
        return arrays
    if sample.satellite is None:
        raise ValueError(f"{sample.id} was read without its satellite series")
    satellite = sample.satellite
    return {
        **arrays,
        "satellite": satellite.series,
        "date_mask": satellite.date_mask,
        "days": satellite.days,
    }


def stack(items: Iterable[Arrays]) -> dict[str, Tensor]:
    """Stack arrays of the same names into tensors with a batch in front."""
    rows = list(items)
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


@lru_cache(maxsize=8)
def order(count: int, seed: int, turn: int) -> tuple[int, ...]:
    """Give the order in which one pass takes the patches."""
    return tuple(np.random.default_rng([seed, turn]).permutation(count).tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws(Dataset[Arrays]):
    """Augmented patches by the number of the draw; every pass takes every patch once."""

    patches: Patches
    role: Role
    augmenter: Augmenter
    seed: int

    def __getitem__(self, draw: int) -> Arrays:
        """Make one draw."""
        turn, place = divmod(draw, len(self.patches))
        sample = self.patches[order(len(self.patches), self.seed, turn)[place]]
        rng = np.random.default_rng([self.seed, draw, 1])
        return arrays_of(self.augmenter(sample, rng), self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which process of several this is."""

    rank: int = 0
    processes: int = 1


def step_batches(steps: range, draws_per_step: int, accumulate: int, share: Share) -> list[range]:
    """Say which draws make up each forward pass of one process.

    Args:
        steps: Steps of the optimizer.
        draws_per_step: Draws of all processes and forward passes of a step.
        accumulate: Forward passes per step.
        share: The process.

    Returns:
        Numbers of the draws, one range per forward pass.
    """
    size = draws_per_step // accumulate
    first = range(steps.start * draws_per_step, steps.stop * draws_per_step, size)
    return [range(start + share.rank, start + size, share.processes) for start in first]


def train_loader(
    draws: Draws, batches: Sequence[Sequence[int]], workers: int
) -> "DataLoader[dict[str, Tensor]]":
    """Load batches of draws, in the given order."""
    return _loader(draws, batches, workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Dataset[Arrays]):
    """Patches as they are, by their place in the list."""

    patches: Patches
    role: Role

    def __getitem__(self, index: int) -> Arrays:
        """Give one patch."""
        return arrays_of(self.patches[index], self.role)


def check_loader(
    patches: Patches, role: Role, share: Share, workers: int
) -> "DataLoader[dict[str, Tensor]]":
    """Load a process's part of the patches one by one, without changing them."""
    batches = [[index] for index in range(share.rank, len(patches), share.processes)]
    return _loader(Whole(patches=patches, role=role), batches, workers)


def _loader(
    dataset: Dataset[Arrays], batches: Sequence[Sequence[int]], workers: int
) -> "DataLoader[dict[str, Tensor]]":
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=[list(batch) for batch in batches],
        collate_fn=stack,
        num_workers=workers,
        # Not the global one: how often Lightning opens a loader must not change the training.
        generator=torch.Generator(),
    )
