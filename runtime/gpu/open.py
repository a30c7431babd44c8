"""Open a bundle on the GPU: find or build its engines, and take what memory there is for them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..bundle import Bundle
from ..engines.provide import Obtained, obtain
from ..engines.source import EngineSource
from ..engines.target import EngineBuilder, Target, here_platform
from ..errors import ConfigError, DeviceError, DeviceMemoryError, EngineError
from ..manifest import PartSpec, Variant
from .device import Device, find_device
from .driver import CudaOption
from .engine import LoadedEngine
from .library import Library
from .memory import run_all
from .model import GpuModel
from .pipe import Pipe

_log = logging.getLogger(__name__)


def open_gpu_model(
    bundle: Bundle,
    builder: EngineBuilder,
    *,
    source: EngineSource,
    variant: Variant = "classes",
    batch: int = 1,
    cuda: CudaOption = "auto",
) -> GpuModel:
    """Open the parts of a bundle on the GPU.

    Where device memory runs out, one feed at a time is in flight instead of two, then the batch is
    halved, until it is 1; each step is noted.

    Args:
        bundle: Opened bundle.
        builder: Library that runs the engines.
        source: Where engines come from, and who is told.
        variant: What the model ends in.
        batch: Tiles per call at most; `GpuModel.batch` says how many it became.
        cuda: Package that brings the CUDA driver to Python.

    Raises:
        BackendError: If the library or the package is not installed.
        DeviceError: If there is no GPU, or it fails.
        DeviceMemoryError: If a batch of 1 does not fit into its memory.
        EngineError: If an engine cannot be found, built, trusted or opened.
        BundleError: If the parts do not fit together.
        ConfigError: If the batch is below 1.
    """
    if batch < 1:
        raise ConfigError(f"the batch is {batch}; expected at least 1; give the tiles per call")
    library = Library(builder)
    device = find_device(cuda)
    try:
        target = Target(
            builder=builder,
            builder_version=library.version,
            compute_capability=device.info.compute_capability,
            gpu=device.info.name,
            platform=here_platform(),
        )
        parts = bundle.manifest.parts_for(variant)
        return _Opening(bundle, parts, device, library, target, source).fitting(batch)
    except BaseException:
        device.abandon()
        raise


@dataclass(frozen=True, slots=True)
class _Opening:
    """What is to be opened."""

    bundle: Bundle
    parts: tuple[PartSpec, ...]
    device: Device
    library: Library
    target: Target
    source: EngineSource

    def fitting(self, batch: int) -> GpuModel:
        """Open with the largest batch, at most this, that fits into memory."""
        try:
            return self._with_engines(batch)
        except DeviceMemoryError as error:
            if batch == 1:
                raise
            self.source.note(f"{_found(error)}: trying {batch // 2} tiles per call, not {batch}")
        return self.fitting(batch // 2)

    def _with_engines(self, batch: int) -> GpuModel:
        """Open with two feeds in flight if they fit into memory, else with one."""
        # All before the first is opened: who builds an engine needs the memory.
        ready = [
            obtain(self.bundle, part, self.target, batch=batch, source=self.source)
            for part in self.parts
        ]
        try:
            return self._open(ready, batch, slots=2)
        except DeviceMemoryError as error:
            self.source.note(f"{_found(error)}: trying without copying while computing")
        return self._open(ready, batch, slots=1)

    def _open(self, ready: Sequence[Obtained], batch: int, *, slots: int) -> GpuModel:
        library, device = self.library, self.device
        undo: list[Callable[[], None]] = [library.close]
        try:
            with device.current():
                library.start()
                engines: list[LoadedEngine] = []
                for part, item in zip(self.parts, ready, strict=True):
                    engines.append(self._load(part, item, batch, slots))
                    undo.append(engines[-1].close)
                pipe = Pipe(device.driver, engines, batch=batch, slots=slots)
                undo += [pipe.close, self._keeper(engines, ready), pipe.wait]
        except BaseException:
            self._undo(undo)
            raise
        return GpuModel(device, pipe, self.parts, batch=batch, undo=undo)

    def _undo(self, steps: list[Callable[[], None]]) -> None:
        """Close what was opened, after an error that a further one is not to hide."""
        try:
            with self.device.current():
                run_all(steps)
        except DeviceError as error:
            _log.warning("while cleaning up: %s", error)

    def _load(self, part: PartSpec, item: Obtained, batch: int, slots: int) -> LoadedEngine:
        kept = self.library.abilities.runtime_cache
        compiled = self.source.cache.load_runtime(item.record.key) if kept else None
        engine = LoadedEngine(
            self.library, part, item.data, batch=batch, slots=slots, compiled=compiled
        )
        if not engine.compiled_fits:
            self.source.note(
                f"what {self.target.builder} compiled of part '{part.name}' before does not fit "
                "this device or driver any more; it is compiled again"
            )
        return engine

    def _keeper(
        self, engines: Sequence[LoadedEngine], ready: Sequence[Obtained]
    ) -> Callable[[], None]:
        """Make what keeps, when the model is closed, what the library compiled of each part."""
        keys = [item.record.key for item in ready]  # without the engines' bytes

        def keep() -> None:
            for engine, key in zip(engines, keys, strict=True):
                try:
                    compiled = engine.compiled()
                except (EngineError, DeviceError) as error:
                    self.source.note(f"{_found(error)}: it is compiled again next time")
                    continue
                if compiled is not None:
                    self.source.cache.save_runtime(key, compiled)

        return keep


def _found(error: Exception) -> str:
    """The first part of a message: what was found."""
    return str(error).partition(";")[0]
