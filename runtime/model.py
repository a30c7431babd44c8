"""A bundle opened for inference: its parts run one after the other."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .backends import BackendChoice, open_session
from .bundle import GOLDEN_NAME, Bundle
from .card import Runnable
from .errors import BundleError, brief
from .manifest import PartSpec, TensorSpec, Variant
from .satellite import SatelliteInput
from .session import Session


class OpenModel(Runnable, Protocol):
    """All parts of a bundle, opened with one backend: `TileModel`, or a model on a GPU."""

    @property
    def parts(self) -> tuple[PartSpec, ...]:
        """The parts, in the order in which they run."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes, with the batch that the model was opened for filled in."""

    @property
    def part_seconds(self) -> Mapping[str, float]:
        """Busy seconds by part, of all runs so far."""

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Milliseconds on the device of all runs so far: upload, each part, download.

        Empty where nothing is copied to a device.
        """

    def run_many(
        self, feeds: Iterable[Mapping[str, NDArray[Any]]]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Run feeds one after the other, as fast as the backend can; results come in order.

        The arrays of a result may be overwritten when the next one is asked for.
        """

    def trace(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run all parts once and give the outputs of every one, in arrays that may be kept."""

    def close(self) -> None:
        """Give memory back; the model cannot be run any more."""


@dataclass
class TileModel:
    """Sessions of a bundle's parts, in order."""

    parts: tuple[PartSpec, ...]
    sessions: tuple[Session, ...]
    part_seconds: dict[str, float] = field(default_factory=dict)
    """Busy seconds by part."""
    stage_ms: dict[str, float] = field(default_factory=dict)
    """Nothing: these sessions do not tell copies from work."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes, with the batch that the model was opened for filled in."""
        taken: dict[str, TensorSpec] = {}
        given: set[str] = set()
        for part, session in zip(self.parts, self.sessions, strict=True):
            taken.update({spec.name: spec for spec in session.inputs if spec.name not in given})
            given |= {spec.name for spec in part.outputs}
        return tuple(taken.values())

    @property
    def precision(self) -> str:
        """Precision that the backend computes in; several are joined by `/`."""
        return "/".join(sorted({session.precision for session in self.sessions}))

    @property
    def takes_satellite(self) -> bool:
        """Whether the model has a satellite branch."""
        return any(part.role == "satellite" for part in self.parts)

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run all parts.

        Args:
            feed: `aerial` uint8 (N, C, H, W) and, for models with a satellite branch, `satellite`
                float32 (N, T, B, h, w), `date_mask` and `days` float32 (N, T).

        Returns:
            Outputs of all parts by name; the arrays may be overwritten by the next call.

        Raises:
            FeedError: If an array does not match.
        """
        known = dict(feed)
        for part, session in zip(self.parts, self.sessions, strict=True):
            begin = time.perf_counter()
            wanted = [spec.name for spec in part.inputs if spec.name in known]
            known.update(session.run({name: known[name] for name in wanted}))
            passed = time.perf_counter() - begin
            self.part_seconds[part.name] = self.part_seconds.get(part.name, 0.0) + passed
        return {name: array for name, array in known.items() if name not in feed}

    def run_many(
        self, feeds: Iterable[Mapping[str, NDArray[Any]]]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Run feeds one after the other; a result may be overwritten when the next is asked for.

        Raises:
            FeedError: If an array does not match.
        """
        for feed in feeds:
            yield self.run(feed)

    def trace(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run all parts once and give the outputs of every one, in arrays that may be kept.

        Raises:
            FeedError: If an array does not match.
        """
        return {name: array.copy() for name, array in self.run(feed).items()}

    def close(self) -> None:
        """Close all sessions."""
        for session in self.sessions:
            session.close()


def open_model(
    bundle: Bundle,
    choice: BackendChoice,
    *,
    variant: Variant = "classes",
    threads: int | None = None,
    batch: int = 1,
) -> TileModel:
    """Open the parts of a bundle one by one, with any backend but TensorRT.

    Raises:
        BackendError: If the backend's library is missing.
        BundleError: If a graph cannot be opened.
    """
    parts = bundle.manifest.parts_for(variant)
    sessions = tuple(
        open_session(choice.name, bundle.file(part), part, batch=batch, threads=threads)
        for part in parts
    )
    return TileModel(parts=parts, sessions=sessions)


def make_feed(
    aerial: Sequence[NDArray[np.uint8]], satellite: Sequence[SatelliteInput] | None
) -> dict[str, NDArray[Any]]:
    """Stack tiles into the arrays that the parts take.

    Args:
        aerial: Tiles as stored, each of shape (C, H, W).
        satellite: The satellite input of each tile; None for a model without that branch.
    """
    feed: dict[str, NDArray[Any]] = {"aerial": np.stack(aerial)}
    if satellite is not None:
        feed["satellite"] = np.stack([item.series for item in satellite])
        feed["date_mask"] = np.stack([item.date_mask for item in satellite])
        feed["days"] = np.stack([item.days for item in satellite])
    return feed


def golden_feed(bundle: Bundle) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Read the golden tile of a bundle: its feed, and the outputs expected for it.

    Raises:
        BundleError: If it is missing or damaged, or says nothing of classes and confidence.
    """
    path = bundle.path / GOLDEN_NAME
    try:
        with np.load(path, allow_pickle=False) as arrays:
            feed = {n.removeprefix("input."): arrays[n] for n in arrays if n.startswith("input.")}
            out = {n.removeprefix("output."): arrays[n] for n in arrays if n.startswith("output.")}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BundleError(
            f"{path} cannot be read ({brief(error)}); expected the bundle's golden tile; copy or "
            "export the bundle again"
        ) from error
    parts = bundle.manifest.parts
    made = {spec.name for part in parts for spec in part.outputs}
    taken = {spec.name for part in parts for spec in part.inputs} - made
    if not taken <= feed.keys() or not {"classes", "confidence"} <= out.keys():
        wanted = ", ".join(f"input.{name}" for name in sorted(taken))
        raise BundleError(
            f"{path} holds {', '.join(sorted([*feed, *out])) or 'nothing'}; expected {wanted}, "
            "output.classes and output.confidence; export the bundle again"
        )
    return feed, out


def batch_of(model: OpenModel) -> int:
    """Tiles per call that a model was opened for."""
    return model.inputs[0].with_batch(1)[0]


def repeated(arrays: Mapping[str, NDArray[Any]], batch: int) -> dict[str, NDArray[Any]]:
    """Make a batch of one tile, by name: shape (1, ...) becomes (batch, ...)."""
    return {name: np.repeat(array, batch, axis=0) for name, array in arrays.items()}
