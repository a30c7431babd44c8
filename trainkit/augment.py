"""Random changes to training patches; geometry is the same for both inputs and the labels.

An aerial patch lies at the centre of its satellite window, so that a flip or a quarter turn of both
keeps every pixel on its cell.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime.sample import Sample
from runtime.satellite import SatelliteInput
from runtime.symmetry import DIHEDRAL, FLIPS, Symmetry

from .aerial_changes import HEIGHTS, recoloured, warped
from .recipe import AugmentConfig

if TYPE_CHECKING:
    from .batches import Role

LEAST_DATES = 3
"""Months that are left at least when each is masked with a chance of its own."""


def symmetries(config: AugmentConfig) -> tuple[Symmetry, ...]:
    """List the symmetries that a config allows; the first one changes nothing."""
    if config.rotations:
        return DIHEDRAL if config.flips else DIHEDRAL[:4]
    return FLIPS if config.flips else (Symmetry(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmenter:
    """Draws a crop, a symmetry and changes of the values for one patch after the other.

    Zoom and turn are for patches whose satellite window is not looked at: that could follow in
    steps of its own, larger cells only.
    """

    config: AugmentConfig
    bands: tuple[str, ...]
    """Names of the aerial channels."""
    role: "Role" = "joint"
    """What is taken of the patch."""
    crop_px: int = 0
    """Side of the square cut from patch and labels; 0 takes the whole patch."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Give a changed copy; the sample itself stays as it is."""
        sample = self._warped(sample, rng) if self.role == "aerial" else sample
        sample = self._cropped(sample, rng) if self.crop_px else sample
        allowed = symmetries(self.config)
        sample = moved(sample, allowed[rng.integers(len(allowed))])
        return replace(
            sample,
            aerial=self._coloured(self._lit(sample.aerial, rng), rng),
            satellite=None if sample.satellite is None else self._seen(sample.satellite, rng),
        )

    def _warped(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if not (self.config.zoom or self.config.rotate):
            return sample
        aerial, labels = warped(sample.aerial, sample.labels, self.config, rng)
        return replace(sample, aerial=aerial, labels=labels)

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

    def _coloured(self, aerial: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        config = self.config
        if self.role == "satellite" or not (config.gamma or config.clahe or config.hue_saturation):
            return aerial
        return recoloured(aerial, self.bands, config, rng)

    def _seen(self, satellite: SatelliteInput, rng: np.random.Generator) -> SatelliteInput:
        series, date_mask = satellite.series, satellite.date_mask
        if self.config.satellite_gain:
            most = self.config.satellite_gain
            gain = 1.0 + rng.uniform(-most, most)
            gains = gain * (1.0 + rng.uniform(-most / 2, most / 2, len(series)))
            series = series * gains.astype(np.float32)[:, None, None, None]
        if self.config.date_dropout:
            date_mask = self._kept(date_mask, rng)
            series = series * (date_mask > 0)[:, None, None, None]
        return replace(satellite, series=series, date_mask=date_mask)

    def _kept(
        self, date_mask: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Mask some of the months that hold a date, shape (T,)."""
        chance = self.config.date_dropout
        if chance == "uniform":
            months = rng.permutation(np.flatnonzero(date_mask))
            kept = np.zeros_like(date_mask)
            kept[months[: rng.integers(1, len(months) + 1)]] = 1.0
            return kept
        kept = (date_mask * (rng.random(len(date_mask)) >= chance)).astype(np.float32)
        # A series of very few dates says too little: it stays as it is.
        return kept if kept.sum() >= LEAST_DATES else date_mask


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
