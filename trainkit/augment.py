"""Random changes to training patches; geometry is the same for both inputs and the labels.

An aerial patch lies at the centre of its satellite window, so that a flip or a quarter turn of both
keeps every pixel on its cell.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.sample import Sample
from runtime.satellite import SatelliteInput

from .recipe import AugmentConfig

HEIGHTS = ("elevation",)
"""Aerial bands that hold no light, which brightness and contrast leave alone."""

LEAST_DATES = 3
"""Months that are left at least when some are masked."""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetry:
    """One of the eight ways to put a square on itself."""

    turns: int = 0
    """Quarter turns, counter-clockwise."""
    mirror: bool = False
    """Whether left and right change places after the turns."""

    def __call__(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Turn and mirror the last two axes, which must be equally long."""
        turned = np.rot90(array, self.turns, axes=(-2, -1))
        return turned[..., ::-1] if self.mirror else turned


def symmetries(config: AugmentConfig) -> tuple[Symmetry, ...]:
    """List the symmetries that a config allows; the first one changes nothing."""
    if config.rotations:
        mirrors = (False, True) if config.flips else (False,)
        return tuple(Symmetry(turns=turns, mirror=m) for m in mirrors for turns in range(4))
    if config.flips:
        # A mirror after half a turn swaps top and bottom.
        return tuple(Symmetry(turns=turns, mirror=m) for m in (False, True) for turns in (0, 2))
    return (Symmetry(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmenter:
    """Draws a crop, a symmetry and changes of the values for one patch after the other."""

    config: AugmentConfig
    bands: tuple[str, ...]
    """Names of the aerial channels."""
    crop_px: int = 0
    """Side of the square cut from patch and labels; 0 takes the whole patch."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Give a changed copy; the sample itself stays as it is."""
        sample = self._cropped(sample, rng) if self.crop_px else sample
        allowed = symmetries(self.config)
        sample = moved(sample, allowed[rng.integers(len(allowed))])
        return replace(
            sample,
            aerial=self._lit(sample.aerial, rng),
            satellite=None if sample.satellite is None else self._seen(sample.satellite, rng),
        )

    def _cropped(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.aerial.shape[1:]
        top = int(rng.integers(height - self.crop_px + 1))
        left = int(rng.integers(width - self.crop_px + 1))
        box = (slice(top, top + self.crop_px), slice(left, left + self.crop_px))
        return replace(
            sample,
            aerial=sample.aerial[:, box[0], box[1]],
            labels=None if sample.labels is None else sample.labels[box],
        )

    def _lit(self, aerial: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        shift, spread = self.config.brightness, self.config.contrast
        light = [i for i, name in enumerate(self.bands) if name not in HEIGHTS]
        if not (shift or spread) or not light:
            return aerial
        values = aerial.astype(np.float32)
        mean = values[light].mean(axis=(1, 2), keepdims=True)
        gain = 1.0 + rng.uniform(-spread, spread)
        values[light] = (values[light] - mean) * gain + mean + 255.0 * rng.uniform(-shift, shift)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    def _seen(self, satellite: SatelliteInput, rng: np.random.Generator) -> SatelliteInput:
        series, date_mask = satellite.series, satellite.date_mask
        if self.config.satellite_gain:
            most = self.config.satellite_gain
            gain = 1.0 + rng.uniform(-most, most)
            gains = gain * (1.0 + rng.uniform(-most / 2, most / 2, len(series)))
            series = series * gains.astype(np.float32)[:, None, None, None]
        if self.config.date_dropout:
            kept = date_mask * (rng.random(len(date_mask)) >= self.config.date_dropout)
            # A series of very few dates says too little: it stays as it is.
            date_mask = kept.astype(np.float32) if kept.sum() >= LEAST_DATES else date_mask
            series = series * (date_mask > 0)[:, None, None, None]
        return replace(satellite, series=series, date_mask=date_mask)


def moved(sample: Sample, symmetry: Symmetry) -> Sample:
    """Apply one symmetry to the aerial patch, the satellite window and the labels."""
    satellite = sample.satellite
    return replace(
        sample,
        aerial=symmetry(sample.aerial),
        satellite=None
        if satellite is None
        else replace(satellite, series=symmetry(satellite.series)),
        labels=None if sample.labels is None else symmetry(sample.labels),
    )
