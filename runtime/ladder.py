"""Open a bundle with the best library that this machine has, and say why not a better one.

    tensorrt -> tensorrt-rtx -> onnxruntime-cuda -> openvino -> onnxruntime

`auto` goes down until a library is there, opens the bundle, and gives its golden tile as expected.
A library that is asked for by name is taken or its error is raised. So it is with engines: who
names a folder of them is given one by TensorRT or refused, and who forbids to build them is told
that one is missing.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, get_args

from .backends import Backend, BackendChoice, BackendOption, PassedOver
from .bundle import Bundle
from .engines.compiled import CompiledGraphs
from .engines.options import EnginePolicy
from .engines.target import EngineBuilder
from .errors import (
    BackendError,
    BundleError,
    DeviceError,
    EngineError,
    SegxError,
    SelfTestError,
)
from .manifest import Variant
from .model import OpenModel, golden_feed, open_model
from .selftest import SKIPPED, SelfTest, self_test
from .usable import require_usable

if TYPE_CHECKING:
    from .gpu.driver import CudaOption

USUAL_BATCH: dict[Backend, int] = {
    "tensorrt": 8,
    "tensorrt-rtx": 8,
    "onnxruntime-cuda": 8,
    "openvino": 1,
    "onnxruntime": 1,
}
"""Tiles per call: a GPU is not filled by one, a processor is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """How a bundle is to be opened."""

    backend: BackendOption = "auto"
    variant: Variant = "classes"
    batch: int | None = 1
    """Tiles per call; fewer on a GPU without memory for them, as the model's inputs say.

    None: as many as suit the library.
    """
    threads: int | None = None
    """Processor threads; the library's default if None."""
    cuda: "CudaOption" = "auto"
    """Package that brings the CUDA driver to Python."""
    policy: EnginePolicy = field(default_factory=EnginePolicy)
    """Which TensorRT engines are taken, and whether missing ones are built."""
    self_test: bool = True
    """Run the golden tile once."""
    segx_version: str = ""
    """For the records of engines that are built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told of what happens while a bundle is opened."""

    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None
    """Told how far the building of engines is."""
    note: Callable[[str], None] = lambda text: None
    """Told in one line what turned out otherwise than asked for."""


class Opened(NamedTuple):
    """A bundle that is ready to run."""

    model: OpenModel
    choice: BackendChoice
    self_test: SelfTest
    load_s: float
    """Seconds that opening took, the self-test excepted."""


def open_best(bundle: Bundle, request: RunRequest, watch: Watch | None = None) -> Opened:
    """Open a bundle with the library that is asked for, or with the best.

    Raises:
        BackendError: If the library is missing or cannot run here; for `auto`, if none can.
        EngineError: If an engine cannot be built, found or trusted; for `auto`, if a folder of
            engines was named or none may be built.
        DeviceError: If the GPU fails.
        SelfTestError: If the golden tile does not come out as expected.
        BundleError: If a graph or the golden tile cannot be read.
    """
    watch = watch or Watch()
    if request.backend != "auto":
        return _open(request.backend, bundle, request, watch)
    if request.self_test:
        golden_feed(bundle)  # a damaged one is no reason to pass over every library
    return _open_first(bundle, request, watch)


def _open_first(bundle: Bundle, request: RunRequest, watch: Watch) -> Opened:
    passed: list[PassedOver] = []
    for name in get_args(EngineBuilder if request.policy.folder else Backend):
        try:
            opened = _open(name, bundle, request, watch)
        except (BackendError, EngineError, DeviceError, SelfTestError, BundleError) as error:
            if _is_final(error, request.policy):
                raise
            passed.append(PassedOver(name=name, reason=_reason(error)))
            level = logging.INFO if isinstance(error, BackendError) else logging.WARNING
            _log.log(level, "%s is passed over: %s", name, error)
            last = error
            continue
        choice = replace(
            opened.choice, reason="the best that can be used", passed_over=tuple(passed)
        )
        return opened._replace(choice=choice)
    raise _nothing_left(bundle, request.policy, passed) from last


def _is_final(error: SegxError, policy: EnginePolicy) -> bool:
    """Tell whether what was asked of engines forbids to go on with the next library."""
    if policy.folder is not None:  # the other TensorRT is tried where one is not usable
        return not isinstance(error, BackendError)
    return policy.rebuild == "never" and isinstance(error, EngineError)


def _nothing_left(
    bundle: Bundle, policy: EnginePolicy, passed: Sequence[PassedOver]
) -> BackendError:
    reasons = ", ".join(f"{item.name}: {item.reason}" for item in passed)
    if policy.folder is not None:
        return BackendError(
            f"the engines of {policy.folder} cannot be run ({reasons}); expected a GPU and the "
            "TensorRT that built them; see `segx doctor`, or leave --engines out"
        )
    return BackendError(
        f"no backend can run {bundle.manifest.name} ({reasons}); expected one that gives its "
        "golden tile as stored; name one with --backend to see what helps, or export it again"
    )


def _reason(error: SegxError) -> str:
    """What was found: the first part of a message."""
    found = str(error).partition(";")[0]
    return f"self-test: {found}" if isinstance(error, SelfTestError) else found


def _open(name: Backend, bundle: Bundle, request: RunRequest, watch: Watch) -> Opened:
    begin = time.perf_counter()
    by_name = request.backend == name
    device = require_usable(name, request.cuda, on_doubt=watch.note if by_name else None)
    choice = BackendChoice(name=name, reason="asked for", device=device)
    if name in ("tensorrt", "tensorrt-rtx"):
        model = _open_engines(name, bundle, request, watch)
    else:
        model = open_model(
            bundle,
            choice,
            variant=request.variant,
            threads=request.threads,
            batch=request.batch or USUAL_BATCH[name],
            kept=CompiledGraphs.of_user() if name == "openvino" else None,
        )
    load_s = time.perf_counter() - begin
    try:
        test = self_test(model, bundle, name) if request.self_test else SKIPPED
    except BaseException:
        model.close()
        raise
    return Opened(model, choice, test, load_s)


def _open_engines(
    name: EngineBuilder, bundle: Bundle, request: RunRequest, watch: Watch
) -> OpenModel:
    from .engines.cache import EngineCache
    from .engines.source import EngineSource
    from .gpu.open import open_gpu_model

    source = EngineSource(
        cache=EngineCache(),
        policy=request.policy,
        segx_version=request.segx_version,
        on_progress=watch.on_progress,
        note=watch.note,
    )
    return open_gpu_model(
        bundle,
        name,
        source=source,
        variant=request.variant,
        batch=request.batch or USUAL_BATCH[name],
        cuda=request.cuda,
    )
