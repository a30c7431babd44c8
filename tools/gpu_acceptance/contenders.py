"""Everything that can run a model, opened by name for the latency table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from runtime.backends import BackendOption
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BundleError
from runtime.manifest import PartSpec, TensorSpec
from runtime.model import TileModel
from runtime.session import ExecutedPrecision

from .job import Job, NoGpu
from .opening import open_with

RTX_PROVIDER = "NvTensorRTRTXExecutionProvider"

Arrays = Mapping[str, NDArray[Any]]


class Runs(Protocol):
    """What is timed."""

    def run(self, feed: Arrays) -> Arrays:
        """Run a batch, from arrays to arrays."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table; it is opened when its turn comes."""

    name: str
    open: Callable[[int], Runs]
    """Takes the batch."""


def contenders(job: Job, *, gpu: bool) -> Iterator[Contender]:
    """Name what there is to time: on the GPU, or, where there is none, on the CPU."""
    bundles = [open_bundle(path) for path in job.bundles]
    for kind in ("eager fp32", "eager fp16", "compile fp32"):
        yield Contender(f"torch {kind}", lambda batch, k=kind: _torch(job, bundles[0], k))  # type: ignore[misc]
    backends: tuple[BackendOption, ...] = ("tensorrt-rtx", "tensorrt", "onnxruntime-cuda")
    if not gpu:
        backends += ("openvino", "onnxruntime")
    for bundle in bundles:
        for backend in backends:
            yield Contender(
                f"{backend}, {bundle.manifest.name}",
                lambda batch, b=bundle, k=backend: open_with(job, b, k, batch=batch).model,  # type: ignore[misc]
            )
        yield Contender(
            f"onnxruntime {RTX_PROVIDER}, {bundle.manifest.name}",
            lambda batch, b=bundle: _rtx_provider(job, b),  # type: ignore[misc]
        )


def _torch(job: Job, bundle: Bundle, kind: str) -> Runs:
    """The same network with random weights, which take the same time."""
    config = bundle.manifest.provenance["config"]
    import torch

    from runtime.schema import parse
    from trainkit.checkpoint import build_empty
    from trainkit.config import TrainConfig
    from trainkit.torch_model import TorchModel

    how, precision = kind.split()
    network = build_empty(parse(TrainConfig, config, where="the bundle", error=BundleError))
    if not job.dry_run:
        job.require_gpu()
    elif precision == "fp16" or how == "compile":
        raise NoGpu(f"torch {kind} is timed on a GPU only")
    device = torch.device("cpu" if job.dry_run else "cuda")
    model = TorchModel(network, device=device)
    if how == "compile":
        for piece in model.pieces:
            piece.module.compile()
    return model if precision == "fp32" else _Autocast(model)


class _Autocast:
    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, feed: Arrays) -> Arrays:
        import torch

        with torch.autocast("cuda", dtype=torch.float16):
            found: Arrays = self._model.run(feed)
        return found


def _rtx_provider(job: Job, bundle: Bundle) -> Runs:
    job.require_gpu()
    parts = bundle.manifest.parts_for("classes")
    return TileModel(parts=parts, sessions=tuple(_ProviderSession(bundle, part) for part in parts))


class _ProviderSession:
    """A part opened by ONNX Runtime's provider for TensorRT-RTX."""

    precision: ExecutedPrecision = "fp16"

    def __init__(self, bundle: Bundle, part: PartSpec) -> None:
        import onnxruntime

        known = onnxruntime.get_available_providers()
        if RTX_PROVIDER not in known:
            raise RuntimeError(f"this onnxruntime has {', '.join(known)}; no {RTX_PROVIDER}")
        self.inputs: tuple[TensorSpec, ...] = part.inputs
        self._outputs = [spec.name for spec in part.outputs]
        providers = [RTX_PROVIDER, "CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(bundle.file(part)), providers=providers)

    def run(self, feed: Arrays) -> dict[str, NDArray[Any]]:
        results = self._session.run(self._outputs, dict(feed))
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        del self._session
