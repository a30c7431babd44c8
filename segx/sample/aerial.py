"""Photograph painted ground from the air: red, green, blue, near infrared and elevation."""

import numpy as np
from numpy.typing import NDArray

from .ground import Ground
from .noise import Field
from .surfaces import Surface

SUN = (0.56, 0.62, 0.55)
"""Direction to the sun: east, south, up; of unit length to two digits."""
AERIAL_M = 0.2
"""Resolution of the aerial image, in metres."""
STEEP = 4.0
"""Rise per metre from which on a slope is a wall."""
HEIGHT_UNIT_M = 0.2
"""Metres per unit of the elevation band, which saturates at 255."""
SHADOW_LIGHT = np.array([0.38, 0.42, 0.5, 0.36], dtype=np.float32)
"""Light of the open sky in a shadow, per band."""

_PALETTE: dict[Surface, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    Surface.GRASS: ((105, 113, 82, 142), (17, 8, 9, -9)),
    Surface.SOIL: ((152, 134, 113, 121), (13, 9, 11, 8)),
    Surface.ASPHALT: ((124, 126, 131, 98), (8, 8, 8, 7)),
    Surface.PAVING: ((146, 145, 144, 116), (13, 11, 8, 9)),
    Surface.GRAVEL: ((168, 159, 144, 134), (10, 11, 13, 6)),
    Surface.TILES: ((182, 146, 122, 128), (14, 4, -4, 3)),
    Surface.FLAT_ROOF: ((166, 168, 171, 140), (22, 22, 21, 19)),
    Surface.SCRUB: ((116, 112, 87, 126), (11, 6, 6, -3)),
    Surface.FLOOR: ((62, 64, 53, 84), (4, 3, 3, 3)),
    Surface.WATER: ((49, 60, 64, 31), (2, 4, 4, 2)),
    Surface.POOL: ((106, 180, 198, 66), (8, 8, 7, 4)),
    Surface.GLASS: ((186, 193, 196, 156), (10, 10, 10, 8)),
    Surface.VINE: ((96, 110, 78, 158), (7, 4, 4, 5)),
    Surface.BROADLEAF: ((88, 100, 75, 150), (10, 8, 5, 10)),
    Surface.NEEDLE: ((82, 94, 76, 142), (9, 8, 5, 11)),
    Surface.SHRUB: ((92, 99, 76, 138), (9, 6, 5, 8)),
    Surface.STUMPS: ((130, 115, 95, 110), (9, 6, 5, 5)),
    Surface.PAINT: ((212, 212, 208, 190), (3, 3, 3, 3)),
    Surface.CAR: ((140, 138, 138, 120), (52, 46, 40, 36)),
}
"""Colour (red, green, blue, near infrared; 0 to 255) and its change per unit of hue."""

_GRAIN: dict[Surface, tuple[float, float, float]] = {
    Surface.GRASS: (0.055, 0.06, 0.07),
    Surface.SOIL: (0.035, 0.045, 0.06),
    Surface.ASPHALT: (0.02, 0.02, 0.04),
    Surface.PAVING: (0.03, 0.04, 0.05),
    Surface.GRAVEL: (0.05, 0.06, 0.07),
    Surface.TILES: (0.05, 0.03, 0.03),
    Surface.FLAT_ROOF: (0.02, 0.03, 0.03),
    Surface.SCRUB: (0.08, 0.11, 0.09),
    Surface.FLOOR: (0.1, 0.1, 0.05),
    Surface.WATER: (0.02, 0.03, 0.06),
    Surface.POOL: (0.03, 0.02, 0.02),
    Surface.GLASS: (0.05, 0.03, 0.02),
    Surface.VINE: (0.12, 0.1, 0.04),
    Surface.BROADLEAF: (0.11, 0.1, 0.03),
    Surface.NEEDLE: (0.12, 0.09, 0.03),
    Surface.SHRUB: (0.12, 0.08, 0.03),
    Surface.STUMPS: (0.1, 0.16, 0.08),
    Surface.PAINT: (0.02, 0.02, 0.02),
    Surface.CAR: (0.02, 0.02, 0.02),
}
"""Relative size of grain of 0.3 m, 1.5 m and 11 m."""
GRAIN_M = (0.32, 1.5, 11.0)


def photograph(ground: Ground, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take the aerial image of painted ground.

    Args:
        ground: The ground at 0.2 m.
        rng: Source of grain and noise.

    Returns:
        Red, green, blue, near infrared, elevation (1 unit = 0.2 m); shape (5, rows, columns).
    """
    grain = [_grain(ground, size, rng) for size in GRAIN_M]
    light = _light(ground.height)
    shadow = _shadow(ground.height)
    strengths = np.array([_GRAIN[surface] for surface in Surface], dtype=np.float32).T.copy()
    image = np.empty((5, *ground.cover.shape), dtype=np.uint8)
    for top in range(0, len(ground.ys), 128):
        rows = slice(top, top + 128)
        bright = 1 + ground.tone[rows]
        for layer, strength in zip(grain, strengths, strict=True):
            bright += layer[rows] * strength[ground.surface[rows]]
        bright *= light[rows]
        _expose(image[:4, rows], ground, rows, (bright, shadow[rows]))
    _blur_and_noise(image[:4], rng)
    height = ground.height * np.float32(1 / HEIGHT_UNIT_M)
    height += np.float32(0.55) * np.abs(grain[1])
    image[4] = np.clip(np.rint(_soften(height)), 0, 255)
    return image


def _grain(ground: Ground, size: float, rng: np.random.Generator) -> NDArray[np.float32]:
    bounds = (0.0, 0.0, float(ground.xs[-1]), float(ground.ys[-1]))
    return Field.over(bounds, size, rng).on_axes(ground.ys, ground.xs)


def _expose(
    image: NDArray[np.uint8],
    ground: Ground,
    rows: slice,
    light: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Fill in the four colour bands of some rows from brightness and shadow."""
    bright, shadow = light
    surface, hue = ground.surface[rows], ground.hue[rows]
    colours = np.array([_PALETTE[kind] for kind in Surface], dtype=np.float32)
    for band in range(4):
        value = colours[:, 0, band][surface] + colours[:, 1, band][surface] * hue
        value *= bright
        value *= 1 - shadow * (1 - SHADOW_LIGHT[band])
        image[band] = np.clip(np.rint(value), 2, 254)


def _light(height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brightness of each pixel's slope in the sun, 1 on the flat."""
    east = np.zeros_like(height)
    south = np.zeros_like(height)
    east[:, 1:-1] = (height[:, 2:] - height[:, :-2]) / np.float32(2 * AERIAL_M)
    south[1:-1] = (height[2:] - height[:-2]) / np.float32(2 * AERIAL_M)
    # Walls and rims are seen from above: they have no lit face.
    rim = (np.abs(east) > STEEP) | (np.abs(south) > STEEP)
    east[rim] = 0
    south[rim] = 0
    facing = np.float32(SUN[2]) - east * np.float32(SUN[0]) - south * np.float32(SUN[1])
    facing /= np.sqrt(1 + east**2 + south**2)
    # Half of the light is diffuse, so that slopes away from the sun are not black.
    light = np.float32(0.5) + facing * np.float32(0.5 / SUN[2])
    soft: NDArray[np.float32] = np.clip(_soften(light), np.float32(0.5), np.float32(1.38))
    return soft


def _soften(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average over a cross of pixels."""
    soft = values.astype(np.float32) * np.float32(0.5)
    quarter = values * np.float32(0.25)
    soft[1:-1] += (quarter[2:] + quarter[:-2]) * np.float32(0.5)
    soft[:, 1:-1] += (quarter[:, 2:] + quarter[:, :-2]) * np.float32(0.5)
    soft[[0, -1]] += quarter[[0, -1]]
    soft[:, [0, -1]] += quarter[:, [0, -1]]
    return soft


def _shadow(height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cast shadows: 0 in the sun to 1; found at half resolution, by walking towards the sun."""
    rows, cols = height.shape
    coarse = height[::2, ::2]
    flat = float(np.hypot(SUN[0], SUN[1]))
    rise = np.float32(2 * AERIAL_M * SUN[2] / flat)
    steps = int(np.ceil(float(coarse.max(initial=0.0)) / rise))
    shade = np.zeros_like(coarse)
    for step in range(1, steps + 1):
        down, right = round(step * SUN[1] / flat), round(step * SUN[0] / flat)
        if down >= coarse.shape[0] or right >= coarse.shape[1]:
            break
        beyond = coarse[down:, right:] - coarse[: coarse.shape[0] - down, : coarse.shape[1] - right]
        part = shade[: beyond.shape[0], : beyond.shape[1]]
        np.maximum(part, np.clip((beyond - rise * step) * 2, 0, 1), out=part)
    full = np.repeat(np.repeat(_soften(shade), 2, axis=0), 2, axis=1)[:rows, :cols]
    return _soften(full)


def _blur_and_noise(image: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Give the bands the sharpness and the noise of a camera."""
    noise = rng.standard_normal(image.shape[1:], dtype=np.float32) * np.float32(2.2)
    for band in range(len(image)):
        soft = _soften(image[band].astype(np.float32))
        soft += np.roll(noise, 37 * band, axis=1)
        image[band] = np.clip(np.rint(soft), 1, 254)
