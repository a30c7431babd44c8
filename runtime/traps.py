"""What keeps a GPU from being used although all seems to be there, and how to mend it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .nvidia import Nvidia
from .probe import Probe

_PYTHONS = ("3", "3.10", "3.11", "3.12", "3.13")
APT_TENSORRT = tuple(Path(f"/usr/lib/python{name}/dist-packages/tensorrt") for name in _PYTHONS)
"""Where apt puts TensorRT's Python package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Something that is in the way."""

    found: str
    remedy: str


def find_traps(probe: Probe, nvidia: Nvidia) -> tuple[Trap, ...]:
    """Look for all of them."""
    return (
        *_hidden_tensorrt(probe),
        *_new_cuda_python(probe, nvidia),
        *_lone_tensorrt(probe),
        *_two_onnxruntimes(probe),
        *_gpu_alone(probe, nvidia),
    )


def _hidden_tensorrt(probe: Probe) -> Iterator[Trap]:
    if probe.has_module("tensorrt") or not probe.in_environment():
        return
    hidden = next((path for path in APT_TENSORRT if probe.exists(path)), None)
    if hidden is not None:
        yield Trap(
            found=f"apt's TensorRT in {hidden.parent} is invisible in this virtual environment",
            remedy="make the environment anew: python3 -m venv --system-site-packages ENV",
        )


def _new_cuda_python(probe: Probe, nvidia: Nvidia) -> Iterator[Trap]:
    version = probe.version("cuda-bindings") or probe.version("cuda-python")
    if version is None or nvidia.cuda is None:
        return
    package, driver = (int(text.partition(".")[0]) for text in (version, nvidia.cuda))
    if package > driver:
        yield Trap(
            found=f"cuda-python {version} needs a newer driver than this one for CUDA "
            f"{nvidia.cuda}",
            remedy=f'pip install "cuda-python<{driver + 1}", or update the driver',
        )


def _lone_tensorrt(probe: Probe) -> Iterator[Trap]:
    there = [name for name in ("tensorrt", "tensorrt_rtx") if probe.has_module(name)]
    lacking = [name for name in ("polygraphy",) if not probe.has_module(name)]
    if not probe.has_module("cuda") and not probe.has_module("pycuda"):
        lacking.append("cuda-python")
    if there and lacking:
        yield Trap(
            found=f"{' and '.join(there)} without {' and '.join(lacking)}",
            remedy="pip install 'segx[tensorrt]'",
        )


def _two_onnxruntimes(probe: Probe) -> Iterator[Trap]:
    if probe.version("onnxruntime") and probe.version("onnxruntime-gpu"):
        yield Trap(
            found="onnxruntime and onnxruntime-gpu are both installed, in one folder",
            remedy="pip uninstall onnxruntime onnxruntime-gpu, then install one of them",
        )


def _gpu_alone(probe: Probe, nvidia: Nvidia) -> Iterator[Trap]:
    if nvidia.gpus and not (probe.has_module("tensorrt") or probe.has_module("tensorrt_rtx")):
        yield Trap(
            found=f"{nvidia.gpus[0].name} without TensorRT",
            remedy="install it with JetPack on a Jetson, else: pip install tensorrt, or pip "
            "install tensorrt-rtx-cu13 for a desktop GPU",
        )
