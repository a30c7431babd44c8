"""One paired sample: an aerial patch, its satellite input, its labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
