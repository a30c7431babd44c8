"""Turn labels that are drawn in colours into class indices, and count what fits no colour.

Colours are matched exactly first. What is left takes the nearest colour, if none of its channels is
more than `TOLERANCE` off: labels that were resampled or stored with loss hold such pixels. The rest
is ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics import IGNORE_INDEX

TOLERANCE = 8
"""Largest difference in any channel (the L-infinity distance), of 255."""

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Labels that were read from colours."""

    labels: NDArray[np.uint8]
    """Class indices, shape (H, W); 255 is ignored."""
    near: int
    """Pixels that took the nearest colour."""
    unknown: int
    """Pixels that are like no colour; they are ignored."""


def decode(colors: NDArray[np.uint8], palette: Sequence[tuple[Color, int]]) -> Decoded:
    """Turn colours into class indices.

    Args:
        colors: Red, green and blue, shape (3, H, W).
        palette: Colours and the index that each means; of two that are equally near, the first.
    """
    codes = _codes(colors)
    labels = np.full(codes.shape, IGNORE_INDEX, dtype=np.uint8)
    known = np.zeros(codes.shape, dtype=np.bool_)
    for color, index in palette:
        same = codes == _code(color)
        labels[same] = index
        known |= same
    left = np.flatnonzero(~known.ravel())
    if not left.size:
        return Decoded(labels=labels, near=0, unknown=0)
    pixels = colors.reshape(3, -1)[:, left].astype(np.int16)
    distances = np.stack(
        [
            np.abs(pixels - np.array(color, dtype=np.int16)[:, None]).max(axis=0)
            for color, _ in palette
        ]
    )
    nearest = distances.argmin(axis=0)
    close = distances.min(axis=0) <= TOLERANCE
    indices = np.array([index for _, index in palette], dtype=np.uint8)
    labels.ravel()[left[close]] = indices[nearest[close]]
    return Decoded(labels=labels, near=int(close.sum()), unknown=int((~close).sum()))


def _codes(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    red, green, blue = colors.astype(np.uint32)
    codes: NDArray[np.uint32] = (red << 16) | (green << 8) | blue
    return codes


def _code(color: Color) -> int:
    return (color[0] << 16) | (color[1] << 8) | color[2]
