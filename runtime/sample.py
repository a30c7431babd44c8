"""One paired sample: an aerial patch, its satellite input, its labels."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import BandError
from .satellite import SatelliteInput

AERIAL_BANDS = ("red", "green", "blue", "nir", "elevation")
"""Bands of a FLAIR aerial patch; elevation is height above ground, one unit per 0.2 m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An aerial patch with what belongs to the same ground."""

    id: str
    aerial: NDArray[np.uint8]
    """Shape (C, H, W), as stored."""
    satellite: SatelliteInput | None
    labels: NDArray[np.uint8] | None
    """Class indices, shape (H, W); 255 is ignored."""

    def with_bands(self, bands: tuple[str, ...]) -> "Sample":
        """Keep these aerial bands, in this order.

        Raises:
            BandError: If there is no such band.
        """
        if bands == AERIAL_BANDS:
            return self
        missing = [band for band in bands if band not in AERIAL_BANDS]
        if missing:
            raise BandError(
                f"{self.id} has the bands {', '.join(AERIAL_BANDS)}; expected {', '.join(missing)} "
                "too; use a model of these bands"
            )
        order = [AERIAL_BANDS.index(band) for band in bands]
        return replace(self, aerial=self.aerial[order])
