"""ONNX Runtime on a GPU: on a GPU it is, or nothing."""

import dataclasses
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from fake_ort_cuda import CPU, CUDA, FakeCuda, install_ort_cuda

from runtime.backends import open_session
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BackendError, DeviceError, FeedError
from runtime.manifest import Precision
from runtime.model import golden_feed
from runtime.onnxruntime_session import require_cuda_build
from runtime.session import Session


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return install_ort_cuda(monkeypatch)


def on_gpu(opened: Bundle, precision: Precision = "fp32") -> Session:
    part = dataclasses.replace(opened.manifest.parts[0], precision=precision)
    return open_session("onnxruntime-cuda", opened.file(part), part, threads=1)


@pytest.mark.parametrize(
    ("precision", "executed"), [("fp32", "fp32"), ("fp16", "fp16"), ("int8", "fp16")]
)
def test_what_is_computed_follows_from_the_bundle(
    opened: Bundle, cuda: FakeCuda, precision: Precision, executed: str
) -> None:
    assert on_gpu(opened, precision).precision == executed
    (asked,) = cuda.asked
    # TF32 is not FP32, and what fails on the GPU must not go on on the CPU.
    assert asked == {"providers": [(CUDA, {"use_tf32": "0"}), CPU], "enable_fallback": 0}


def test_the_cpu_takes_no_provider_of_a_gpu(opened: Bundle, cuda: FakeCuda) -> None:
    part = opened.manifest.parts[0]
    session = open_session("onnxruntime", opened.file(part), part, threads=1)
    assert session.precision == "fp32"
    assert cuda.asked[0]["providers"] == [CPU]


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("", "cannot use the GPU and took CPUExecutionProvider"),
        (
            "Failed to load libcublasLt.so.13: no such file\nFailed to load libcudnn.so.9",
            r"cannot use the GPU \(Failed to load libcublasLt.so.13: no such file\) and took",
        ),
    ],
)
def test_a_session_that_is_quietly_made_on_the_cpu_is_refused(
    opened: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    says: str,
    why: str,
) -> None:
    install_ort_cuda(monkeypatch, taken=(CPU,), says=says)
    with pytest.raises(BackendError, match=f"{why}.*; expected CUDAExecution.*; install the CUDA"):
        on_gpu(opened)
    assert capsys.readouterr().out == ""


def test_an_older_library_loads_nothing_before(
    opened: Bundle, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(onnxruntime, "preload_dlls")
    assert on_gpu(opened).precision == "fp32"


def test_a_build_for_the_cpu_is_named(opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    install_ort_cuda(monkeypatch, available=(CPU,))
    message = "^onnxruntime has no CUDA provider; expected onnxruntime-gpu .*; run `pip uninstall"
    with pytest.raises(BackendError, match=message):
        on_gpu(opened)
    with pytest.raises(BackendError, match=message):
        require_cuda_build()


def test_a_gpu_that_fails_in_a_run_is_one_line(opened: Bundle, cuda: FakeCuda) -> None:
    session = on_gpu(opened)
    feed: dict[str, Any] = {"aerial": golden_feed(opened)[0]["aerial"]}
    cuda.run_error = RuntimeError("Non-zero status code\nCUDA failure 2: out of memory")
    with pytest.raises(DeviceError, match=r"\(CUDA failure 2: out of memory\); expected .*; close"):
        session.run(feed)
    with pytest.raises(FeedError, match="input 'aerial' is missing"):
        session.run({})


def test_a_defect_on_the_cpu_keeps_its_traceback(opened: Bundle, cuda: FakeCuda) -> None:
    part = opened.manifest.parts[0]
    session = open_session("onnxruntime", opened.file(part), part, threads=1)
    cuda.run_error = RuntimeError("a defect")
    with pytest.raises(RuntimeError, match="a defect"):
        session.run({"aerial": golden_feed(opened)[0]["aerial"]})
