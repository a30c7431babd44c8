"""An engine on the device, and the contexts that run it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..engines.api import ContextSettings, context_for, context_settings, engine_validity
from ..errors import EngineError
from ..manifest import PartSpec
from .fit import EngineTensor, check_fit
from .library import Library


class LoadedEngine:
    """The engine of a part; the device's context must be current in every call.

    Nothing that TensorRT makes is kept in a variable of a function: the traceback of an error would
    keep it alive beyond the device's context.
    """

    def __init__(
        self,
        library: Library,
        part: PartSpec,
        data: bytes,
        *,
        batch: int,
        slots: int,
        compiled: bytes | None = None,
    ) -> None:
        """Open an engine.

        Args:
            library: TensorRT, started.
            part: What the manifest says of the part.
            data: The engine, whose hash was checked.
            batch: Tiles that it must take at most.
            slots: Feeds that may be in flight.
            compiled: What TensorRT-RTX compiled of it before.

        Raises:
            EngineError: If it does not fit the library, the device or the part.
            DeviceMemoryError: If there is not enough memory for it.
        """
        self.part = part
        self._library = library
        self._engine: Any = None
        self._settings: ContextSettings | None = None
        self._contexts: list[Any] = []
        try:
            self._open(data)
            check_fit(part, self._tensors(), batch)
            self._make_contexts(slots, compiled)
        except BaseException:
            self.close()
            raise

    def _open(self, data: bytes) -> None:
        library = self._library
        what = f"look at the engine of part '{self.part.name}'"
        fault = library.ask(
            what, engine_validity, library.trt, library.abilities, library.runtime, data
        )
        if fault:
            raise EngineError(
                f"{library.builder} {library.version} cannot open the engine of part "
                f"'{self.part.name}' on this device ({fault}); expected one that was built for it; "
                "run `segx cache --clear` so that it is built again, and look at `segx doctor`"
            )
        what = f"open the engine of part '{self.part.name}'"
        self._engine = library.ask(what, library.runtime.deserialize_cuda_engine, data)

    def _tensors(self) -> list[EngineTensor]:
        what = f"describe the engine of part '{self.part.name}'"
        ask = self._library.ask
        count = ask(what, lambda: self._engine.num_io_tensors)
        names = [ask(what, self._engine.get_tensor_name, index) for index in range(count)]
        return [self._tensor(name, what) for name in names]

    def _tensor(self, name: str, what: str) -> EngineTensor:
        ask, modes = self._library.ask, self._library.trt.TensorIOMode
        is_input = ask(what, self._engine.get_tensor_mode, name) == modes.INPUT
        batches = None
        if is_input:
            shapes = ask(what, self._engine.get_tensor_profile_shape, name, 0)
            batches = (int(shapes[0][0]), int(shapes[-1][0])) if len(shapes) else None
        return EngineTensor(
            name=name,
            is_input=is_input,
            dtype=ask(what, self._engine.get_tensor_dtype, name).name,
            shape=tuple(map(int, ask(what, self._engine.get_tensor_shape, name))),
            batches=batches,
        )

    def _make_contexts(self, slots: int, compiled: bytes | None) -> None:
        """Make one context, or where CUDA graphs are built in, one for each slot.

        All runs are on one stream, so one context can serve both slots in turn, if it is told
        where the tensors lie before each run; a second one would need as much memory again for
        what an engine computes in between, which a Jetson lacks. A captured graph however holds
        for the addresses that it was captured with, so there each slot has a context to itself.
        """
        library, what = self._library, f"make room to run the engine of part '{self.part.name}'"
        make = partial(context_settings, runtime_cache=compiled)
        self._settings = library.ask(what, make, library.trt, library.abilities, self._engine)
        for _ in range(slots if library.abilities.cuda_graph_strategy else 1):
            self._contexts.append(library.ask(what, context_for, self._engine, self._settings))

    @property
    def compiled_fits(self) -> bool:
        """Whether what was compiled before, if anything, could be used."""
        return self._settings is None or self._settings.cache_fits

    def compiled(self) -> bytes | None:
        """What TensorRT-RTX compiled of it, for the next time; None for other libraries.

        Raises:
            EngineError: If it cannot be had.
        """
        if self._settings is None or self._settings.cache is None:
            return None
        what = f"hand out what it compiled of part '{self.part.name}'"
        content: bytes = self._library.ask(what, self._settings.compiled)
        return content

    def enqueue(self, slot: int, addresses: Mapping[str, int], batch: int, stream: int) -> None:
        """Let the device run the part once, when the stream comes to it.

        Args:
            slot: Number of the feed's slot.
            addresses: Where each tensor lies on the device.
            batch: Tiles in the tensors.
            stream: Stream; the same in every call.

        Raises:
            EngineError: If TensorRT refuses.
            DeviceMemoryError: If it lacks memory.
        """
        ask, name, number = self._library.ask, self.part.name, slot % len(self._contexts)
        for spec in self.part.inputs:
            what = f"take {batch} tiles as '{spec.name}' of part '{name}'"
            shape = spec.with_batch(batch)
            ask(what, self._contexts[number].set_input_shape, spec.name, shape)
        for spec in (*self.part.inputs, *self.part.outputs):
            what = f"find '{spec.name}' of part '{name}' in memory"
            address = addresses[spec.name]
            ask(what, self._contexts[number].set_tensor_address, spec.name, address)
        ask(f"run part '{name}'", self._contexts[number].execute_async_v3, stream)

    def close(self) -> None:
        """Let go of the engine and its memory."""
        self._contexts.clear()
        self._settings = None
        self._engine = None
