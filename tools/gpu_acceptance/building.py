"""Does TensorRT-RTX run on this device: built for it, and built ahead of time for others?"""

from typing import Any

from exporter.engines import EngineRequest, build_engines, plan_engines
from runtime.bundle import Bundle, open_bundle
from runtime.engines.api import builder_version, load_tensorrt
from runtime.engines.cache import EngineCache
from runtime.engines.options import EnginePolicy
from runtime.engines.provide import Prepared, build_all
from runtime.engines.source import EngineSource
from runtime.engines.target import Target, here_platform
from runtime.errors import SegxError
from runtime.usable import find_gpu, label

from .job import Job, NoGpu
from .opening import open_engine


def native(job: Job) -> dict[str, Any]:
    """Build every part for this very GPU, whether or not TensorRT-RTX lists it, and open it."""
    job.require_gpu()
    gpu = find_gpu()
    target = Target(
        builder="tensorrt-rtx",
        builder_version=builder_version(load_tensorrt("tensorrt-rtx")),
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        platform=here_platform(),
    )
    found: dict[str, Any] = {"GPU": label(gpu)}
    for path in job.bundles:
        bundle = open_bundle(path)
        built = _tried(lambda b=bundle: _build_for(b, target))
        found[bundle.manifest.name] = (
            built if isinstance(built, str) else _opened(job, bundle, built)
        )
    return found


def ahead_of_time(job: Job, capability: str) -> dict[str, Any]:
    """Build every part for a compute capability, and open the engines if there is a GPU."""
    plan = plan_engines(EngineRequest(builder="tensorrt-rtx", compute_capabilities=(capability,)))
    found = {}
    for path in job.bundles:
        bundle = open_bundle(path)
        built = build_engines(bundle, plan, segx_version="acceptance")
        found[bundle.manifest.name] = _opened(job, bundle, built)
    return found


def _build_for(bundle: Bundle, target: Target) -> tuple[Prepared, ...]:
    source = EngineSource(
        cache=EngineCache(),
        policy=EnginePolicy(),
        segx_version="acceptance",
        on_progress=lambda done, total, note: None,
        note=print,
    )
    return build_all(bundle, (target,), batch=1, source=source)


def _opened(job: Job, bundle: Bundle, built: tuple[Prepared, ...]) -> dict[str, Any]:
    parts = {part.name: part for part in bundle.manifest.parts}
    return {
        item.record.part: {
            "mib": item.record.size_bytes / 2**20,
            "seconds": item.record.build_seconds,
            "notes": item.record.notes,
            "opens": _tried(lambda i=item: open_engine(job, parts[i.record.part], i)),
        }
        for item in built
    }


def _tried(work: Any) -> Any:
    """What is given, or the words of the error."""
    try:
        return work()
    except NoGpu as error:
        return f"no GPU: {error}"
    except SegxError as error:
        return f"{type(error).__name__}: {error}"
