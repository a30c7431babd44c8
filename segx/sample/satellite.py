"""Simulate a year of Sentinel-2 over a painted area.

Each 10 m pixel mixes the spectra of the classes in it by their true shares. Parcels differ in
brightness, and in the size and timing of their seasons; then come patchy ground, the sensor's blur,
misregistration of up to one pixel and haze that differ by date, clouds with their shadows, and a
little snow. Clouds and snow are reported as probabilities, not quite right at the edges.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .area import Area
from .classes import COVERS, Cover
from .ground import Ground
from .noise import Field, uniform
from .spectra import BANDS, green_cover, tables

PIXEL_M = 10.0
YEAR = 2021
SAMPLES = 10
"""Places per side at which a 10 m pixel asks for its class."""
EDGE = 2
"""Pixels simulated around the grid, so that blur and shifts need no edge rule."""
DN_PER_REFLECTANCE = 10_000

CLOUD = (0.42, 0.43, 0.44, 0.45, 0.46, 0.47, 0.48, 0.48, 0.36, 0.29)
"""Reflectance of a thick cloud."""
SNOW = (0.72, 0.72, 0.71, 0.7, 0.68, 0.66, 0.64, 0.62, 0.12, 0.09)
HAZE = (0.03, 0.024, 0.019, 0.016, 0.012, 0.01, 0.008, 0.007, 0.003, 0.002)
"""What a usual haze adds to the reflectance."""

Axes = tuple[NDArray[np.float64], NDArray[np.float64]]
Locate = Callable[[NDArray[np.float64], NDArray[np.float64]], Axes]
"""From rows and columns of the Sentinel-2 grid, in pixel edges, to the area's y and x in metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A year of Sentinel-2 over one grid."""

    days: tuple[datetime.date, ...]
    dn: NDArray[np.uint16]
    """Digital numbers, reflectance x 10000, at least 1; shape (T, B, h, w)."""
    cover: NDArray[np.uint8]
    """Snow and cloud probability, 0 to 100; shape (T, 2, h, w)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pixels:
    """What the sensor looks at: one padded grid."""

    share: NDArray[np.float32]
    """Share of each class, shape (COVERS, h, w)."""
    parcel: NDArray[np.int32]
    """Parcel in the middle of each pixel, shape (h, w)."""


def simulate(
    area: Area, shape: tuple[int, int], locate: Locate, rng: np.random.Generator
) -> Series:
    """Simulate a year over a grid of shape (rows, columns) of 10 m.

    Args:
        area: The painted area.
        shape: Rows and columns of the grid.
        locate: Where the grid lies on the area.
        rng: Source of weather and variation.

    Returns:
        18 to 20 dates.
    """
    pixels = _look(area, shape, locate)
    patchy = _patchiness(pixels.parcel.shape, rng)
    days = _days(rng)
    dn = np.empty((len(days), len(BANDS), *shape), dtype=np.uint16)
    cover = np.empty((len(days), 2, *shape), dtype=np.uint8)
    cloudiness = _cloudiness(days, rng)
    for index, day in enumerate(days):
        clear = _reflect(pixels, day, rng) * patchy
        clear = _shift(_blur(clear), rng)
        seen, cover[index] = _weather(clear, day, float(cloudiness[index]), rng)
        seen *= 1 + np.float32(0.02) * rng.standard_normal(seen.shape, dtype=np.float32)
        inner = seen[:, EDGE:-EDGE, EDGE:-EDGE] * DN_PER_REFLECTANCE
        dn[index] = np.clip(np.rint(inner), 1, 16_000)
    return Series(days=days, dn=dn, cover=cover)


def _days(rng: np.random.Generator) -> tuple[datetime.date, ...]:
    """Draw 18 to 20 days of a five-day revisit; every month but one or two has some."""
    passes = np.arange(int(rng.integers(1, 6)), 366, 5)
    months = np.array([_date(day).month for day in passes])
    missing = rng.choice([1, 2, 11, 12], size=int(rng.integers(1, 3)), replace=False)
    kept = [int(rng.choice(passes[months == m])) for m in range(1, 13) if m not in missing]
    rest = np.setdiff1d(passes[~np.isin(months, missing)], kept)
    kept += [int(day) for day in rng.choice(rest, int(rng.integers(18, 21)) - len(kept), False)]
    return tuple(_date(day) for day in sorted(kept))


def _cloudiness(days: tuple[datetime.date, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Share of cloud on each day, most of them nearly clear; below 0 is no cloud at all.

    A month's only day is rarely a cloudy one, so that few months are lost to clouds.
    """
    months = np.array([day.month for day in days])
    alone = (months[:, None] == months).sum(axis=1) == 1
    shares = np.empty(len(days))
    shares[np.argsort(rng.random(len(days)) - 0.7 * alone)] = np.linspace(-0.5, 1, len(days)) ** 3
    return shares


def _date(day_of_year: int | np.integer) -> datetime.date:
    return datetime.date(YEAR, 1, 1) + datetime.timedelta(days=int(day_of_year) - 1)


def _look(area: Area, shape: tuple[int, int], locate: Locate) -> _Pixels:
    """Count the classes inside each pixel of the padded grid."""
    rows, cols = shape[0] + 2 * EDGE, shape[1] + 2 * EDGE
    corner_y, corner_x = locate(
        *np.meshgrid(
            np.arange(rows + 1) - float(EDGE), np.arange(cols + 1) - float(EDGE), indexing="ij"
        )
    )
    share: NDArray[np.float32] = np.zeros((COVERS, rows, cols), dtype=np.float32)
    places = (np.arange(SAMPLES) + 0.5) / SAMPLES
    pixel = np.arange(rows * cols).reshape(rows, cols)
    for down in places:
        for across in places:
            y = _inside(corner_y, down, across)
            x = _inside(corner_x, down, across)
            # One place of each pixel at a time: no pixel occurs twice in the index.
            share.reshape(COVERS, -1)[_ask(area, y, x, "cover"), pixel] += 1
    middle = _inside(corner_y, 0.5, 0.5), _inside(corner_x, 0.5, 0.5)
    share /= SAMPLES**2
    return _Pixels(share=share, parcel=_ask(area, *middle, "parcel"))


def _inside(corner: NDArray[np.float64], down: float, across: float) -> NDArray[np.float64]:
    """Interpolate between the four corners of every pixel."""
    upper = corner[:-1, :-1] * (1 - across) + corner[:-1, 1:] * across
    lower = corner[1:, :-1] * (1 - across) + corner[1:, 1:] * across
    place: NDArray[np.float64] = upper * (1 - down) + lower * down
    return place


def _ask(
    area: Area, y: NDArray[np.float64], x: NDArray[np.float64], name: str
) -> NDArray[np.int32]:
    """Read the fine ground where there is some, else the coarse one."""
    row, col, _ = _pixel(area.coarse, y, x)
    values: NDArray[np.int32] = getattr(area.coarse, name)[row, col].astype(np.int32)
    row, col, seen = _pixel(area.fine, y, x)
    values[seen] = getattr(area.fine, name)[row[seen], col[seen]]
    return values


def _pixel(
    ground: Ground, y: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Row and column of places on a grid, clipped to it, and whether they lie on it."""
    step = float(ground.xs[1] - ground.xs[0])
    rows, cols = ground.cover.shape
    row = np.rint((y - float(ground.ys[0])) / step).astype(np.intp)
    col = np.rint((x - float(ground.xs[0])) / step).astype(np.intp)
    seen = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    return np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1), seen


def _reflect(pixels: _Pixels, day: datetime.date, rng: np.random.Generator) -> NDArray[np.float32]:
    """Clear-sky reflectance on a day, shape (B, h, w)."""
    green, back, season = tables()
    parcel = pixels.parcel
    late = (uniform(parcel, 41) - np.float32(0.5)) * 32
    vigour = np.float32(0.8) + np.float32(0.4) * uniform(parcel, 42)
    bright = np.float32(0.8) + np.float32(0.4) * uniform(parcel, 43)
    # What a farmer does between two dates is the parcel's own.
    event = np.float32(0.88) + np.float32(0.24) * uniform(parcel, 1000 + day.toordinal())
    days = np.float32(day.timetuple().tm_yday) - late
    image = np.zeros((len(BANDS), *parcel.shape), dtype=np.float32)
    for cover in Cover:
        share = pixels.share[cover]
        if not share.any():
            continue
        leaf = np.clip(green_cover(season[cover], days) * vigour * event, 0, 1) * share
        image += green[cover][:, None, None] * leaf
        image += back[cover][:, None, None] * (share - leaf) * bright
    # Wet ground in winter is darker, most of all in the short-wave infrared.
    wet = np.float32(0.12 * np.cos(2 * np.pi * (day.timetuple().tm_yday - 15) / 365.25))
    gain = 1 - wet * np.linspace(0.4, 1.2, len(BANDS), dtype=np.float32)
    gain *= np.float32(1) + rng.normal(0, 0.03, len(BANDS)).astype(np.float32)
    image *= gain[:, None, None]
    return image


def _field(shape: tuple[int, int], knot: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise over the pixels of a grid, bumps `knot` pixels wide."""
    rows, cols = shape
    field = Field.over((0.0, 0.0, float(cols), float(rows)), knot, rng)
    return field.on_axes(
        np.arange(rows, dtype=np.float32) + np.float32(0.5),
        np.arange(cols, dtype=np.float32) + np.float32(0.5),
    )


def _patchiness(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Place-to-place variation that stays all year, shape (B, h, w), about 1."""
    visible, infrared, both = (_field(shape, knot, rng) for knot in (2.0, 2.5, 7.0))
    tilt = np.linspace(0, 1, len(BANDS), dtype=np.float32)[:, None, None]
    patchy = both * np.float32(0.06) + np.float32(0.06) * (visible * (1 - tilt) + infrared * tilt)
    return np.clip(1 + patchy, 0.5, 1.6)


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur by the sensor's point spread, about 0.55 pixels of deviation."""
    for axis in (1, 2):
        before, after = np.roll(image, 1, axis), np.roll(image, -1, axis)
        image = image * np.float32(0.7) + (before + after) * np.float32(0.15)
    return image


def _shift(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Misregister an image by up to one pixel, in any direction."""
    distance, angle = np.sqrt(rng.random()) * 0.9, rng.uniform(0, 2 * np.pi)
    for axis, step in ((1, distance * np.sin(angle)), (2, distance * np.cos(angle))):
        moved = np.roll(image, int(np.sign(step)), axis)
        image = image * np.float32(1 - abs(step)) + moved * np.float32(abs(step))
    return image


def _weather(
    image: NDArray[np.float32], day: datetime.date, cloudiness: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Lay snow, haze, clouds and their shadows over an image.

    Returns:
        Reflectance, shape (B, h, w), and probabilities of snow and cloud 0 to 100 without the
        padding, shape (2, h - 2 EDGE, w - 2 EDGE).
    """
    shape = image.shape[1:]
    snow = np.zeros(shape, dtype=np.float32)
    if day.month in (1, 2, 12) and rng.random() < 0.4:
        snow = _cover(_field(shape, 9.0, rng), float(rng.uniform(0.1, 0.5)))
    image += (_column(SNOW) - image) * snow * np.float32(0.85)
    image += _column(HAZE) * (
        np.float32(rng.gamma(1.6, 0.5)) * (1 + 0.3 * _field(shape, 20.0, rng))
    )
    lumps = _field(shape, 13.0, rng) + np.float32(0.35) * _field(shape, 4.0, rng)
    cloud = _cover(lumps, cloudiness)
    image *= 1 - np.float32(0.4) * _shadow_of(cloud)
    texture = 1 + np.float32(0.12) * _field(shape, 5.0, rng)
    image += (_column(CLOUD) * texture - image) * cloud
    found = np.stack([snow, np.clip(cloud * 1.25 + 0.04 * _field(shape, 3.0, rng), 0, 1)])
    percent = np.clip(np.rint(found[:, EDGE:-EDGE, EDGE:-EDGE] * 100), 0, 100)
    return np.maximum(image, np.float32(0.0005)), percent.astype(np.uint8)


def _cover(field: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Cover about a share of a grid, 0 to 1, with soft edges; a share of 0 or less is nothing."""
    if share <= 0:
        return np.zeros_like(field)
    edge = np.float32(np.quantile(field, 1 - min(share, 1.0)))
    cover: NDArray[np.float32] = np.clip((field - edge) * 2 + np.float32(0.3), 0, 1)
    return cover


def _shadow_of(cloud: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where clouds cast their shadow: to the north-west, as trees do in the aerial image."""
    rows, cols = (np.minimum(np.arange(size) + 3, size - 1) for size in cloud.shape)
    shadow: NDArray[np.float32] = cloud[rows[:, None], cols]
    return shadow


def _column(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)[:, None, None]
