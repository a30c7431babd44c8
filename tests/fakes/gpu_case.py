"""A machine with a GPU, faked: open a bundle on it as `segx infer` does.

    case = GpuCase.install(monkeypatch, tmp_path)
    model = case.open(bundle)

The driver, TensorRT and the builder are fakes; everything between them is the real thing. Engines
are made in this process, and hold the ONNX graph, which ONNX Runtime computes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fake_cuda import install_cuda_python, install_pycuda
from fake_gpu import FakeGpu
from fake_tensorrt import FakeTensorRT, install_tensorrt, make_tensorrt
from fake_trt_plan import Plan
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.engines.build import BuildRequest, Built
from runtime.engines.cache import EngineCache
from runtime.engines.options import EnginePolicy
from runtime.engines.source import EngineSource
from runtime.engines.target import EngineBuilder
from runtime.gpu.driver import CudaName
from runtime.gpu.model import GpuModel
from runtime.gpu.open import open_gpu_model
from runtime.manifest import Variant

Arrays = dict[str, NDArray[Any]]

TENSORRT = ("10.3.0", "10.16.1.11", "11.4.0.106")
TENSORRT_RTX = "1.7.1.116"
VERSIONS = (*TENSORRT, TENSORRT_RTX)


@dataclass
class GpuCase:
    """A fake machine, and what its user was told."""

    gpu: FakeGpu
    trt: FakeTensorRT
    cache: EngineCache
    cuda: CudaName = "cuda-python"
    notes: list[str] = field(default_factory=list)
    built: list[tuple[str, int]] = field(default_factory=list)
    """Parts that engines were built of, and the largest batch of each."""

    @classmethod
    def install(
        cls,
        monkeypatch: Any,
        root: Path,
        *,
        version: str = TENSORRT[0],
        cuda: CudaName = "cuda-python",
        gpu: FakeGpu | None = None,
    ) -> "GpuCase":
        """Put the fakes in the place of the driver's package and of TensorRT.

        Args:
            monkeypatch: Takes them away again.
            root: Folder of the engine cache.
            version: One of `VERSIONS`.
            cuda: Package that brings the driver to Python.
            gpu: The device.
        """
        gpu = gpu or FakeGpu()
        {"cuda-python": install_cuda_python, "pycuda": install_pycuda}[cuda](monkeypatch, gpu)
        trt = install_tensorrt(monkeypatch, make_tensorrt(version, gpu=gpu))
        return cls(gpu, trt, EngineCache(root), cuda)

    @property
    def builder(self) -> EngineBuilder:
        """The library that is installed."""
        return "tensorrt-rtx" if self.trt.builds_ahead_of_time else "tensorrt"

    def open(
        self, bundle: Bundle, *, variant: Variant = "classes", batch: int = 1, **policy: Any
    ) -> GpuModel:
        """Open a bundle; `policy` are fields of `EnginePolicy`."""
        return open_gpu_model(
            bundle,
            self.builder,
            source=self.source(**policy),
            variant=variant,
            batch=batch,
            cuda=self.cuda,
        )

    def source(self, **policy: Any) -> EngineSource:
        """Where engines come from."""
        return EngineSource(
            cache=self.cache,
            policy=EnginePolicy(**policy),
            segx_version="0.1.0",
            on_progress=lambda done, total, text: None,
            note=self.notes.append,
            build=self._build,
        )

    def _build(
        self, request: BuildRequest, out: Path, *, on_progress: Callable[[int, int, str], None]
    ) -> Built:
        profile = {
            name: [list(shapes.min), list(shapes.opt), list(shapes.max)]
            for name, shapes in request.profile.items()
        }
        most = max(shapes[2][0] for shapes in profile.values())
        self.built.append((request.part.name, most))
        out.write_bytes(self.plan(request.onnx.read_bytes(), profile))
        return Built(
            size_bytes=out.stat().st_size, seconds=0.5, workspace_mib=256, notes=(), summary=None
        )

    def plan(self, onnx: bytes, profile: Mapping[str, Sequence[Sequence[int]]]) -> bytes:
        """Give the bytes of an engine for this machine."""
        plan = Plan(
            library=self.trt.surface.module,
            version=self.trt.surface.version,
            compute_capabilities=[self.trt.device],
            gpu="" if self.trt.builds_ahead_of_time else self.gpu.name,
            profiles=[{name: [list(s) for s in shapes] for name, shapes in profile.items()}],
            strongly_typed=True,
            verbosity="DETAILED",
            onnx=onnx,
        )
        return plan.to_bytes()

    def left(self) -> dict[str, int]:
        """What was not given back; empty when all was."""
        assert self.gpu.faults == []
        return self.gpu.live()


def random_feed(bundle: Bundle, *, batch: int = 1, seed: int = 0) -> Arrays:
    """Make arrays of all inputs of a bundle."""
    rng = np.random.default_rng(seed)
    specs = {spec.name: spec for part in bundle.manifest.parts for spec in part.inputs}
    given = {spec.name for part in bundle.manifest.parts for spec in part.outputs}
    high = {"uint8": 256, "float32": 2}
    return {
        name: rng.integers(0, high[spec.dtype], spec.with_batch(batch)).astype(spec.dtype)
        for name, spec in specs.items()
        if name not in given
    }


def reference(bundle: Bundle, feed: Arrays, *, variant: Variant = "classes") -> Arrays:
    """Run the graphs with ONNX Runtime; outputs of all parts."""
    import onnxruntime

    known = dict(feed)
    for part in bundle.manifest.parts_for(variant):
        session = onnxruntime.InferenceSession(bundle.file(part))
        names = [spec.name for spec in part.outputs]
        values = session.run(names, {spec.name: known[spec.name] for spec in part.inputs})
        known.update(zip(names, values, strict=True))
    return {name: values for name, values in known.items() if name not in feed}


def varied_feeds(bundle: Bundle, count: int) -> list[Arrays]:
    """Make feeds that differ, also in their number of tiles: 1 to 3."""
    return [random_feed(bundle, batch=1 + seed % 3, seed=seed) for seed in range(count)]


def check_arrays(result: Arrays, expected: Arrays) -> None:
    """Compare every array of a result."""
    for name, values in result.items():
        np.testing.assert_array_equal(values, expected[name])
