"""What keeps a GPU from being used is found, each with what mends it."""

from pathlib import Path

import pytest

from runtime.nvidia import Gpu, Nvidia
from runtime.probe import Probe
from runtime.traps import APT_TENSORRT, find_traps

NONE = Nvidia(gpus=(), driver=None, cuda=None, problem="no NVIDIA driver")
ORIN = Gpu(
    name="Orin",
    compute_capability="8.7",
    memory_mib=None,
    shares_memory=True,
    power_limit_w=None,
)
ALL = ("tensorrt", "polygraphy", "cuda")


def with_gpu(cuda: str | None = "12.6") -> Nvidia:
    return Nvidia(gpus=(ORIN,), driver=None, cuda=cuda, problem=None)


def probe(
    *modules: str,
    packages: dict[str, str] | None = None,
    folders: tuple[Path, ...] = (),
    environment: bool = True,
) -> Probe:
    return Probe(
        has_module=lambda name: name in modules,
        version=lambda name: (packages or {}).get(name),
        exists=lambda path: path in folders,
        in_environment=lambda: environment,
    )


def found(probe: Probe, nvidia: Nvidia = NONE) -> list[tuple[str, str]]:
    return [(trap.found, trap.remedy) for trap in find_traps(probe, nvidia)]


def test_a_machine_in_order_has_none() -> None:
    packages = {"cuda-bindings": "12.9.1", "onnxruntime": "1.23"}
    assert found(probe(*ALL, packages=packages, folders=APT_TENSORRT), with_gpu()) == []
    assert found(probe()) == []


@pytest.mark.parametrize("folder", APT_TENSORRT)
def test_tensorrt_of_apt_that_an_environment_hides(folder: Path) -> None:
    ((text, remedy),) = found(probe(folders=(folder,)))
    assert text == f"apt's TensorRT in {folder.parent} is invisible in this virtual environment"
    assert "python3 -m venv --system-site-packages" in remedy
    assert found(probe(folders=(folder,), environment=False)) == []
    assert found(probe(*ALL, folders=(folder,))) == []


@pytest.mark.parametrize("package", ["cuda-bindings", "cuda-python"])
def test_cuda_python_that_is_newer_than_the_driver(package: str) -> None:
    packages = {package: "13.4.4"}
    ((text, remedy),) = found(probe(*ALL, packages=packages), with_gpu("12.6"))
    assert text == "cuda-python 13.4.4 needs a newer driver than this one for CUDA 12.6"
    assert remedy.startswith('pip install "cuda-python<13"')
    assert found(probe(*ALL, packages=packages), with_gpu("13.0")) == []
    assert found(probe(*ALL, packages=packages), with_gpu(None)) == []


@pytest.mark.parametrize(
    ("modules", "text"),
    [
        (("tensorrt",), "tensorrt without polygraphy and cuda-python"),
        (("tensorrt", "cuda"), "tensorrt without polygraphy"),
        (("tensorrt_rtx", "pycuda"), "tensorrt_rtx without polygraphy"),
        (("tensorrt_rtx", "polygraphy"), "tensorrt_rtx without cuda-python"),
    ],
)
def test_tensorrt_without_what_segx_drives_it_with(modules: tuple[str, ...], text: str) -> None:
    assert found(probe(*modules)) == [(text, "pip install 'segx[tensorrt]'")]


@pytest.mark.parametrize("lacking", ["onnxruntime", "onnxruntime-gpu", None])
def test_two_onnx_runtimes_in_one_folder(lacking: str | None) -> None:
    packages = {"onnxruntime": "1.23", "onnxruntime-gpu": "1.24"}
    packages.pop(lacking or "", None)
    traps = found(probe(packages=packages))
    assert bool(traps) == (lacking is None)
    assert all("pip uninstall onnxruntime onnxruntime-gpu" in remedy for _, remedy in traps)


def test_a_gpu_without_tensorrt() -> None:
    ((text, remedy),) = found(probe("polygraphy", "cuda"), with_gpu())
    assert text == "Orin without TensorRT"
    assert "pip install tensorrt-rtx-cu13" in remedy
    assert "JetPack" in remedy
