"""What the device does for a feed: upload, parts, download, each on a stream of its own.

    upload      |0|1|   |2|     |3|
    parts         |  0  |  1  |  2  |  3
    download            |0|   |1|   |2|

A slot holds what one feed in flight needs for itself. With two of them, a feed is copied in and a
result out while the parts run for another feed. The parts of all feeds share one stream and run one
after the other, so what they hand to each other needs no second copy.

A feed may hold the outputs of a part in place of its inputs. Then the part is not run, and they are
copied in when its turn comes, on the parts' stream: the feed before still uses their place.
"""

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError
from ..manifest import TensorSpec
from .driver import Driver
from .engine import LoadedEngine
from .memory import Resources, run_all
from .tensors import Tensors, size_of, view

UPLOAD, DOWNLOAD = "upload", "download"
"""Stages besides the parts."""

Arrays = dict[str, NDArray[Any]]

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Slot:
    """What one feed in flight needs for itself."""

    number: int
    addresses: Mapping[str, int]
    """Where each tensor lies on the device."""
    pinned: Mapping[str, NDArray[np.uint8]]
    """Page-locked host memory of inputs and results, for the largest batch."""
    upload: tuple[int, int]
    """Events before and after the upload."""
    parts: tuple[int, ...]
    """Events before the first part, and after each."""
    download: tuple[int, int]
    """Events before and after the download."""
    given: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Page-locked host memory of what parts hand to each other, taken when a feed holds it."""
    batch: int = 0
    """Tiles of the feed that came last."""
    flow: "Flow | None" = None
    """What was done for the feed that came last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What is done for feeds that give the outputs of the same parts."""

    given: frozenset[str]
    """Names of the parts that are not run."""
    inputs: tuple[TensorSpec, ...]
    """What the feed must hold."""
    inner: tuple[TensorSpec, ...]
    """What the parts that are run hand to later ones."""
    results: tuple[TensorSpec, ...]
    """What they give that no part takes."""


class Pipe:
    """Streams and slots; the device's context must be current in every call."""

    def __init__(
        self, driver: Driver, engines: Sequence[LoadedEngine], *, batch: int, slots: int
    ) -> None:
        """Take memory for feeds of up to `batch` tiles.

        Raises:
            BundleError: If the parts do not fit together.
            DeviceMemoryError: If there is not enough memory; nothing is held then.
        """
        self._driver = driver
        self._engines = tuple(engines)
        self.tensors = Tensors.of([engine.part for engine in engines])
        self._batch = batch
        self._flows: dict[frozenset[str], Flow] = {}
        self._taken, self._given = Resources(driver), Resources(driver)
        try:
            inner = self._device(self.tensors.inner, batch)
            self.slots = tuple(self._slot(number, inner, batch) for number in range(slots))
            # The last to be taken are the first to be given back: no work outlives its memory.
            self._up, self._run, self._down = (self._taken.stream() for _ in range(3))
        except BaseException:
            self._taken.abandon()
            raise
        self._taken.adopt(self._given)

    def _device(self, specs: Sequence[TensorSpec], batch: int) -> dict[str, int]:
        return {spec.name: self._taken.device(size_of(spec, batch)) for spec in specs}

    def _slot(self, number: int, inner: Mapping[str, int], batch: int) -> Slot:
        taken, own = self._taken, (*self.tensors.inputs, *self.tensors.results)
        return Slot(
            number=number,
            addresses={**inner, **self._device(own, batch)},
            pinned={spec.name: taken.pinned(size_of(spec, batch)) for spec in own},
            upload=(taken.event(), taken.event()),
            parts=tuple(taken.event() for _ in range(len(self._engines) + 1)),
            download=(taken.event(), taken.event()),
        )

    def flow(self, feed: Container[str]) -> Flow:
        """Tell which parts are run for a feed of these names, and with which tensors."""
        parts = [engine.part for engine in self._engines]
        given = frozenset(part.name for part in parts if part.is_given(feed))
        if given not in self._flows:
            run = [part for part in parts if part.name not in given]
            made = {spec.name for part in run for spec in part.outputs}
            self._flows[given] = Flow(
                given=given,
                inputs=Tensors.of(run).inputs,
                inner=tuple(spec for spec in self.tensors.inner if spec.name in made),
                results=tuple(spec for spec in self.tensors.results if spec.name in made),
            )
        return self._flows[given]

    def begin(self, slot: Slot, feed: Mapping[str, NDArray[Any]], batch: int) -> None:
        """Copy a feed to page-locked memory, and enqueue all that is to be done for it.

        Args:
            slot: A slot with nothing in flight.
            feed: Arrays of the inputs, checked.
            batch: Tiles in them.

        Raises:
            DeviceError: If the driver refuses something.
            EngineError: If TensorRT does.
        """
        driver, slot.batch, slot.flow = self._driver, batch, self.flow(feed)
        inputs = [spec for spec in slot.flow.inputs if spec in self.tensors.inputs]
        for spec in inputs:
            np.copyto(view(slot.pinned[spec.name], spec, batch), feed[spec.name])
        driver.record_event(slot.upload[0], self._up)
        for spec in inputs:
            self._upload(slot, spec, slot.pinned[spec.name], self._up)
        driver.record_event(slot.upload[1], self._up)
        driver.wait_event(self._run, slot.upload[1])
        driver.record_event(slot.parts[0], self._run)
        for engine, done in zip(self._engines, slot.parts[1:], strict=True):
            if engine.part.name in slot.flow.given:
                self._give(slot, engine.part.outputs, feed)
            else:
                engine.enqueue(slot.number, slot.addresses, batch, self._run)
            driver.record_event(done, self._run)
        driver.wait_event(self._down, slot.parts[-1])
        driver.record_event(slot.download[0], self._down)
        self._download(slot, slot.flow.results, slot.pinned)
        driver.record_event(slot.download[1], self._down)

    def _give(
        self, slot: Slot, specs: Sequence[TensorSpec], feed: Mapping[str, NDArray[Any]]
    ) -> None:
        """Copy in what a part would have handed to those that are run."""
        for spec in specs:
            if spec not in self.tensors.inner:
                continue  # nothing takes it
            if spec.name not in slot.given:
                slot.given[spec.name] = self._given.pinned(size_of(spec, self._batch))
            block = slot.given[spec.name]
            np.copyto(view(block, spec, slot.batch), feed[spec.name])
            self._upload(slot, spec, block, self._run)

    def _upload(self, slot: Slot, spec: TensorSpec, block: NDArray[np.uint8], stream: int) -> None:
        size = size_of(spec, slot.batch)
        self._driver.upload(slot.addresses[spec.name], block.ctypes.data, size, stream)

    def _download(
        self, slot: Slot, specs: Sequence[TensorSpec], blocks: Mapping[str, NDArray[np.uint8]]
    ) -> None:
        for spec in specs:
            target, source = blocks[spec.name].ctypes.data, slot.addresses[spec.name]
            self._driver.download(target, source, size_of(spec, slot.batch), self._down)

    def end(self, slot: Slot) -> Arrays:
        """Wait for the results of a slot's feed.

        Returns:
            Arrays by name, in page-locked memory that the slot's next feed overwrites.

        Raises:
            DeviceError: If something that was enqueued has failed.
        """
        self._driver.synchronize_event(slot.download[1])
        specs = () if slot.flow is None else slot.flow.results
        return {spec.name: view(slot.pinned[spec.name], spec, slot.batch) for spec in specs}

    def times_ms(self, slot: Slot) -> dict[str, float]:
        """Milliseconds that each stage of a slot's finished feed took on the device.

        Parts that were not run are left out; copying in what they would have given is upload.
        """
        elapsed = self._driver.elapsed_ms
        spans = zip(self._engines, slot.parts, slot.parts[1:], strict=False)
        parts = {engine.part.name: elapsed(first, last) for engine, first, last in spans}
        given = () if slot.flow is None else slot.flow.given
        upload = elapsed(*slot.upload) + sum(parts.pop(name) for name in given)
        return {UPLOAD: upload, **parts, DOWNLOAD: elapsed(*slot.download)}

    def inner(self, slot: Slot) -> Arrays:
        """Copy what the parts handed to each other, of the feed that was finished last.

        Raises:
            DeviceError: If the driver refuses something.
        """
        specs = () if slot.flow is None else slot.flow.inner
        taken = Resources(self._driver)
        try:
            blocks = {spec.name: taken.pinned(size_of(spec, slot.batch)) for spec in specs}
            self._download(slot, specs, blocks)
            self._driver.synchronize_stream(self._down)
            arrays = {spec.name: view(blocks[spec.name], spec, slot.batch).copy() for spec in specs}
        except BaseException:
            self._taken.adopt(taken)  # where work may still be on its way to it
            raise
        taken.close()
        return arrays

    def wait(self) -> None:
        """Wait until nothing is in flight.

        Raises:
            DeviceError: If something that was enqueued has failed.
        """
        streams = (self._up, self._run, self._down)
        run_all([partial(self._driver.synchronize_stream, stream) for stream in streams])

    def drain(self) -> None:
        """Wait until nothing is in flight, after an error that a further one is not to hide."""
        try:
            self.wait()
        except DeviceError as error:
            _log.warning("while waiting for the GPU: %s", error)

    def close(self) -> None:
        """Give everything back; nothing may be in flight.

        Raises:
            DeviceError: If the driver refuses something; everything else is given back.
        """
        self._taken.close()
