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
    bands: tuple[str, ...]
    """Names of the aerial bands, in channel order."""
    aerial: NDArray[np.uint8]
    """Shape (C, H, W), as stored."""
    satellite: SatelliteInput | None
    labels: NDArray[np.uint8] | None
    """Class indices, shape (H, W); 255 is ignored."""

    def __post_init__(self) -> None:
        """Refuse another number of names than of channels."""
        if len(self.bands) != len(self.aerial):
            raise ValueError(
                f"{self.id} has {len(self.aerial)} aerial channels and {len(self.bands)} band names"
            )

    def with_bands(self, bands: tuple[str, ...]) -> "Sample":
        """Keep these aerial bands, in this order.

        Raises:
            BandError: If there is no such band.
        """
        if bands == self.bands:
            return self
        check_bands(self.bands, bands, where=self.id)
        order = [self.bands.index(band) for band in bands]
        return replace(self, aerial=self.aerial[order], bands=bands)


def check_bands(found: tuple[str, ...], wanted: tuple[str, ...], *, where: str) -> None:
    """Check that every band that a model takes is there.

    Raises:
        BandError: Naming the bands that are missing.
    """
    missing = [band for band in wanted if band not in found]
    if missing:
        raise BandError(
            f"{where} has the bands {', '.join(found)}; expected {', '.join(missing)} "
            "too; use a model of these bands"
        )
