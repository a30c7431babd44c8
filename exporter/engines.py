"""Decide which engines an export leaves behind, and build them: in the cache, or in a folder.

    auto            this device, where a TensorRT and a GPU are there; else its first run builds
    tensorrt        this device
    tensorrt-rtx    this device; or, ahead of time, any GPU of the compute capabilities named

Engines are never part of a bundle. This module needs neither PyTorch nor ONNX, so that a device
that only runs bundles can build with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime.backends import installed
from runtime.bundle import Bundle
from runtime.engines.api import builder_version, load_tensorrt, probe
from runtime.engines.cache import EngineCache
from runtime.engines.options import BuildOptions, EnginePolicy
from runtime.engines.provide import Prepared, build_all
from runtime.engines.source import EngineSource
from runtime.engines.target import ANY_GPU, EngineBuilder, Target, here_platform
from runtime.errors import BackendError, ConfigError, DeviceError, EngineError
from runtime.usable import find_gpu, has_nvidia_driver, label

EngineOption = Literal["auto", "none", "tensorrt", "tensorrt-rtx"]

BUILDERS: tuple[EngineBuilder, ...] = ("tensorrt", "tensorrt-rtx")
"""In the order in which `auto` tries them."""

BATCH = 1
"""Tiles per call that engines are built for: what `segx infer` runs."""

FIRST_RUN = "the device builds them at its first run"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """Which engines are wanted."""

    builder: EngineOption = "auto"
    compute_capabilities: tuple[str, ...] = ()
    """GPUs to build for ahead of time, such as `8.6`; empty: the GPU that is there."""
    folder: Path | None = None
    """Where engines go in place of the cache."""
    options: BuildOptions = field(default_factory=BuildOptions)
    force: bool = False
    """Build engines that are there, too."""

    def __post_init__(self) -> None:
        """Refuse capabilities for a builder that builds for the GPU that is there only."""
        if self.compute_capabilities and self.builder != "tensorrt-rtx":
            raise ConfigError(
                f"compute capabilities are named for engine '{self.builder}'; expected them for "
                "tensorrt-rtx, which alone builds for GPUs that are not there; add "
                "`--engine tensorrt-rtx` or leave out --compute-capability"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """What is built."""

    request: EngineRequest
    targets: tuple[Target, ...]
    """Empty: nothing."""
    reason: str
    """Why these, or why none."""


def plan_engines(request: EngineRequest) -> EnginePlan:
    """Find out what can be built here, before any work is done.

    Raises:
        BackendError: If the TensorRT that was asked for, or Polygraphy, is missing.
        DeviceError: If it builds for the GPU that is there, and none is.
        EngineError: If it does not build ahead of time for a compute capability.
    """
    if request.builder == "none":
        return EnginePlan(request=request, targets=(), reason=f"none asked for; {FIRST_RUN}")
    if request.builder == "auto":
        return _plan_auto(request)
    if request.compute_capabilities:
        targets = _ahead_of_time(request.builder, request.compute_capabilities)
        return EnginePlan(request=request, targets=targets, reason="built ahead of time")
    target, doubt = _native(request.builder)
    reason = "; ".join(filter(None, (f"for {target.gpu}", doubt)))
    return EnginePlan(request=request, targets=(target,), reason=reason)


def _plan_auto(request: EngineRequest) -> EnginePlan:
    passed_over: list[str] = []
    for builder in BUILDERS:
        try:
            target, doubt = _native(builder)
        except (BackendError, DeviceError) as error:
            doubt = str(error).partition(";")[0]
        if not doubt:
            return EnginePlan(request=request, targets=(target,), reason=f"for {target.gpu}")
        passed_over.append(doubt)
    reasons = "; ".join(dict.fromkeys(passed_over))
    return EnginePlan(request=request, targets=(), reason=f"{reasons}; {FIRST_RUN}")


def _require_polygraphy() -> None:
    if not installed("polygraphy"):
        raise BackendError(
            "polygraphy is not installed; expected it, since it drives the builder of engines; "
            "run `pip install 'segx[tensorrt]'`"
        )


def _ahead_of_time(builder: EngineBuilder, wanted: tuple[str, ...]) -> tuple[Target, ...]:
    _require_polygraphy()
    module = load_tensorrt(builder)
    version, known = builder_version(module), probe(module).compute_capabilities
    for capability in wanted:
        if capability not in known:
            raise EngineError(
                f"compute capability {capability} is none that {builder} {version} builds for; "
                f"expected some of {', '.join(known) or 'none'}; change --compute-capability, or "
                "build with `--engine tensorrt` on such a device"
            )
    return tuple(
        _target(builder, version, capability, ANY_GPU) for capability in dict.fromkeys(wanted)
    )


def _native(builder: EngineBuilder) -> tuple[Target, str]:
    """Give the target of the GPU that is there, and what speaks against it."""
    if not has_nvidia_driver():
        raise DeviceError(
            f"no NVIDIA driver is here; expected one, since `--engine {builder}` builds for the "
            "GPU that is there; build on the device, or ahead of time with `--engine tensorrt-rtx "
            "--compute-capability 8.6`"
        )
    _require_polygraphy()
    module = load_tensorrt(builder)
    version, known = builder_version(module), probe(module).compute_capabilities
    gpu = find_gpu()
    doubt = ""
    if known and gpu.compute_capability not in known:
        # What it lists is what it builds for ahead of time; on the GPU itself it may do more.
        doubt = f"{builder} {version} does not list {label(gpu)} among {', '.join(known)}"
    return _target(builder, version, gpu.compute_capability, gpu.name), doubt


def _target(builder: EngineBuilder, version: str, capability: str, gpu: str) -> Target:
    return Target(
        builder=builder,
        builder_version=version,
        compute_capability=capability,
        gpu=gpu,
        platform=here_platform(),
    )


def build_engines(
    bundle: Bundle,
    plan: EnginePlan,
    *,
    segx_version: str,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Prepared, ...]:
    """Build the engines of every part of a bundle that is finished.

    Args:
        bundle: The bundle, at its final place.
        plan: What to build.
        segx_version: For the engines' records.
        on_progress: Told how many engines are done, of how many, and what is being built.
        note: Told what did not go as asked.

    Raises:
        EngineError: If one cannot be built or kept; the bundle, and those before it, are there.
    """
    if not plan.targets:
        return ()
    source = EngineSource(
        cache=EngineCache(),
        policy=EnginePolicy(build=plan.request.options),
        segx_version=segx_version,
        on_progress=on_progress,
        note=note,
    )
    return build_all(
        bundle,
        plan.targets,
        batch=BATCH,
        source=source,
        out=plan.request.folder,
        force=plan.request.force,
    )
