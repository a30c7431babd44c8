"""Measure a model under worse conditions: fewer months, a shifted series, a band left out.

    months    valid months kept, evenly spread over those that there are; 0: without Sentinel-2
    shift     the satellite window is sampled so many metres further east (along the tile's rows)
    band      aerial: the band's training mean everywhere, which the model normalises to 0;
              Sentinel-2: a reflectance of 0 everywhere, as where there is no data

Nothing else changes: the same patches, the same weights, no training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .card import ModelCard, Runnable
from .errors import BandError, BundleError, ConfigError
from .satellite import SatelliteInput, SatelliteSpec
from .satellite_cells import PixelSource

Feed = dict[str, NDArray[Any]]

Blank = Callable[[Feed], Feed]
"""Puts zeros in place of what the satellite branch gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One condition under which a model is measured."""

    name: str
    months: int | None = None
    """Valid months kept at most; None keeps all."""
    shift_m: float = 0.0
    """Metres by which the satellite window is sampled further east."""
    band: str | None = None
    """Name of the band that is left out."""


PLAIN = Setting(name="as it is")


def settings(
    months: Sequence[int], shifts: Sequence[float], bands: Sequence[str]
) -> tuple[Setting, ...]:
    """List the settings that were asked for, each one by itself, after that without any change."""
    return (
        PLAIN,
        *(Setting(name=f"{n} month{'s' * (n != 1)}", months=n) for n in months),
        *(Setting(name=f"satellite {m:g} m east", shift_m=m) for m in shifts),
        *(Setting(name=f"without {band}", band=band) for band in bands),
    )


def check_settings(asked: Sequence[Setting], card: ModelCard) -> None:
    """Check that a model can be measured under all of them, before anything is run.

    Raises:
        ConfigError: If a number makes no sense, or the model has no satellite branch.
        BandError: If it does not take a band.
        BundleError: If it cannot do without its satellite branch.
    """
    for item in asked:
        _check_satellite(item, card)
        known = (*card.aerial.bands, *(card.satellite.bands if card.satellite else ()))
        if item.band is not None and item.band not in known:
            raise BandError(
                f"{card.name} takes the bands {', '.join(known)}; expected one of them, "
                f"not '{item.band}'; correct --drop-band"
            )


def _check_satellite(item: Setting, card: ModelCard) -> None:
    if (item.months or 0) < 0 or not np.isfinite(item.shift_m):
        raise ConfigError(
            f"'{item.name}' is no setting; expected months of 0 or more, and metres; correct it"
        )
    if card.satellite is None and (item.months is not None or item.shift_m):
        raise ConfigError(
            f"{card.name} has no satellite branch; expected one for '{item.name}'; leave --dates "
            "and --shift-satellite out"
        )
    if item.months == 0 and not card.single_branch:
        raise BundleError(
            f"{card.name} does not say that its aerial branch maps alone; expected a late fusion "
            "of separate parts, or training with modality dropout; leave 0 out of --dates"
        )


def changed_card(card: ModelCard, setting: Setting) -> ModelCard:
    """Give the card by which patches are read under a setting."""
    if card.satellite is None or not setting.shift_m:
        return card
    spec = card.satellite
    keys = {name: getattr(spec, name) for name in ("bands", "window", "cell_m", "dates")}
    return replace(card, satellite=ShiftedSpec(**keys, shift_m=setting.shift_m))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedSpec(SatelliteSpec):
    """What the satellite branch takes, sampled beside its place."""

    shift_m: float = 0.0
    """Metres to the east: towards the right end of a window's rows."""

    def prepare(
        self, series: PixelSource, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> SatelliteInput:
        """Make the branch's input from the cells beside these rows and columns of a series.

        Raises:
            NotSeenError: If nothing of the window can be seen on any date.
        """
        cells = self.shift_m / self.cell_m
        down, right = (_per_cell(axis) for axis in (rows, cols))
        return SatelliteSpec.prepare(self, series, rows + cells * down, cols + cells * right)

    def __post_init__(self) -> None:
        """Refuse a window that does not show which way is east."""
        SatelliteSpec.__post_init__(self)
        if self.window < 2:
            raise ValueError("a window of one cell has no direction; expected at least 2 cells")


def _per_cell(axis: NDArray[np.float64]) -> float:
    """Say how much a coordinate grows from one cell of a window to the next on the right."""
    across: int = axis.shape[1] - 1
    return float(np.mean(axis[:, -1] - axis[:, 0])) / across


class Perturbed:
    """A model that is given less than there is.

    Args:
        model: The model.
        card: What to know of it.
        setting: What is taken away; its shift is for the reading of patches.
        blank: Puts zeros in place of what the satellite branch gives.
    """

    def __init__(self, model: Runnable, card: ModelCard, setting: Setting, blank: Blank) -> None:
        self.model, self.card, self.setting, self.blank = model, card, setting, blank

    @property
    def precision(self) -> str:
        """Precision that the model computes in."""
        return self.model.precision

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model on what is left of a batch."""
        left = dict(feed)
        if self.setting.band is not None:
            left = without_band(left, self.setting.band, self.card)
        if self.setting.months == 0:
            aerial = {"aerial": left["aerial"]}
            return self.model.run(self.blank(aerial))
        if self.setting.months is not None:
            left = with_months(left, self.setting.months)
        return self.model.run(left)


def without_band(feed: Feed, band: str, card: ModelCard) -> Feed:
    """Give a batch in which one band says nothing."""
    if band in card.aerial.bands:
        index = card.aerial.bands.index(band)
        aerial = feed["aerial"].copy()
        aerial[:, index] = np.rint(card.aerial.normalization.mean[index])
        return {**feed, "aerial": aerial}
    bands = card.satellite.bands if card.satellite else ()
    series = feed["satellite"].copy()
    series[:, :, bands.index(band)] = 0.0
    return {**feed, "satellite": series}


def with_months(feed: Feed, count: int) -> Feed:
    """Give a batch in which each item has at most so many valid months."""
    date_mask = np.stack([kept_months(mask, count) for mask in feed["date_mask"]])
    series = feed["satellite"] * (date_mask > 0)[:, :, None, None, None]
    return {**feed, "satellite": series, "date_mask": date_mask}


def kept_months(date_mask: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Keep so many valid months, the middles of as many equal shares of all of them.

    Args:
        date_mask: 1 where a month holds a date, else 0, shape (T,).
        count: Months to keep; where there are fewer, all stay.
    """
    valid = np.flatnonzero(date_mask)
    if len(valid) <= count:
        return date_mask
    kept = np.zeros_like(date_mask)
    kept[valid[(2 * np.arange(count) + 1) * len(valid) // (2 * count)]] = 1.0
    return kept
