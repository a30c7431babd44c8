"""The ladder on a machine with a GPU: driver and TensorRT are fakes, the rest is the real thing."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import FakeGpu
from gpu_case import TENSORRT, TENSORRT_RTX, GpuCase

from runtime.backends import Backend, BackendOption
from runtime.bundle import Bundle, open_bundle
from runtime.engines import source
from runtime.engines.options import EnginePolicy
from runtime.errors import (
    AllZeroError,
    BackendError,
    CollapsedError,
    DisagreementError,
    EngineError,
    NotFiniteError,
    SegxError,
)
from runtime.ladder import RunRequest, Watch, open_best
from runtime.model import golden_feed

NAMES: dict[str, Backend] = {TENSORRT[0]: "tensorrt", TENSORRT_RTX: "tensorrt-rtx"}
Install = Callable[..., GpuCase]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Function that makes this a machine with a GPU and one TensorRT."""

    def make(version: str = TENSORRT[0], **settings: Any) -> GpuCase:
        monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: True)
        for module in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, module, None)
        case = GpuCase.install(monkeypatch, tmp_path / "cache", version=version, **settings)
        building = functools.partial(source.EngineSource, build=case.source().build)
        monkeypatch.setattr(source, "EngineSource", building)
        return case

    return make


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize("asked", ["auto", "by name"])
def test_engines_are_built_tested_and_taken(
    bundle: Bundle, install: Install, version: str, asked: str
) -> None:
    case = install(version)
    notes: list[str] = []
    backend = NAMES[version] if asked == "by name" else "auto"
    found = open_best(bundle, RunRequest(backend=backend), Watch(note=notes.append))
    assert found.choice.name == NAMES[version]
    assert found.choice.device == f"{case.gpu.name} ({case.trt.device})"
    assert found.self_test.agreement == 1.0
    assert [name for name, _ in case.built] == ["aerial", "satellite", "fusion"]
    feed, expected = golden_feed(bundle)
    np.testing.assert_array_equal(found.model.run(feed)["classes"], expected["classes"])
    found.model.close()
    assert case.left() == {}
    if asked == "auto" and found.choice.name == "tensorrt-rtx":
        (passed,) = found.choice.passed_over
        assert (passed.name, passed.reason) == ("tensorrt", "tensorrt is not installed")


POISONS: dict[str, tuple[str, type[SegxError]]] = {
    "nan": ("aerial_logits", NotFiniteError),
    "inf": ("satellite_logits", NotFiniteError),
    "zero": ("satellite_logits", AllZeroError),
    "one_class": ("classes", CollapsedError),
    "noise": ("classes", DisagreementError),
}


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize("poison", POISONS)
def test_an_engine_that_gives_something_else_is_never_used(
    bundle: Bundle, install: Install, version: str, poison: str
) -> None:
    case = install(version)
    tensor, error = POISONS[poison]
    case.trt.poison(tensor, kind=poison)
    with pytest.raises(error, match=f"tiny with {NAMES[version]} gives .*--backend openvino"):
        open_best(bundle, RunRequest(backend=NAMES[version]))
    assert case.left() == {}
    found = open_best(bundle, RunRequest())
    assert found.choice.name == "openvino"
    reasons = {item.name: item.reason for item in found.choice.passed_over}
    assert reasons[NAMES[version]].startswith(f"self-test: tiny with {NAMES[version]} gives ")
    assert case.left() == {}
    found.model.close()
    open_best(bundle, RunRequest(backend=NAMES[version], self_test=False)).model.close()


def break_driver(case: GpuCase) -> None:
    case.gpu.fail("cuInit")


def lose_gpu(case: GpuCase) -> None:
    case.gpu.devices = 0


def refuse_engine(case: GpuCase) -> None:
    case.trt.fail("Runtime.deserialize_cuda_engine", returns=None, message="wrong version")


def refuse_run(case: GpuCase) -> None:
    case.trt.fail("IExecutionContext.execute_async_v3", returns=False, message="launch failed")


BROKEN: dict[Callable[[GpuCase], None], tuple[type[SegxError], str]] = {
    break_driver: (BackendError, "cuInit"),
    lose_gpu: (BackendError, "no CUDA-capable device|0 NVIDIA GPUs|NO_DEVICE"),
    refuse_engine: (EngineError, "wrong version"),
    refuse_run: (EngineError, "launch failed"),
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_a_gpu_that_fails_is_passed_over_with_the_reason(
    bundle: Bundle, install: Install, damage: Callable[[GpuCase], None]
) -> None:
    case = install()
    damage(case)
    error, text = BROKEN[damage]
    with pytest.raises(error, match=text):
        open_best(bundle, RunRequest(backend="tensorrt"))
    found = open_best(bundle, RunRequest())
    reasons = {item.name: item.reason for item in found.choice.passed_over}
    assert found.choice.name == "openvino"
    assert ";" not in reasons["tensorrt"]
    assert reasons["tensorrt"]
    assert case.left() == {}


@pytest.mark.parametrize("backend", ["tensorrt", "auto"])
def test_an_engine_that_may_not_be_built_is_missed(
    bundle: Bundle, install: Install, backend: BackendOption
) -> None:
    case = install()
    policy = EnginePolicy(rebuild="never")
    with pytest.raises(EngineError, match="--rebuild auto"):
        open_best(bundle, RunRequest(backend=backend, policy=policy))
    assert case.built == []
    assert case.left() == {}


def test_engines_that_are_not_trusted_are_no_reason_to_take_the_cpu(
    bundle: Bundle, install: Install, tmp_path: Path
) -> None:
    case = install()
    policy = EnginePolicy(folder=tmp_path)
    with pytest.raises(EngineError, match="add --trust-engines"):
        open_best(bundle, RunRequest(policy=policy))
    assert case.left() == {}


def test_a_gpu_that_is_no_target_of_tensorrt_rtx_is_tried_by_name_only(
    bundle: Bundle, install: Install
) -> None:
    gpu = FakeGpu(name="NVIDIA H200", compute_capability=(9, 0))
    case = install(TENSORRT_RTX, gpu=gpu)
    message = "GPU NVIDIA H200 (9.0) is not among the targets of tensorrt-rtx: 7.5, 8.0, 8.6"
    found = open_best(bundle, RunRequest())
    reasons = {item.name: item.reason for item in found.choice.passed_over}
    assert reasons["tensorrt-rtx"].startswith(message)
    assert case.built == []
    found.model.close()
    notes: list[str] = []
    named = RunRequest(backend="tensorrt-rtx")
    found = open_best(bundle, named, Watch(note=notes.append))
    assert found.choice.device == "NVIDIA H200 (9.0)"
    assert found.self_test.agreement == 1.0
    (note,) = notes
    assert note.startswith(message)
    found.model.close()
    assert case.left() == {}
