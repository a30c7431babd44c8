"""Turn a stack of Sentinel-2 dates into the input of the satellite branch.

This is the only implementation: training, calibration and inference all call `cut` and then
`monthly_means`, so that a network never sees other numbers in the field than in training.

    stack of an area            window of a tile           input of the branch
    (dates, B, rows, cols) ---- cut ---> (dates, B, h, w) ---- monthly_means ---> (12, B, h, w)
    digital numbers                    digital numbers            reflectance, date mask, days

A window may reach beyond the stack: its border pixels are then repeated, and only the pixels inside
count when the cloudiness of a date is measured.
"""

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import SatelliteError
from .radiometry import DateOffset, OffsetOrigin, dated
from .satellite_cells import Cells, Pixels, PixelSource, side_by_side

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Bands of a FLAIR #2 series, in file order; those of 20 m are resampled to the 10 m grid."""

REFLECTANCE_SCALE = 10_000.0
"""Digital numbers per unit of surface reflectance (Level-2A)."""

MONTHS = 12


class NotSeenError(SatelliteError):
    """No date shows anything of a tile: the series ends before it, is empty there, or is missing.

    What is damaged is not among this: a map without Sentinel-2 would hide it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class DatePolicy:
    """Which dates are used and how they become time steps.

    The union rule (a pixel is covered when it is cloud OR snow) follows the papers' intent; FLAIR
    #2's own code adds the two counts, so that a pixel can count twice.
    """

    cloud_probability: float = 50.0
    """A pixel is covered when its cloud or snow probability, 0 to 100, reaches this."""
    max_covered: float = 0.5
    """A date is used when less than this share of the window is covered."""
    fallback_dates: int = 3
    """How many of the least covered dates are used when no date passes."""
    reference_month: int = 5
    """Month of the day from which days are counted."""
    reference_day: int = 15
    """Day of the month from which days are counted."""

    def __post_init__(self) -> None:
        """Refuse a policy under which no date can ever be used."""
        if not 0.0 < self.cloud_probability <= 100.0:
            raise ValueError(
                f"cloud_probability is {self.cloud_probability}; expected above 0 and up to 100"
            )
        if not 0.0 < self.max_covered <= 1.0:
            raise ValueError(f"max_covered is {self.max_covered}; expected above 0 and up to 1")
        if self.fallback_dates < 1:
            raise ValueError(f"fallback_dates is {self.fallback_dates}; expected at least 1")
        try:
            self.month_days()
        except ValueError as error:
            raise ValueError(
                f"reference_month {self.reference_month} and reference_day {self.reference_day} "
                "name no day; expected one of a year of 365 days"
            ) from error

    def month_days(self) -> NDArray[np.float32]:
        """Days from the reference day to the 15th of each month, shape (12,).

        The sign is date minus reference, as in U-TAE's code; FLAIR #2's code has it the other way.
        """
        reference = datetime.date(2021, self.reference_month, self.reference_day)
        return np.array(
            [(datetime.date(2021, month, 15) - reference).days for month in range(1, MONTHS + 1)],
            dtype=np.float32,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteSpec:
    """What the satellite branch takes: bands, geometry of the window, use of the dates."""

    bands: tuple[str, ...] = BANDS
    """Names of the bands, in channel order."""
    window: int = 40
    """Cells on each side of the window."""
    cell_m: float = 10.0
    """Side of a cell, in metres."""
    dates: DatePolicy = field(default_factory=DatePolicy)

    def __post_init__(self) -> None:
        """Refuse bands that Sentinel-2 Level-2A series here do not have, and an empty window."""
        known = set(self.bands) <= set(BANDS)
        if not known or not self.bands or len(set(self.bands)) < len(self.bands):
            raise ValueError(
                f"satellite bands {list(self.bands)}; expected some of {list(BANDS)}, each once"
            )
        if self.window < 1 or not 0.0 < self.cell_m < math.inf:
            raise ValueError(
                f"satellite window of {self.window} cells of {self.cell_m} m; expected both above 0"
            )

    def prepare(
        self, series: PixelSource, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> "SatelliteInput":
        """Make the branch's input from the cells at these rows and columns of a series.

        Raises:
            NotSeenError: If nothing of the window can be seen on any date.
        """
        made = monthly_means(cut(series, rows, cols, policy=self.dates), self.dates)
        if self.bands == BANDS:
            return made
        order = [BANDS.index(band) for band in self.bands]
        return replace(made, series=made.series[:, order])


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteStack:
    """All dates of an area on one pixel grid, as stored. Never changed after reading."""

    dn: NDArray[Any]
    """Digital numbers, shape (dates, B, rows, cols); a pixel with 0 in every band is nodata."""
    cover: NDArray[Any]
    """Snow and cloud probability, 0 to 100, shape (dates, 2, rows, cols)."""
    dates: tuple[datetime.date, ...]
    """Day of each acquisition, in file order."""
    offsets: tuple[int, ...]
    """Radiometric offset of each date in digital numbers: 1000 from processing baseline 04.00."""
    origins: tuple[OffsetOrigin, ...] = ()
    """Where the offset of each date comes from; assumed if nothing is said."""

    def __post_init__(self) -> None:
        """Refuse arrays that hold no numbers, or whose number of dates or pixels differ."""
        for name, array in (("series", self.dn), ("snow and cloud masks", self.cover)):
            if array.dtype.kind not in "buif":
                raise SatelliteError(
                    f"the {name} are of type {array.dtype}; expected numbers; restore the file"
                )
        dates = len(self.dates)
        if self.dn.ndim != 4 or self.dn.shape[0] != dates or len(self.offsets) != dates:
            raise SatelliteError(
                f"the series has shape {self.dn.shape} for {dates} dates; "
                "expected (dates, bands, rows, cols); check that data and products belong together"
            )
        expected = (dates, 2, *self.dn.shape[2:])
        if self.cover.shape != expected:
            raise SatelliteError(
                f"the snow and cloud masks have shape {self.cover.shape}; expected {expected}; "
                "check that data and masks belong together"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.dn.shape[2], self.dn.shape[3]

    @property
    def days(self) -> tuple[datetime.date, ...]:
        """Day of each acquisition, in file order."""
        return self.dates

    @property
    def radiometry(self) -> tuple[DateOffset, ...]:
        """Radiometric offset of each date, and where it comes from."""
        return dated(self.dates, self.offsets, self.origins)

    def read(self, rows: slice, cols: slice) -> Pixels:
        """Give the pixels of a box that lies on the stack; what is no number becomes nodata."""
        dn = np.asarray(self.dn[:, :, rows, cols])
        if dn.dtype.kind == "f":
            dn = np.where(np.isfinite(dn), dn, 0)
        return Pixels(
            dn=side_by_side(dn),
            cover=side_by_side(np.asarray(self.cover[:, :, rows, cols]).max(axis=1)),
            filled=side_by_side(np.not_equal(dn, 0).any(axis=1)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Every date of a series, resampled to the cells of one window."""

    reflectance: NDArray[np.float32]
    """Surface reflectance, shape (dates, B, h, w); 0 where not valid."""
    valid: NDArray[np.bool_]
    """Where a cell holds data, shape (dates, h, w)."""
    cover: NDArray[np.float32]
    """The larger of snow and cloud probability, 0 to 100, shape (dates, h, w)."""
    inside: NDArray[np.bool_]
    """Which cells lie on the stack rather than beyond its border, shape (h, w)."""
    dates: tuple[datetime.date, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteInput:
    """What the satellite branch takes for one tile."""

    series: NDArray[np.float32]
    """Surface reflectance, shape (12, B, h, w); 0 in months without a date."""
    date_mask: NDArray[np.float32]
    """1 where a month holds a date, else 0, shape (12,)."""
    days: NDArray[np.float32]
    """Days from the reference day to the middle of the month, shape (12,)."""
    dates_used: tuple[datetime.date, ...]
    """Dates that went into the series, in order of time."""
    clear: bool = True
    """Whether these dates are clear; else none was, and they are the least covered ones."""


def cut(
    series: PixelSource,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    *,
    policy: DatePolicy | None = None,
) -> Window:
    """Resample a series to the cells of a window, bilinearly between pixel centres.

    Args:
        series: The area's series.
        rows: Row of each cell's centre, shape (h, w); 0 is the centre of the first pixel.
        cols: Column of each cell's centre, shape (h, w).
        policy: If some dates are clear under this policy, the others are left out: `monthly_means`
            has no use for them.

    Returns:
        The window. A cell is valid on a date when every pixel it draws from is.

    Raises:
        NotSeenError: If no cell lies on the series.
    """
    height, width = series.shape
    inside = (rows > -0.5) & (rows < height - 0.5) & (cols > -0.5) & (cols < width - 0.5)
    if not inside.any():
        raise NotSeenError(
            f"a tile needs Sentinel-2 rows {rows.min():.0f} to {rows.max():.0f} and columns "
            f"{cols.min():.0f} to {cols.max():.0f}, the series has {height} x {width} px; "
            "give a series that covers the aerial image"
        )
    cells = Cells(series, rows, cols)
    cover, valid, days = cells.cover(), cells.valid(), series.days
    kept = np.arange(len(days))
    if policy is not None:
        clear = np.flatnonzero(_covered(cover, valid, inside, policy) < policy.max_covered)
        kept = clear if clear.size else kept
        cover, valid = cover[kept], valid[kept]
    reflectance = cells.dn(kept)
    if any(series.offsets):
        reflectance -= np.array(series.offsets, dtype=np.float32)[kept, None, None, None]
    reflectance /= np.float32(REFLECTANCE_SCALE)
    if not valid.all():
        reflectance *= valid[:, None]
    return Window(
        reflectance=reflectance,
        valid=valid,
        cover=cover,
        inside=inside,
        dates=tuple(days[index] for index in kept),
    )


def covered_share(window: Window, policy: DatePolicy) -> NDArray[np.float64]:
    """Share of a window's cells, of those inside the stack, that cannot be seen; shape (dates,)."""
    return _covered(window.cover, window.valid, window.inside, policy)


def _covered(
    cover: NDArray[np.float32],
    valid: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    policy: DatePolicy,
) -> NDArray[np.float64]:
    # NaN, a probability that nobody knows, hides: it is not below the limit.
    seen = np.logical_and(cover < policy.cloud_probability, valid)
    hidden = np.count_nonzero(~seen & inside, axis=(1, 2))
    share: NDArray[np.float64] = hidden / np.count_nonzero(inside)
    return share


def choose_dates(window: Window, policy: DatePolicy) -> tuple[NDArray[np.intp], bool]:
    """Choose the dates to use: the clear ones, else the least covered.

    Returns:
        Their indices, in file order, and whether they are clear.

    Raises:
        NotSeenError: If no date shows any part of the window.
    """
    share = covered_share(window, policy)
    clear = np.flatnonzero(share < policy.max_covered)
    if clear.size:
        return clear, True
    visible = np.flatnonzero(window.valid[:, window.inside].any(axis=1))
    if not visible.size:
        raise NotSeenError(
            f"none of the {len(window.dates)} Sentinel-2 dates has data here; "
            "expected at least one; give a series that covers the aerial image"
        )
    rank = _time_rank(window)
    order = sorted(visible, key=lambda index: (share[index], rank[index]))
    return np.sort(np.array(order[: policy.fallback_dates], dtype=np.intp)), False


def _time_rank(window: Window) -> list[int]:
    """Place of each date in time.

    Passes of one day are told apart by what they show, so that the order of the dates in the file
    changes nothing, not even the last bit of a mean.
    """
    days = Counter(window.dates)

    def key(index: int) -> tuple[datetime.date, bytes]:
        day = window.dates[index]
        return day, window.reflectance[index].tobytes() if days[day] > 1 else b""

    order = sorted(range(len(window.dates)), key=key)
    return [place for _, place in sorted(zip(order, range(len(order)), strict=True))]


def monthly_means(window: Window, policy: DatePolicy) -> SatelliteInput:
    """Average the usable dates of each calendar month.

    Args:
        window: A tile's window, as `cut` makes it; it is not changed.
        policy: Which dates are usable.

    Returns:
        Twelve time steps, January to December whatever the year; months without a date are masked.

    Raises:
        NotSeenError: If no date shows any part of the window.

    Reference: LF-DLM (Dimitrovski et al. 2024, arXiv 2410.00469), section on data; FLAIR #2
        (Garioud et al. 2023, arXiv 2310.13336).
    """
    rank = _time_rank(window)
    chosen, clear = choose_dates(window, policy)
    in_time = sorted(chosen, key=lambda index: rank[index])
    series = np.zeros((MONTHS, *window.reflectance.shape[1:]), dtype=np.float32)
    date_mask = np.zeros(MONTHS, dtype=np.float32)
    for month in range(MONTHS):
        of_month = [index for index in in_time if window.dates[index].month == month + 1]
        if of_month:
            _mean(window, of_month, series[month])
            date_mask[month] = 1.0
    return SatelliteInput(
        series=series,
        date_mask=date_mask,
        days=policy.month_days(),
        dates_used=tuple(window.dates[index] for index in in_time),
        clear=clear,
    )


def _mean(window: Window, dates: Sequence[np.intp], out: NDArray[np.float32]) -> None:
    """Average dates cell by cell, over those where it is valid, into shape (B, h, w)."""
    if len(dates) == 1:
        # The sum of one number in double precision is that number.
        np.add(window.reflectance[dates[0]], np.float32(0), out=out)
        return
    total = np.zeros(out.shape, dtype=np.float64)
    count = np.zeros(out.shape[1:], dtype=np.float64)
    for index in dates:
        total += window.reflectance[index]
        count += window.valid[index]
    np.divide(total, np.maximum(count, 1.0), out=out, casting="same_kind")


def window_cells(
    centre_row: float, centre_col: float, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns of the cell centres of a window on the stack's own grid.

    Args:
        centre_row: Row of the window's centre, counted in pixel edges: 0 is the top edge.
        centre_col: Column of the window's centre, in the same way.
        size: Cells on each side.

    Returns:
        Two arrays of shape (size, size), in pixel centres, as `cut` takes them.
    """
    steps = np.arange(size) - size / 2.0
    rows, cols = np.meshgrid(centre_row + steps, centre_col + steps, indexing="ij")
    return rows, cols
