"""Run a model on mirrored and turned tiles, and average what it says: test-time augmentation.

    tile, series --- symmetry 1 ---> model ---> probabilities --- undone ---.
                 --- symmetry 2 ---> model ---> probabilities --- undone ---+--- mean
                 ...                                                        |
                 --- symmetry n ---> model ---> probabilities --- undone ---'

A tile lies in the middle of its satellite window, so both are moved alike and stay on each other.
The model is run 4 times (`flips`) or 8 times (`dihedral`) for every batch.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .card import TileRunner
from .errors import BackendError
from .manifest import PartSpec
from .symmetry import DIHEDRAL, FLIPS, Symmetry

TestTime = Literal["none", "flips", "dihedral"]
"""Which symmetries tiles are run in."""

SYMMETRIES: dict[TestTime, tuple[Symmetry, ...]] = {
    "none": (Symmetry(),),
    "flips": FLIPS,
    "dihedral": DIHEDRAL,
}

MOVED = ("aerial", "satellite")
"""Inputs that are pictures: their last two axes are rows and columns."""

Feed = Mapping[str, NDArray[Any]]


def augmented(model: TileRunner, kind: TestTime) -> TileRunner:
    """Give a model that runs every batch in these symmetries; the same model for `none`.

    Args:
        model: A model that ends in probabilities.
        kind: Which symmetries.
    """
    return model if kind == "none" else Augmented(model, SYMMETRIES[kind])


class Augmented:
    """A model around another, for square tiles and square satellite windows.

    Outputs of a part in place of its inputs, such as the zeros of a satellite branch that is left
    out, are handed on as they are.
    """

    def __init__(self, model: TileRunner, symmetries: tuple[Symmetry, ...]) -> None:
        """Take an opened model that ends in probabilities."""
        self.model, self.symmetries = model, symmetries

    @property
    def parts(self) -> tuple[PartSpec, ...]:
        """The parts of the model."""
        return self.model.parts

    @property
    def batch(self) -> int:
        """Tiles per call, of this model as of the other."""
        return self.model.batch

    @property
    def precision(self) -> str:
        """Precision that the model computes in."""
        return self.model.precision

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """Run one batch in every symmetry.

        Args:
            feed: As the model takes it; aerial tiles and satellite windows are square.

        Returns:
            `probabilities`, float32 (N, K, H, W).

        Raises:
            FeedError: If an array does not match.
        """
        (result,) = self.run_many([feed])
        return result

    def run_many(self, feeds: Iterable[Feed]) -> Iterator[dict[str, NDArray[Any]]]:
        """Run batches one after the other, each in every symmetry; results come in order.

        Raises:
            FeedError: If an array does not match.
        """
        every = (_moved(feed, symmetry) for feed in feeds for symmetry in self.symmetries)
        # In float64 the order of the sum does not show in the float32 that is made of it.
        total = np.zeros(0)
        for index, result in enumerate(self.model.run_many(every)):
            place = index % len(self.symmetries)
            back = self.symmetries[place].inverse(result["probabilities"])
            if place == 0:
                total = back.astype(np.float64)
            else:
                total += back
            if place == len(self.symmetries) - 1:
                total /= len(self.symmetries)
                yield {"probabilities": total.astype(np.float32)}

    def run_satellite(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """Refuse: what the branch gives for one window is not what it gives for a mirrored one.

        Raises:
            BackendError: Always.
        """
        raise BackendError(
            "the satellite branch alone is asked for under test-time augmentation; expected whole "
            "runs; leave out --tta or --satellite-lattice"
        )


def _moved(feed: Feed, symmetry: Symmetry) -> dict[str, NDArray[Any]]:
    return {
        name: np.ascontiguousarray(symmetry(array)) if name in MOVED else array
        for name, array in feed.items()
    }
