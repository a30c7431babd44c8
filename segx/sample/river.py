"""A river that meanders through a piece of country."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class River:
    """A meandering river, from west to east or from north to south."""

    along_x: bool
    """Whether it runs along x (else along y)."""
    middle: float
    """Mean position across its direction, in metres."""
    swings: tuple[tuple[float, float, float], ...]
    """Amplitude and length in metres, and phase, of its meanders."""
    half_width: float
    """Half its width in metres."""

    def distance(self, ys: NDArray[np.float32], xs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Signed distance from the middle line in metres; `ys` and `xs` broadcast together."""
        along, across = (xs, ys) if self.along_x else (ys, xs)
        centre: NDArray[np.float32] = np.full(along.shape, self.middle, dtype=np.float32)
        slope: NDArray[np.float32] = np.zeros(along.shape, dtype=np.float32)
        for amplitude, length, phase in self.swings:
            angle = (along * np.float32(2 * np.pi / length) + np.float32(phase)).astype(np.float32)
            centre += np.float32(amplitude) * np.sin(angle)
            slope += np.float32(amplitude * 2 * np.pi / length) * np.cos(angle)
        return ((across - centre) / np.sqrt(1 + slope**2)).astype(np.float32)


def draw_river(core: Bounds, rng: np.random.Generator) -> River:
    """Draw a river through the core, in either direction."""
    left, top, right, bottom = core
    along_x = bool(rng.random() < 0.5)
    low, high = (top, bottom) if along_x else (left, right)
    return River(
        along_x=along_x,
        middle=float(low + (high - low) * rng.uniform(0.2, 0.8)),
        swings=tuple(
            (float(size * rng.uniform(0.7, 1.3)), length, float(rng.uniform(0, 2 * np.pi)))
            for size, length in ((16.0, 310.0), (6.0, 120.0), (2.0, 47.0))
        ),
        half_width=float(rng.uniform(6.0, 8.5)),
    )
