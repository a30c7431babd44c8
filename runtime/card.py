"""What inference must know of a model, be it a bundle or a checkpoint."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from .classes import LandCoverClass
from .drift import InputRanges
from .manifest import Accuracy, AerialSpec, PartSpec
from .satellite import SatelliteSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model's inputs and classes, and what is known about its worth."""

    name: str
    sha256: str
    """Of the manifest of a bundle, or of the weights of a checkpoint."""
    verified: bool
    toy: bool
    aerial: AerialSpec
    satellite: SatelliteSpec | None
    """None for a model without a satellite branch."""
    classes: tuple[LandCoverClass, ...]
    input_ranges: InputRanges | None = None
    """Where the means of calibration tiles lay; None where nothing was calibrated."""
    single_branch: bool = False
    """Whether the model maps without its satellite branch, with zeros for what that gives."""
    accuracy: Accuracy | None = None
    """What was measured through a bundle; None where nothing was, and for a checkpoint."""


class Runnable(Protocol):
    """A model that turns the feed of a batch of tiles into classes, or probabilities."""

    @property
    def precision(self) -> str:
        """Precision that is computed in."""

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the whole model once; see `model.TileModel.run`."""


class TileRunner(Runnable, Protocol):
    """A model that runs one batch of tiles after the other: a bundle that is open, or PyTorch."""

    @property
    def parts(self) -> tuple[PartSpec, ...]:
        """The parts of a bundle, in the order in which they run; none for a checkpoint."""

    @property
    def batch(self) -> int:
        """Tiles per call."""

    def run_many(
        self, feeds: Iterable[Mapping[str, NDArray[Any]]]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Run feeds one after the other; see `model.OpenModel.run_many`."""

    def run_satellite(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the satellite part alone; see `model.TileModel.run_satellite`."""
