"""Which backends can be used here, in which version, and why not the others."""

from dataclasses import dataclass
from typing import get_args

from .backends import Backend
from .engines.target import EngineBuilder
from .errors import BackendError
from .openvino_core import cpu_has_bf16, sums_int8_exactly
from .probe import Probe
from .usable import require_usable


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFinding:
    """What is known about one backend here."""

    name: str
    usable: bool
    version: str | None
    note: str
    targets: tuple[str, ...] = ()
    """Compute capabilities that it builds engines for without such a GPU."""


def examine_backends(probe: Probe) -> tuple[BackendFinding, ...]:
    """Look at every backend, in the order of preference."""
    return tuple(_examine(name, probe) for name in get_args(Backend))


def _examine(name: Backend, probe: Probe) -> BackendFinding:
    match name:
        case "tensorrt" | "tensorrt-rtx":
            version, targets = _builder(name)
        case "onnxruntime-cuda":
            version, targets = probe.version("onnxruntime-gpu"), ()
        case "onnxruntime":
            version = probe.version("onnxruntime") or probe.version("onnxruntime-gpu")
            targets = ()
        case "openvino":
            version, targets = probe.version("openvino"), ()
    try:
        note = _note(name, require_usable(name))
    except BackendError as error:
        # Where there is no GPU, what else its libraries need is of no interest.
        found = str(error)
        note = found.partition(";")[0] if found.startswith("no NVIDIA driver;") else found
        usable = False
    else:
        usable = True
    if targets:
        note += f"; builds engines for {', '.join(targets)} without a GPU"
    return BackendFinding(name=name, usable=usable, version=version, note=note, targets=targets)


def _builder(name: EngineBuilder) -> tuple[str | None, tuple[str, ...]]:
    """Version and targets of TensorRT or TensorRT-RTX; nothing where it cannot be imported."""
    from .engines.api import builder_version, load_tensorrt, probe

    try:
        trt = load_tensorrt(name)
    except BackendError:
        return None, ()
    return builder_version(trt), probe(trt).compute_capabilities


def _note(name: Backend, device: str) -> str:
    match name:
        case "tensorrt" | "tensorrt-rtx":
            return f"{device}; builds engines at the first run"
        case "onnxruntime-cuda":
            return f"{device}; fp32 bundles run in FP32, others in FP16"
        case "onnxruntime":
            return "CPU provider; computes in FP32 whatever the bundle's precision"
        case "openvino":
            bf16 = "has BF16" if cpu_has_bf16() else "has no BF16: fp16 bundles run in FP32"
            said = f"default on a CPU; fp32 bundles run in FP32; this CPU {bf16}"
            if sums_int8_exactly():
                return said
            return f"{said}, no VNNI: int8 bundles with full-range weights run in FP32"
