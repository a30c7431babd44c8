"""Stream calibration samples one at a time, and check that they are what they seem.

Ranges measured on black tiles, or a fusion fed with two different places, would be wrong without
anybody noticing. `check_pairs` looks for both in one pass and keeps a few numbers of every sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.dataset import Dataset
from runtime.errors import CalibrationError
from runtime.model import make_feed
from runtime.sample import Sample

from .cells import CellGrid, cells_under
from .shuffling import FEWEST, Fit, fit

Feed = dict[str, NDArray[Any]]
"""Inputs of all branches of one sample, with a batch of one."""

MOST_BLANK = 0.05
"""Share of the samples that may be blank."""

DARK = 0.99
"""Share of black pixels from which an aerial tile is blank."""

HEIGHT_BAND = "elevation"

SEED = 0
"""Of the permutations that pairs are compared with."""


class Pairs:
    """The inputs of chosen patches, read one after the other, as often as wanted."""

    def __init__(self, dataset: Dataset, ids: Sequence[str], card: ModelCard) -> None:
        """Remember what to read.

        Args:
            dataset: Where the patches lie.
            ids: Patches, in order.
            card: The model whose inputs are wanted.
        """
        self._dataset = dataset
        self._ids = tuple(ids)
        self._card = card

    def __len__(self) -> int:
        """Number of patches."""
        return len(self._ids)

    def __iter__(self) -> Iterator[tuple[str, Feed]]:
        """Read the patches; gives the id and the feed of each.

        Raises:
            CalibrationError: If a patch has no satellite input, or another size than the model's
                tiles.
            DataError: If it is damaged.
        """
        for sample in self.samples():
            satellite = None if sample.satellite is None else [sample.satellite]
            yield sample.id, make_feed([sample.aerial], satellite)

    def samples(self) -> Iterator[Sample]:
        """Read the patches themselves; see `__iter__`."""
        spec, root = self._card.aerial, self._dataset.root
        for patch_id in self._ids:
            sample = self._dataset.read(patch_id, self._card.satellite).with_bands(spec.bands)
            if sample.satellite is None and self._card.satellite is not None:
                raise CalibrationError(
                    f"{root} has no satellite input for {patch_id}; expected one, since "
                    f"{self._card.name} takes two inputs; calibrate on patches that have both"
                )
            if sample.aerial.shape[1:] != (spec.tile_size, spec.tile_size):
                raise CalibrationError(
                    f"{patch_id} of {root} is {sample.aerial.shape[1]} x {sample.aerial.shape[2]} "
                    f"px; expected {spec.tile_size} x {spec.tile_size} px, the tile of "
                    f"{self._card.name}; calibrate on patches of that size"
                )
            yield sample


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCheck:
    """What the check of a calibration set found."""

    samples: int
    blank_aerial: int
    """Samples whose aerial tile is black or of one colour."""
    blank_satellite: int
    """Samples whose series holds nothing."""
    not_checked: str
    """Why pairs were not told from shuffled ones; empty where they were."""
    fit: Fit | None
    """How well the pairs fit; None where they were not checked."""


def check_pairs(dataset: Dataset, ids: Sequence[str], card: ModelCard) -> PairCheck:
    """Check that samples are not blank, and that both inputs of each show the same ground.

    Raises:
        CalibrationError: If too many samples are blank, or pairs do no better than shuffled ones,
            all together or those of one area.
        DataError: If a sample is damaged or an input is missing.
    """
    grid: CellGrid | str = "the model has no satellite branch"
    if card.satellite is not None:
        grid = cells_under(card.aerial, card.satellite)
    pass_ = _Pass(grid=grid, bands=_colours(card), areas=dataset.groups())
    for sample in Pairs(dataset, ids, card).samples():
        pass_.add(sample)
    where = str(dataset.root)
    pass_.refuse_blank(where, len(ids))
    found, why = pass_.fit()
    if found is not None and isinstance(grid, CellGrid):
        _refuse_shuffled(found, grid.compared, where)
    return PairCheck(
        samples=len(ids),
        blank_aerial=pass_.blank_aerial,
        blank_satellite=pass_.blank_satellite,
        not_checked=why,
        fit=found,
    )


@dataclass(slots=True, kw_only=True)
class _Pass:
    """What is kept of the samples seen so far."""

    grid: CellGrid | str
    """Cells to compare, or why there are none."""
    bands: list[int]
    """Aerial channels that a camera took."""
    areas: dict[str, str]
    blank_aerial: int = 0
    blank_satellite: int = 0
    first_blank: str = ""
    seen: list[str] = field(default_factory=list)
    """Areas of the samples that are not blank."""
    aerial: list[NDArray[np.float32]] = field(default_factory=list)
    satellite: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        dark = _is_blank(sample.aerial[self.bands])
        empty = sample.satellite is not None and not (
            sample.satellite.date_mask.any() and sample.satellite.series.any()
        )
        self.blank_aerial += dark
        self.blank_satellite += empty
        if dark or empty:
            self.first_blank = self.first_blank or sample.id
        elif isinstance(self.grid, CellGrid) and sample.satellite is not None:
            air, orbit = self.grid.signatures(sample.aerial, sample.satellite)
            self.aerial.append(air.reshape(len(air), -1))
            self.satellite.append(orbit.reshape(len(orbit), -1))
            self.seen.append(self.areas[sample.id])

    def refuse_blank(self, where: str, samples: int) -> None:
        if max(self.blank_aerial, self.blank_satellite) > MOST_BLANK * samples:
            raise CalibrationError(
                f"{where} holds {self.blank_aerial} black or single-coloured aerial tiles and "
                f"{self.blank_satellite} empty satellite inputs among {samples} calibration "
                f"samples (first: {self.first_blank}); expected {MOST_BLANK:.0%} of each at most; "
                "calibrate on other areas, or take the blank patches out of the split"
            )

    def fit(self) -> tuple[Fit | None, str]:
        if isinstance(self.grid, str):
            return None, self.grid
        if len(self.seen) < FEWEST:
            return None, f"{len(self.seen)} samples are too few; {FEWEST} tell pairs from chance"
        return fit(np.stack(self.aerial), np.stack(self.satellite), self.seen, seed=SEED), ""


def _colours(card: ModelCard) -> list[int]:
    """Channels of all bands but the height, which may be 0 everywhere; of all without another."""
    bands = card.aerial.bands
    return [i for i, name in enumerate(bands) if name != HEIGHT_BAND] or list(range(len(bands)))


def _is_blank(tile: NDArray[np.uint8]) -> bool:
    """Whether an aerial tile, shape (C, H, W), is black or of one colour."""
    if tile.any(axis=0).mean() <= 1 - DARK:
        return True
    return bool((tile.max(axis=(1, 2)) == tile.min(axis=(1, 2))).all())


def _refuse_shuffled(found: Fit, compared: str, where: str) -> None:
    if found.p_value > found.limit:
        raise CalibrationError(
            f"the aerial and satellite inputs of {where} look shuffled: {compared} of "
            f"{found.samples} pairs correlate by {found.correlation:.2f}, those of permuted "
            f"pairs by up to {found.shuffled:.2f} (p = {found.p_value:.3f}); expected p up to "
            f"{found.limit}; check the centroids file and which series belongs to which area, or "
            "calibrate on more patches"
        )
    for name, area in found.areas.items():
        if area.suspect:
            raise CalibrationError(
                f"the aerial and satellite inputs of area {name} in {where} look shuffled: "
                f"{area.samples} pairs correlate by {area.correlation:.2f} (p = "
                f"{area.p_value:.3f}), those of other areas by {area.others:.2f}; expected pairs "
                "as good as there; check its series and centroids, or leave the area out"
            )
