"""The eight ways to put a square on itself."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetry:
    """One of them."""

    turns: int = 0
    """Quarter turns, counter-clockwise."""
    mirror: bool = False
    """Whether left and right change places after the turns."""

    def __call__(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Turn and mirror the last two axes, which must be equally long."""
        turned = np.rot90(array, self.turns, axes=(-2, -1))
        return turned[..., ::-1] if self.mirror else turned

    @property
    def inverse(self) -> "Symmetry":
        """The one that undoes it; what mirrors undoes itself."""
        return self if self.mirror else Symmetry(turns=-self.turns % 4)


FLIPS = tuple(Symmetry(turns=turns, mirror=mirror) for mirror in (False, True) for turns in (0, 2))
"""Nothing, half a turn, and both mirrors: half a turn and a mirror swap top and bottom."""

DIHEDRAL = tuple(
    Symmetry(turns=turns, mirror=mirror) for mirror in (False, True) for turns in range(4)
)
"""All eight; the first one changes nothing."""
