"""The only place that knows which TensorRT has which names.

TensorRT 10.3, 10.16 and 11, and TensorRT-RTX 1, are one interface of which each has another part.
What a library can do is asked of the library itself, never read off its version; everything else
works with the answers, `Abilities`, and calls what not every library has through this module.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import BackendError, EngineError, brief
from .target import ANY_GPU, MODULES, EngineBuilder, Target

_INSTALL: dict[EngineBuilder, str] = {
    "tensorrt": (
        "install it with JetPack or `apt install python3-libnvinfer`, and make the environment "
        "with `python3 -m venv --system-site-packages`, which sees it; or `pip install tensorrt`"
    ),
    "tensorrt-rtx": "install it with `pip install tensorrt-rtx-cu13`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a library can do."""

    strongly_typed: bool
    """Compute in the types that the graph says."""
    timing_cache: bool
    """Keep measured timings of kernels."""
    progress_monitor: bool
    """Tell how far a build is."""
    ahead_of_time: bool
    """Build without a GPU, for a compute capability."""
    compute_capabilities: tuple[str, ...]
    """Those that can be built for ahead of time, such as `8.6`."""
    runtime_cache: bool
    """Keep what is compiled when an engine is opened."""
    cuda_graph_strategy: bool
    """Capture CUDA graphs by itself."""
    validity_check: bool
    """Say of an engine's header whether it can be opened here."""


def load_tensorrt(builder: EngineBuilder) -> Any:
    """Import a library.

    Raises:
        BackendError: If it cannot be imported.
    """
    name = MODULES[builder]
    try:
        return importlib.import_module(name)
    # OSError: a package whose shared libraries are missing.
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"Python module {name} cannot be imported ({brief(error)}); expected {builder} in "
            f"this environment; {_INSTALL[builder]}"
        ) from error


def builder_version(trt: Any) -> str:
    """Version of a library, such as `10.3.0`; engines of another version are not read."""
    return str(trt.__version__)


def probe(trt: Any) -> Abilities:
    """Ask a library what it can do."""
    capabilities = _compute_capabilities(trt)
    runtime_config = getattr(trt, "IRuntimeConfig", None)
    return Abilities(
        strongly_typed=hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"),
        # Where there need be no GPU, nothing is timed: TensorRT-RTX keeps the names, deprecated,
        # and to use them was enough to make its older versions ask for a GPU.
        timing_cache=hasattr(trt.IBuilderConfig, "create_timing_cache") and not capabilities,
        progress_monitor=hasattr(trt, "IProgressMonitor"),
        ahead_of_time=bool(capabilities),
        compute_capabilities=capabilities,
        runtime_cache=hasattr(runtime_config, "create_runtime_cache"),
        cuda_graph_strategy=hasattr(runtime_config, "cuda_graph_strategy"),
        validity_check=hasattr(trt.Runtime, "get_engine_validity"),
    )


def _compute_capabilities(trt: Any) -> tuple[str, ...]:
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    numbers = [name[2:] for name in members if name.startswith("SM") and name[2:].isdigit()]
    return tuple(f"{number[:-1]}.{number[-1]}" for number in numbers)


def set_target(trt: Any, abilities: Abilities, config: Any, target: Target) -> None:
    """Tell a builder's configuration which GPU to build for.

    Raises:
        EngineError: If the builder has no such target.
    """
    if not abilities.ahead_of_time:
        if target.gpu == ANY_GPU:
            raise EngineError(
                f"{target.builder} builds for the GPU that it runs on; expected a build on the "
                "device; run `segx infer` there, or build with `--engine tensorrt-rtx`"
            )
        return
    config.num_compute_capabilities = 1
    config.set_compute_capability(_capability(trt, abilities, target), 0)


def _capability(trt: Any, abilities: Abilities, target: Target) -> Any:
    if target.compute_capability in abilities.compute_capabilities:
        return getattr(trt.ComputeCapability, "SM" + target.compute_capability.replace(".", ""))
    if target.gpu != ANY_GPU:
        return trt.ComputeCapability.CURRENT
    raise EngineError(
        f"{target.builder} {target.builder_version} does not build for compute capability "
        f"{target.compute_capability} without such a GPU; expected one of "
        f"{', '.join(abilities.compute_capabilities)}; choose one of them, or build on the device"
    )


def make_logger(trt: Any, sink: Callable[[str, str], None]) -> Any:
    """Make a logger that hands what TensorRT says to a function.

    Args:
        trt: The library; the first logger of a process serves all of it.
        sink: Told the severity (`ERROR`, `WARNING`, ...) and the text, from any thread.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            sink(severity.name, msg)

    return Logger()


def make_progress_monitor(trt: Any, listener: Any) -> Any:
    """Make a monitor that tells a listener of phases and steps.

    Args:
        trt: A library with the ability `progress_monitor`.
        listener: Has `start(phase, parent, steps)`, `step(phase, step)` and `finish(phase)`; they
            are called from any thread.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            listener.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            listener.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            listener.finish(phase_name)

    return Monitor()


def new_runtime(trt: Any, logger: Any) -> Any:
    """Make what opens engines.

    Raises:
        EngineError: If TensorRT gives none, as without a GPU; it has logged why.
    """
    try:
        runtime = trt.Runtime(logger)
    except (TypeError, RuntimeError) as error:  # a null pointer, as pybind11 says it
        raise EngineError(_no_runtime(brief(error))) from error
    if runtime is None:
        raise EngineError(_no_runtime("it gave nothing"))
    return runtime


def _no_runtime(why: str) -> str:
    return (
        f"TensorRT's runtime cannot be made ({why}); expected a GPU with a driver that TensorRT "
        "can use; see `segx doctor`"
    )


def engine_validity(trt: Any, abilities: Abilities, runtime: Any, data: bytes) -> str:
    """Ask a library, where it can say so, why an engine cannot be opened on this device.

    Args:
        trt: The library.
        abilities: What it can do.
        runtime: From `new_runtime`.
        data: The engine; its head is read.

    Returns:
        Reasons such as `unsupported cc`; empty if it can be opened, or the library cannot say.
    """
    if not abilities.validity_check:
        return ""
    validity, reasons = runtime.get_engine_validity(data[: runtime.engine_header_size])
    if validity != trt.EngineValidity.INVALID:
        return ""
    bits = trt.EngineInvalidityDiagnostics.__members__
    found = [name for name, member in bits.items() if int(reasons) & int(member)]
    return ", ".join(name.lower().replace("_", " ") for name in found) or "no reason given"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """Settings that the contexts of an engine share; keep them as long as the contexts."""

    config: Any
    """TensorRT's runtime configuration; None where nothing is to be set."""
    cache: Any = None
    """What was compiled of the engine; None where that is not kept."""
    cache_fits: bool = True
    """Whether a cache from before, if there was one, could be used."""

    def compiled(self) -> bytes | None:
        """What was compiled so far, to be kept on disk; None where nothing is."""
        content = None if self.cache is None else self.cache.serialize()
        return None if content is None else bytes(content)


def context_settings(
    trt: Any, abilities: Abilities, engine: Any, *, runtime_cache: bytes | None = None
) -> ContextSettings | None:
    """Make the settings for contexts of an engine: its cache, and CUDA graphs where built in.

    Args:
        trt: The library.
        abilities: What it can do.
        engine: A deserialised engine.
        runtime_cache: What `ContextSettings.compiled` gave before.

    Returns:
        The settings; None where TensorRT refuses to make them.
    """
    if not (abilities.runtime_cache or abilities.cuda_graph_strategy):
        return ContextSettings(config=None)
    config = engine.create_runtime_config()
    if config is None:
        return None
    cache, fits = None, True
    if abilities.cuda_graph_strategy:
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    if abilities.runtime_cache:
        cache = config.create_runtime_cache()
        if cache is None or not config.set_runtime_cache(cache):
            return None
        fits = runtime_cache is None or bool(cache.deserialize(runtime_cache))
    return ContextSettings(config=config, cache=cache, cache_fits=fits)


def context_for(engine: Any, settings: ContextSettings) -> Any:
    """Make an execution context; None, as TensorRT gives it, if there is no memory for it."""
    if settings.config is None:
        return engine.create_execution_context()
    return engine.create_execution_context(settings.config)
