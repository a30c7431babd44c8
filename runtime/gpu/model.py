"""A bundle opened on a GPU: its parts chained on the device."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from ..errors import BackendError, DeviceError, FeedError
from ..manifest import PartSpec, Precision, TensorSpec
from ..session import ExecutedPrecision, check_feed
from .device import Device
from .memory import run_all
from .pipe import DOWNLOAD, UPLOAD, Arrays, Pipe, Slot
from .tensors import with_batch

EXECUTED: dict[Precision, ExecutedPrecision] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "int8": "int8+fp16",
}
"""What a part of a precision runs in: engines compute in the types that the graph says."""

Feed = Mapping[str, NDArray[Any]]

_log = logging.getLogger(__name__)


class GpuModel:
    """All parts of a bundle on one GPU; any thread may call, one at a time is served.

    TensorRT 10 and 11 launch each kernel anew, TensorRT-RTX captures CUDA graphs by itself.
    """

    def __init__(
        self,
        device: Device,
        pipe: Pipe,
        parts: Sequence[PartSpec],
        *,
        batch: int,
        undo: list[Callable[[], None]],
    ) -> None:
        """Take over what was opened; `close` gives it back.

        Args:
            device: The GPU.
            pipe: What runs the parts.
            parts: The parts, in the order in which they run.
            batch: Tiles per call at most.
            undo: What closes the pipe and all that it uses but the device, the last step first.
        """
        self.parts = tuple(parts)
        self.batch = batch
        """Tiles per call at most."""
        self.part_seconds: dict[str, float] = {}
        """Busy seconds on the device by part."""
        self.stage_ms: dict[str, float] = {}
        """Milliseconds on the device by stage: upload, each part, download."""
        self._device, self._pipe, self._undo = device, pipe, undo
        self._free = deque(pipe.slots)
        self._lock = threading.Lock()
        self._closed = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes, with the largest batch filled in."""
        return with_batch(self._pipe.tensors.inputs, self.batch)

    @property
    def precision(self) -> str:
        """Precision that is computed in; several are joined by `/`."""
        return "/".join(sorted({EXECUTED[part.precision] for part in self.parts}))

    def run(self, feed: Feed) -> Arrays:
        """Run all parts once.

        Args:
            feed: Arrays of all inputs, of 1 to `batch` tiles; others are passed over. A part whose
                outputs it holds is not run. See `runtime.model.TileModel.run`.

        Returns:
            What is computed and no part takes, by name; the arrays are the caller's.

        Raises:
            FeedError: If an array does not match.
            DeviceError: If the GPU fails.
            EngineError: If TensorRT refuses.
            ValueError: If the model is closed, or `run_many` has all slots.
        """
        batch = self._check(feed)
        with self._turn(), self._slot() as slot:
            self._pipe.begin(slot, feed, batch)
            return _copied(self._end(slot))

    def trace(self, feed: Feed) -> Arrays:
        """Run all parts once and give the outputs of every one; see `run`."""
        batch = self._check(feed)
        with self._turn(), self._slot() as slot:
            self._pipe.begin(slot, feed, batch)
            results = _copied(self._end(slot))
            return {**self._pipe.inner(slot), **results}

    def run_many(self, feeds: Iterable[Feed]) -> Iterator[Arrays]:
        """Run feeds one after the other; the next is on its way before a result is waited for.

        Args:
            feeds: As `run` takes them.

        Yields:
            What `run` gives, in order, in page-locked memory: an array is overwritten when the
            next result is asked for, and gone when the model is closed.

        Raises:
            FeedError: If an array does not match.
            DeviceError: If the GPU fails.
            EngineError: If TensorRT refuses.
            ValueError: If the model is closed, or another `run_many` has all slots.
        """
        flying: deque[Slot] = deque()
        try:
            for feed in feeds:
                batch = self._check(feed)
                with self._turn():
                    flying.append(self._take())
                    self._pipe.begin(flying[-1], feed, batch)
                if len(flying) == len(self._pipe.slots):
                    yield self._receive(flying[0])
                    self._free.append(flying.popleft())
            while flying:
                yield self._receive(flying[0])
                self._free.append(flying.popleft())
        finally:
            self._recall(flying)

    def run_satellite(self, feed: Feed) -> Arrays:
        """Refuse to run the satellite part alone.

        Raises:
            BackendError: Always.
        """
        raise BackendError(
            "the satellite part cannot be run alone on TensorRT yet; expected a backend that runs "
            "part by part; use `--backend onnxruntime` or openvino, or one window per tile"
        )

    def _receive(self, slot: Slot) -> Arrays:
        with self._turn():
            return self._end(slot)

    def _end(self, slot: Slot) -> Arrays:
        """Wait for a slot's results and note its times."""
        results = self._pipe.end(slot)
        for stage, passed in self._pipe.times_ms(slot).items():
            self.stage_ms[stage] = self.stage_ms.get(stage, 0.0) + passed
            if stage not in (UPLOAD, DOWNLOAD):
                self.part_seconds[stage] = self.part_seconds.get(stage, 0.0) + passed / 1e3
        return results

    def _check(self, feed: Feed) -> int:
        """Give the number of tiles in a feed whose arrays match."""
        taken = self._pipe.flow(feed).inputs
        known = [feed[spec.name] for spec in taken if spec.name in feed]
        batch = next((len(array) for array in known if array.ndim), self.batch)
        if not 1 <= batch <= self.batch:
            raise FeedError(
                f"the feed has {batch} tiles; expected 1 to {self.batch}, for which the model was "
                "opened; split it, or open the model for a larger batch"
            )
        inputs = with_batch(taken, batch)
        # A model of one branch is given the inputs of both, as on every other backend.
        names = {spec.name for spec in inputs}
        check_feed(inputs, {name: array for name, array in feed.items() if name in names})
        return batch

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Serve one caller, with the device's context current."""
        with self._lock:
            if self._closed:
                raise ValueError("the model is closed; expected an open one")
            with self._device.current():
                yield

    def _take(self) -> Slot:
        if not self._free:
            raise ValueError("run_many has all slots; expected it to be finished or closed before")
        return self._free.popleft()

    @contextmanager
    def _slot(self) -> Iterator[Slot]:
        """Take a slot for one feed; nothing is in flight in it afterwards."""
        slot = self._take()
        try:
            yield slot
        except BaseException:
            self._pipe.drain()
            raise
        finally:
            self._free.append(slot)

    def _recall(self, flying: deque[Slot]) -> None:
        """Wait for feeds whose results nobody will take."""
        with self._lock:
            if self._closed or not flying:
                return
            try:
                with self._device.current():
                    self._pipe.drain()
            except DeviceError as error:
                _log.warning("while waiting for the GPU: %s", error)
            self._free.extend(flying)

    def close(self) -> None:
        """Give everything back, once; after an error it can be called again.

        Raises:
            DeviceError: If the driver refuses something; all else is given back.
        """
        with self._lock:
            self._closed = True
            try:
                if self._undo:
                    with self._device.current():
                        run_all(self._undo)
            finally:
                # Kept where the context could not be made current: nothing is given back yet.
                if not self._undo:
                    self._device.close()


def _copied(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}
