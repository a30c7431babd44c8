"""Tell tiles that look like nothing a quantised model was calibrated on.

The mean of a tile in a band is cheap to take and moves when imagery is of another camera, unit or
season, hazy or snowed in. A bundle may hold the range of these means over its calibration samples;
inference counts the tiles outside. Inputs that stay within may still be wrong.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .card import ModelCard

WIDENED = 0.25
"""Ranges grow on either side by this share of their span."""

LEAST_MARGIN = {"aerial": 4.0, "satellite": 0.01}
"""But by no less than this, in stored units (0 to 255) and in reflectance."""

MOST_OUTSIDE = 0.2
"""Share of tiles outside above which a map should not be trusted unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandRange:
    """Where the mean of a tile lies in one band."""

    name: str
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse a range that nothing lies in."""
        if not self.low <= self.high:
            raise ValueError(f"the range of {self.name} runs from {self.low} to {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRanges:
    """Where the means of tiles lie, by band, in the order of the channels."""

    samples: int
    """Calibration samples they come from."""
    aerial: tuple[BandRange, ...]
    """In stored units, 0 to 255."""
    satellite: tuple[BandRange, ...] = ()
    """In surface reflectance, over the months that hold a date."""

    def outside(
        self, feed: Mapping[str, NDArray[Any]], valid: NDArray[np.bool_] | None = None
    ) -> tuple[str, ...]:
        """Name the bands in which a tile lies outside.

        Args:
            feed: Inputs of one tile, with a batch of one, as `make_feed` makes them; without
                satellite input only the aerial bands are looked at.
            valid: Which aerial pixels hold data, shape (H, W), some of them; None: all.
        """
        means = _aerial_means(feed["aerial"][0], valid)
        ranges = self.aerial
        if self.satellite and "satellite" in feed:
            means = np.concatenate([means, _satellite_means(feed)])
            ranges = (*self.aerial, *self.satellite)
        return tuple(
            band.name
            for band, mean in zip(ranges, means, strict=True)
            if not band.low <= mean <= band.high
        )

    def check(self, aerial: Iterable[str], satellite: Iterable[str]) -> None:
        """Check that the ranges are those of a model's bands.

        Raises:
            ValueError: If they are not.
        """
        for ranges, bands in ((self.aerial, tuple(aerial)), (self.satellite, tuple(satellite))):
            names = tuple(band.name for band in ranges)
            if names != bands:
                raise ValueError(f"input ranges of {list(names)}; expected {list(bands)}")


@dataclass(slots=True)
class RangesBuilder:
    """Takes in calibration samples one after the other; keeps their lowest and highest means."""

    _samples: int = 0
    _ends: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, feed: Mapping[str, NDArray[Any]]) -> None:
        """Take in the inputs of one sample, with a batch of one."""
        self._samples += 1
        means = {"aerial": _aerial_means(feed["aerial"][0], None)}
        if "satellite" in feed:
            means["satellite"] = _satellite_means(feed)
        for side, mean in means.items():
            low, high = self._ends.get(side, (mean, mean))
            self._ends[side] = (np.minimum(low, mean), np.maximum(high, mean))

    def finish(self, card: "ModelCard") -> InputRanges:
        """Widen what was seen, so that a tile a little beyond is not yet outside."""
        if not self._samples:
            raise ValueError("no sample was added")
        satellite = () if card.satellite is None else card.satellite.bands
        return InputRanges(
            samples=self._samples,
            aerial=self._ranges("aerial", card.aerial.bands),
            satellite=self._ranges("satellite", satellite),
        )

    def _ranges(self, side: str, bands: tuple[str, ...]) -> tuple[BandRange, ...]:
        if not bands:
            return ()
        low, high = self._ends[side]
        margin = np.maximum(WIDENED * (high - low), LEAST_MARGIN[side])
        return tuple(
            BandRange(name=name, low=float(least), high=float(most))
            for name, least, most in zip(bands, low - margin, high + margin, strict=True)
        )


def _aerial_means(tile: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Mean of each band of a tile (C, H, W)."""
    pixels = tile.shape[1] * tile.shape[2]
    if valid is not None and not valid.all():
        tile, pixels = tile * valid, int(np.count_nonzero(valid))
    means: NDArray[np.float64] = tile.reshape(len(tile), -1).sum(axis=1, dtype=np.uint64) / pixels
    return means


def _satellite_means(feed: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Mean of each band over the months that hold a date; 0 where none does."""
    usable = feed["satellite"][0][feed["date_mask"][0] > 0]
    total = usable.sum(axis=(0, 2, 3), dtype=np.float64)
    means: NDArray[np.float64] = total / max(usable[:, 0].size, 1)
    return means
