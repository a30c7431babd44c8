"""A bundle opened for inference: its parts run one after the other."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .backends import BackendChoice, open_session
from .bundle import GOLDEN_NAME, Bundle
from .card import TileRunner
from .engines.compiled import CompiledGraphs
from .errors import BundleError, brief
from .manifest import PartSpec, TensorSpec, Variant
from .numpy_files import UNREADABLE, read_arrays
from .satellite import SatelliteInput
from .session import Session

MOST_GOLDEN_BYTES = 1 << 30
"""A tile of 2048 px with probabilities of 19 classes has a third of that."""


class OpenModel(TileRunner, Protocol):
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

    def run_satellite(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the satellite part alone; see `TileModel.run_satellite`."""

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
    def batch(self) -> int:
        """Tiles per call."""
        return self.inputs[0].with_batch(1)[0]

    @property
    def precision(self) -> str:
        """Precision that the backend computes in; several are joined by `/`."""
        return "/".join(sorted({session.precision for session in self.sessions}))

    @property
    def takes_satellite(self) -> bool:
        """Whether the model has a satellite branch."""
        return any(part.role == "satellite" for part in self.parts)

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run all parts but those whose outputs are all given.

        Args:
            feed: `aerial` uint8 (N, C, H, W) and, for models with a satellite branch, `satellite`
                float32 (N, T, B, h, w), `date_mask` and `days` float32 (N, T). In place of a part's
                inputs it may hold its outputs: then that part is not run.

        Returns:
            Outputs by name, of the parts that were run; the arrays may be overwritten by the next
            call.

        Raises:
            FeedError: If an array does not match.
        """
        known, made = dict(feed), dict[str, NDArray[Any]]()
        for part, session in zip(self.parts, self.sessions, strict=True):
            if not part.is_given(feed):
                found = self._run_part(part, session, known)
                known.update(found)
                made.update(found)
        return made

    def _run_part(
        self, part: PartSpec, session: Session, known: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        begin = time.perf_counter()
        found = session.run({s.name: known[s.name] for s in part.inputs if s.name in known})
        passed = time.perf_counter() - begin
        self.part_seconds[part.name] = self.part_seconds.get(part.name, 0.0) + passed
        return found

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

    def run_satellite(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the satellite part alone, for one tile.

        A model that was opened for more tiles per call works as long as for all of them.

        Args:
            feed: `satellite`, `date_mask` and `days` of one tile, as `run` takes them.

        Returns:
            Outputs of the part for this tile by name, in arrays that may be kept.

        Raises:
            BundleError: If there is no such part.
            FeedError: If an array does not match.
        """
        part = satellite_part(self.parts)
        session = self.sessions[self.parts.index(part)]
        batch = session.inputs[0].with_batch(1)[0]
        taken = {spec.name: feed[spec.name] for spec in part.inputs if spec.name in feed}
        found = self._run_part(part, session, repeated(taken, batch))
        return {name: array[:1].copy() for name, array in found.items()}

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
    kept: CompiledGraphs | None = None,
) -> TileModel:
    """Open the parts of a bundle one by one, with any backend but TensorRT.

    Args:
        bundle: The bundle.
        choice: What runs it.
        variant: What the last part ends in.
        threads: Processor threads; the library's default if None.
        batch: Tiles per call.
        kept: Where OpenVINO's compiled graphs are looked for, and kept; None: nowhere.

    Raises:
        BackendError: If the backend's library is missing.
        BundleError: If a graph cannot be opened.
    """
    parts = bundle.manifest.parts_for(variant)
    sessions = tuple(
        open_session(choice.name, bundle.file(part), part, batch=batch, threads=threads, kept=kept)
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
    return feed if satellite is None else {**feed, **series_feed(satellite)}


def series_feed(satellite: Sequence[SatelliteInput]) -> dict[str, NDArray[Any]]:
    """Stack satellite inputs into the arrays that the satellite part takes."""
    return {
        "satellite": np.stack([item.series for item in satellite]),
        "date_mask": np.stack([item.date_mask for item in satellite]),
        "days": np.stack([item.days for item in satellite]),
    }


def satellite_part(parts: Sequence[PartSpec]) -> PartSpec:
    """Find the part that is the satellite branch.

    Raises:
        BundleError: If there is none.
    """
    for part in parts:
        if part.role == "satellite":
            return part
    names = ", ".join(part.name for part in parts)
    raise BundleError(
        f"the model has the parts {names}; expected one that is the satellite branch alone; use a "
        "bundle of both inputs that was exported without --merge-parts"
    )


def without_satellite(
    parts: Sequence[PartSpec], feed: Mapping[str, NDArray[Any]], batch: int
) -> dict[str, NDArray[Any]]:
    """Leave the satellite branch out: give zeros as its logits, so that it is not run.

    This means something only for models of which `ModelCard.single_branch` is true.

    Args:
        parts: The model's parts.
        feed: The other inputs.
        batch: Tiles in them.

    Raises:
        BundleError: If the model has no such part.
    """
    outputs = satellite_part(parts).outputs
    zeros = {spec.name: np.zeros(spec.with_batch(batch), spec.dtype) for spec in outputs}
    return {**feed, **zeros}


def golden_feed(bundle: Bundle) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Read the golden tile of a bundle: its feed, and the outputs expected for it.

    Raises:
        BundleError: If it is missing or damaged, or says nothing of classes and confidence.
    """
    path = bundle.path / GOLDEN_NAME
    if GOLDEN_NAME not in bundle.manifest.files:  # of what is listed, the hash was checked
        raise BundleError(
            f"{bundle.path} lists no {GOLDEN_NAME}; expected the bundle's golden tile; export the "
            "bundle again"
        )
    try:
        arrays = read_arrays(path, most_bytes=MOST_GOLDEN_BYTES)
    except UNREADABLE as error:
        raise BundleError(
            f"{path} cannot be read ({brief(error)}); expected the bundle's golden tile; copy or "
            "export the bundle again"
        ) from error
    feed, out = (
        {n.removeprefix(kind): arrays[n] for n in arrays if n.startswith(kind)}
        for kind in ("input.", "output.")
    )
    parts = bundle.manifest.parts
    made = {spec.name for part in parts for spec in part.outputs}
    taken = {spec.name for part in parts for spec in part.inputs} - made
    if not taken <= feed.keys() or not {"classes", "confidence"} <= out.keys():
        wanted = ", ".join(f"input.{name}" for name in sorted(taken))
        raise BundleError(
            f"{path} holds {', '.join(sorted([*feed, *out])) or 'nothing'}; expected {wanted}, "
            "output.classes and output.confidence; export the bundle again"
        )
    specs = {spec.name: spec for part in parts for spec in (*part.inputs, *part.outputs)}
    for name, array in (feed | out).items():
        if name in specs and _kind(array) != (specs[name].dtype, specs[name].with_batch(1)):
            raise BundleError(
                f"{path} holds '{name}' as {array.dtype} of shape {array.shape}; expected "
                f"{specs[name].dtype} of {specs[name].with_batch(1)}; export the bundle again"
            )
    return feed, out


def _kind(array: NDArray[Any]) -> tuple[str, tuple[int, ...]]:
    return array.dtype.name, array.shape


def repeated(arrays: Mapping[str, NDArray[Any]], batch: int) -> dict[str, NDArray[Any]]:
    """Make a batch of one tile, by name: shape (1, ...) becomes (batch, ...)."""
    return {name: np.repeat(array, batch, axis=0) for name, array in arrays.items()}
