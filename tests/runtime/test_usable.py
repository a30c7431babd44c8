"""What each backend needs of a machine, and what is said of what is missing."""

import ctypes
import sys
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from runtime import usable
from runtime.backends import Backend
from runtime.engines.target import MODULES, EngineBuilder
from runtime.errors import BackendError, DeviceError
from runtime.gpu.device import DeviceInfo
from runtime.usable import find_gpu, has_nvidia_driver, require_usable

ADA = DeviceInfo(
    name="NVIDIA RTX 4000 Ada",
    compute_capability="8.9",
    memory_mib=20_000,
    free_mib=19_000,
    driver="13.0",
    integrated=False,
)
GPU_BACKENDS = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda")
TARGETS = {"tensorrt": (), "tensorrt-rtx": ("7.5", "8.9", "12.0")}


def fails(error: Exception) -> Any:
    def raise_it(*args: object) -> None:
        raise error

    return raise_it


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has everything."""
    monkeypatch.setattr(usable, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(usable, "targets_of", TARGETS.__getitem__)
    monkeypatch.setattr(usable, "require_cuda_build", lambda: None)
    monkeypatch.setattr(usable, "find_gpu", lambda cuda: ADA)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("backend", get_args(Backend))
def test_every_backend_names_its_device(backend: Backend) -> None:
    on_gpu = backend in GPU_BACKENDS
    assert require_usable(backend) == ("NVIDIA RTX 4000 Ada (8.9)" if on_gpu else "CPU")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_without_a_driver_nothing_of_a_gpu_is_touched(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usable, "has_nvidia_driver", lambda: False)
    touched = AssertionError("touched")
    for name in ("targets_of", "find_gpu", "require_cuda_build"):
        monkeypatch.setattr(usable, name, fails(touched))
    message = f"^no NVIDIA driver; expected one for `--backend {backend}`; .*--backend openvino"
    with pytest.raises(BackendError, match=message):
        require_usable(backend)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_missing_library_of_the_cpu_is_named(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=f"^{backend} is not installed; "):
        require_usable(backend)


@pytest.mark.usefixtures("machine")
def test_a_gpu_that_a_builder_knows_nothing_of_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    orin = SimpleNamespace(name="Orin", compute_capability="8.7")
    monkeypatch.setattr(usable, "find_gpu", lambda cuda: orin)
    message = r"^GPU Orin \(8\.7\) is not among the targets of tensorrt-rtx: 7\.5, 8\.9, 12\.0; "
    with pytest.raises(BackendError, match=message):
        require_usable("tensorrt-rtx")
    assert require_usable("tensorrt") == "Orin (8.7)"


@pytest.mark.usefixtures("machine")
def test_a_gpu_that_a_builder_does_not_list_is_tried_when_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doubts: list[str] = []
    assert require_usable("tensorrt-rtx", on_doubt=doubts.append) == "NVIDIA RTX 4000 Ada (8.9)"
    assert doubts == []
    hopper = SimpleNamespace(name="H200", compute_capability="9.0")
    monkeypatch.setattr(usable, "find_gpu", lambda cuda: hopper)
    assert require_usable("tensorrt-rtx", on_doubt=doubts.append) == "H200 (9.0)"
    assert doubts == [
        "GPU H200 (9.0) is not among the targets of tensorrt-rtx: 7.5, 8.9, 12.0; expected one of "
        "them; tried, since tensorrt-rtx was asked for by name"
    ]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_builder_is_named(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = BackendError(f"{backend} is not installed; expected it; install it")
    monkeypatch.setattr(usable, "targets_of", fails(missing))
    with pytest.raises(BackendError, match=f"{backend} is not installed"):
        require_usable(backend)


@pytest.mark.parametrize("builder", ["tensorrt", "tensorrt-rtx"])
def test_a_builder_that_is_missing_and_one_that_is_broken_are_told_apart(
    builder: EngineBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[builder], None)
    monkeypatch.setattr(usable, "installed", lambda module: False)
    with pytest.raises(BackendError, match=f"^{builder} is not installed; expected .*; install"):
        usable.targets_of(builder)
    monkeypatch.setattr(usable, "installed", lambda module: True)
    with pytest.raises(BackendError, match=r"^Python module .* cannot be imported \("):
        usable.targets_of(builder)


@pytest.mark.usefixtures("machine")
def test_onnx_runtime_must_be_there_and_made_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable, "require_cuda_build", fails(BackendError("no CUDA provider")))
    with pytest.raises(BackendError, match="no CUDA provider"):
        require_usable("onnxruntime-cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="onnxruntime is not installed"):
        require_usable("onnxruntime-cuda")


@pytest.mark.usefixtures("machine")
def test_onnx_runtime_needs_no_package_to_name_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable, "installed", lambda module: False)
    monkeypatch.setattr(usable, "find_gpu", fails(BackendError("cuda-python is not installed")))
    assert require_usable("onnxruntime-cuda") == "GPU 0"
    with pytest.raises(BackendError, match="cuda-python is not installed"):
        require_usable("onnxruntime-cuda", "cuda-python")


def test_the_gpu_is_let_go_of_again(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    device = SimpleNamespace(info=ADA, close=lambda: closed.append("closed"))
    asked: list[str] = []

    def find(option: str) -> Any:
        asked.append(option)
        return device

    monkeypatch.setattr("runtime.gpu.device.find_device", find)
    assert find_gpu("pycuda") is ADA
    assert (asked, closed) == (["pycuda"], ["closed"])


def test_a_gpu_that_does_not_answer_is_a_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    error = DeviceError("cuInit failed; expected a GPU; start the machine again")
    monkeypatch.setattr("runtime.gpu.device.find_device", fails(error))
    with pytest.raises(BackendError, match="cuInit failed; expected a GPU; start"):
        find_gpu()


@pytest.mark.parametrize(
    ("platform", "library"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")]
)
def test_the_driver_is_known_by_its_library(
    platform: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", asked.append)
    assert has_nvidia_driver()
    assert asked == [library]
    monkeypatch.setattr(ctypes, "CDLL", fails(OSError("no such file")))
    assert not has_nvidia_driver()
