"""Repeatable randomness: smooth fields that any grid can sample, and hashes of integers.

A `Field` is fixed to the ground, so a fine and a coarse grid see the same shapes. Only elementwise
arithmetic is used (no matrix products), so a seed gives the same bytes whatever the thread count.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bounds = tuple[float, float, float, float]
"""Left, top, right, bottom, in metres; y grows to the south."""

FIELD_DEVIATION = 0.54
"""Standard deviation of unit normals after quadratic B-spline interpolation, on average."""


@dataclass(frozen=True, slots=True)
class Field:
    """Smooth noise of about unit deviation over a rectangle of ground."""

    left: float
    """x of the first knot, in metres."""
    top: float
    """y of the first knot, in metres; y grows to the south."""
    knot_m: float
    """Distance of the knots, in metres: the size of the bumps."""
    knots: NDArray[np.float32]
    """Values at the knots, shape (rows, columns)."""

    @classmethod
    def over(cls, bounds: Bounds, knot_m: float, rng: np.random.Generator) -> "Field":
        """Draw a field that covers bounds (left, top, right, bottom), in metres."""
        left, top, right, bottom = bounds
        rows = int(np.ceil((bottom - top) / knot_m)) + 4
        cols = int(np.ceil((right - left) / knot_m)) + 4
        knots = rng.standard_normal((rows, cols), dtype=np.float32) / np.float32(FIELD_DEVIATION)
        return cls(left - 1.5 * knot_m, top - 1.5 * knot_m, knot_m, knots)

    def on_axes(self, ys: NDArray[np.float32], xs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sample at every pair of the axes; shape (len(ys), len(xs))."""
        row, row_weights = self._spline(ys, self.top, self.knots.shape[0])
        col, col_weights = self._spline(xs, self.left, self.knots.shape[1])
        lines = sum(self.knots[row + k] * row_weights[k][:, None] for k in range(3))
        values: NDArray[np.float32] = np.zeros((len(ys), len(xs)), dtype=np.float32)
        for k in range(3):
            values += np.take(lines, col + k, axis=1) * col_weights[k]
        return values

    def at(self, ys: NDArray[np.float32], xs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sample at points; `ys` and `xs` have one shape."""
        row, row_weights = self._spline(ys, self.top, self.knots.shape[0])
        col, col_weights = self._spline(xs, self.left, self.knots.shape[1])
        values = np.zeros(np.shape(ys), dtype=np.float32)
        for i in range(3):
            for j in range(3):
                values += self.knots[row + i, col + j] * row_weights[i] * col_weights[j]
        return values

    def _spline(
        self, position: NDArray[np.float32], start: float, size: int
    ) -> tuple[NDArray[np.intp], tuple[NDArray[np.float32], ...]]:
        """First of three knots around each position, and their quadratic B-spline weights."""
        steps = (np.asarray(position, dtype=np.float64) - start) / self.knot_m
        steps = np.clip(steps, 0.5, size - 1.5 - 1e-6)
        middle = np.floor(steps + 0.5).astype(np.intp)
        offset = (steps - middle).astype(np.float32)
        weights = (
            np.float32(0.5) * (np.float32(0.5) - offset) ** 2,
            np.float32(0.75) - offset**2,
            np.float32(0.5) * (np.float32(0.5) + offset) ** 2,
        )
        return middle - 1, weights


def uniform(key: NDArray[np.integer], salt: int) -> NDArray[np.float32]:
    """Hash integers to numbers in [0, 1), the same for the same key and salt.

    Reference: the two-round multiply and shift of C. Wellons, "Prospecting for hash functions"
        (2018, https://nullprogram.com/blog/2018/07/31/).
    """
    mixed = np.atleast_1d(key).astype(np.uint32) ^ np.uint32(salt * 0x9E3779B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97), (15, 1)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    values: NDArray[np.float32] = (mixed >> np.uint32(8)).astype(np.float32)
    return (values * np.float32(2.0**-24)).reshape(np.shape(key))
