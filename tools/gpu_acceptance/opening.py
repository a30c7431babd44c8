"""Open bundles and engines."""

from runtime.backends import BackendOption
from runtime.bundle import Bundle
from runtime.engines.api import engine_validity
from runtime.engines.provide import Prepared
from runtime.gpu.device import find_device
from runtime.gpu.engine import LoadedEngine
from runtime.gpu.library import Library
from runtime.ladder import Opened, RunRequest, Watch, open_best
from runtime.manifest import PartSpec

from .job import Job

ON_CPU = ("openvino", "onnxruntime")


def open_with(
    job: Job, bundle: Bundle, backend: BackendOption, *, batch: int = 1, self_test: bool = False
) -> Opened:
    """Open a bundle with a backend, as the commands do."""
    if backend not in ON_CPU:
        job.require_gpu()
    request = RunRequest(
        backend=backend, batch=batch, self_test=self_test, segx_version="acceptance"
    )
    return open_best(bundle, request, Watch(note=print))


def open_engine(job: Job, part: PartSpec, prepared: Prepared) -> str:
    """Open one engine on this device; gives `yes`, or what the library says of its fit."""
    job.require_gpu()
    library = Library("tensorrt-rtx")
    data = prepared.path.read_bytes()
    device = find_device()
    try:
        with device.current():
            library.start()
            unfit = engine_validity(library.trt, library.abilities, library.runtime, data)
            if not unfit:
                LoadedEngine(library, part, data, batch=1, slots=1).close()
            library.close()
    finally:
        device.close()
    return f"no: {unfit}" if unfit else "yes"
