"""What a run of inference is asked for, besides input and model."""

from dataclasses import dataclass

from ..augmented import SYMMETRIES, TestTime
from ..manifest import Variant
from ..products import OffsetOption
from ..satellite_policy import MissingSatellite


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions:
    """What to write, how to fit the input to the model, and what to allow."""

    confidence: bool = False
    """Write the probability of the winning class."""
    probabilities: bool = False
    """Write the probability of every class."""
    quality: bool = False
    """Write what each pixel was mapped from; always done where the satellite may be left out."""
    margin: bool = False
    """Write the probability of the winning class less that of the runner-up."""
    disagreement: bool = False
    """Write whether the tiles that see a pixel give it one class."""
    blend: bool = False
    """Blend the probabilities of overlapping tiles instead of cropping them."""
    halo: int | None = None
    """Context on each side of a tile's interior, in pixels; that of the model if None."""
    bands: str | None = None
    """Bands of the files in the model's order, by number or name."""
    elevation: str | None = None
    """Rasters of heights, or `zero`, where the files have no elevation band."""
    scale: str | None = None
    """Values or percentiles that become 0 and 255, where files are of 16 bits."""
    crs: str | None = None
    """CRS of aerial and elevation files that have none or an unnamed local one."""
    satellite_substitute: str | None = None
    """Bands that stand for those that the series lacks."""
    resample: bool = False
    """Bring files of another resolution to that of the model."""
    missing_satellite: MissingSatellite = "nearest-dates"
    """What to do where no Sentinel-2 date is clear."""
    satellite_offset: OffsetOption = "auto"
    """Radiometric offset of the series, or how it is found."""
    lattice_cells: int | None = None
    """Run the satellite branch once per so many cells instead of once per tile."""
    tta: TestTime = "none"
    """Run every tile in several symmetries and average the probabilities."""
    max_memory: int | None = None
    """Most bytes that the process may hold."""
    restart: bool = False
    """Do not go on with an interrupted run."""
    allow_toy: bool = False
    """Let a toy bundle map imagery that was not generated."""
    segx_version: str = ""

    @property
    def variant(self) -> Variant:
        """Which end of the model is needed."""
        averaged = self.blend or self.tta != "none"
        wanted = self.probabilities or self.margin
        return "probabilities" if wanted or averaged else "classes"

    @property
    def overlaps(self) -> bool:
        """Whether a tile counts as far as its pixels reach, and not in its interior alone."""
        return self.blend or self.disagreement

    @property
    def runs_per_tile(self) -> int:
        """How often the model runs for a tile."""
        return len(SYMMETRIES[self.tta])

    @property
    def batch(self) -> int | None:
        """Tiles per call that these options need; None for any number."""
        return None if self.lattice_cells is None else 1

    @property
    def writes_quality(self) -> bool:
        """Whether the quality mask is written."""
        return self.quality or self.missing_satellite == "aerial-only"
