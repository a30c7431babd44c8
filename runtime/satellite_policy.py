"""What is done where Sentinel-2 is missing, late or cloudy, and how often it was.

                    clear date    none clear          nothing to be seen
    nearest-dates   clear         least covered       refused
    refuse          clear         refused             refused
    aerial-only     clear         aerial image alone  aerial image alone

"Nothing to be seen" is a tile beyond the series, one that no date has data for, or no series at
all. A damaged series is refused in any case.
"""

import datetime
from collections import Counter
from typing import Literal

from .card import ModelCard
from .errors import BundleError, SatelliteError
from .grid import Grid
from .satellite import NotSeenError, SatelliteInput, SatelliteSpec
from .scene import SatelliteSource

MissingSatellite = Literal["nearest-dates", "refuse", "aerial-only"]

TileState = Literal["clear", "covered", "aerial_only"]
"""What a tile's map comes from: clear dates, covered ones, or the aerial image alone."""

ALONE = "map such tiles from the aerial image alone with --missing-satellite aerial-only"


def state_of(satellite: SatelliteInput | None) -> TileState:
    """Tell what a tile's map comes from."""
    if satellite is None:
        return "aerial_only"
    return "clear" if satellite.clear else "covered"


def check_policy(policy: MissingSatellite, card: ModelCard) -> None:
    """Check that a model can do what a policy may ask of it.

    Raises:
        BundleError: If tiles may be left without Sentinel-2 and the model needs it.
    """
    if policy == "aerial-only" and card.satellite is not None and not card.single_branch:
        raise BundleError(
            f"{card.name} does not say that its aerial branch maps alone (`single_branch` in "
            "manifest.json); expected a late-fusion bundle of separate parts that does; export it "
            "again, or use --missing-satellite nearest-dates"
        )


class SatelliteFeeder:
    """Prepares the satellite input of tiles, one after the other, and counts them by state."""

    def __init__(
        self,
        source: SatelliteSource | None,
        spec: SatelliteSpec,
        *,
        policy: MissingSatellite = "nearest-dates",
        grid: Grid,
    ) -> None:
        """Make ready.

        Args:
            source: The series; None where there is none.
            spec: What the satellite branch takes.
            policy: What to do where there is no clear date.
            grid: The grid that tiles are cut from.

        Raises:
            NotSeenError: If there is no series and the policy needs one.
        """
        if source is None and policy != "aerial-only":
            raise NotSeenError(
                "there is no Sentinel-2 series for the aerial image; expected one for this model; "
                f"name it with --satellite, or {ALONE}"
            )
        self.source, self.spec, self.policy, self.grid = source, spec, policy, grid
        self.tiles: Counter[TileState] = Counter()
        """Tiles by what their map comes from."""
        self.dates_used: set[datetime.date] = set()
        """Days of the series that went into any tile."""

    def prepare(self, row: float, col: float) -> SatelliteInput | None:
        """Make the input of the tile centred on (row, col) of the grid, in pixel edges, and count.

        Returns:
            The input; None where the map is to come from the aerial image alone.

        Raises:
            SatelliteError: If the policy refuses the tile, or a file is damaged.
            DataError: If a file is damaged.
        """
        found = self.look(row, col)
        self.count(found)
        return found

    def look(self, row: float, col: float) -> SatelliteInput | None:
        """Make the input as `prepare` does, without counting it."""
        try:
            found = self.see(row, col)
        except NotSeenError as error:
            if self.policy == "aerial-only":
                return None
            raise NotSeenError(f"{error}, or {ALONE}") from error
        if self.takes(found):
            return found
        if self.policy == "aerial-only":
            return None
        raise SatelliteError(
            f"{self._name} has no clear date around row {row:.0f} and column {col:.0f} of the "
            "aerial image; expected one under --missing-satellite refuse; add clear dates, or use "
            "--missing-satellite nearest-dates"
        )

    def see(self, row: float, col: float) -> SatelliteInput:
        """Make the input of a window centred on (row, col), whatever the policy says of it.

        Raises:
            NotSeenError: If no date shows anything there.
            DataError: If a file is damaged.
        """
        if self.source is None:
            raise NotSeenError("there is no Sentinel-2 series; expected one; give a series")
        return self.source.prepare(self.grid, row, col, self.spec)

    def takes(self, satellite: SatelliteInput) -> bool:
        """Whether the policy lets a tile's map come from this."""
        return satellite.clear or self.policy == "nearest-dates"

    def count(self, satellite: SatelliteInput | None) -> None:
        """Count a tile whose map comes from this."""
        self.tiles[state_of(satellite)] += 1
        if satellite is not None:
            self.dates_used.update(satellite.dates_used)

    @property
    def _name(self) -> str:
        return "" if self.source is None else self.source.name
