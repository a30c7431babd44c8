from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from runtime.backends import (
    Backend,
    BackendChoice,
    PassedOver,
    choose_backend,
    installed,
    open_session,
)
from runtime.errors import BackendError


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name in missing else ModuleSpec(name, loader=None)

    monkeypatch.setattr("importlib.util.find_spec", find)


def test_openvino_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    assert choose_backend() == BackendChoice(name="openvino", reason="first of those installed")
    assert installed("onnxruntime")


def test_the_next_one_says_why_it_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino")
    choice = choose_backend("auto")
    assert (choice.name, choice.device) == ("onnxruntime", "CPU")
    assert choice.reason == "openvino is not installed; first of those installed"
    assert choice.passed_over == (PassedOver(name="openvino", reason="openvino is not installed"),)


def test_the_one_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    assert choose_backend("onnxruntime") == BackendChoice(name="onnxruntime", reason="asked for")


@pytest.mark.parametrize(
    ("name", "package"), [("openvino", "openvino"), ("onnxruntime", r"segx\[ort\]")]
)
def test_the_one_asked_for_is_never_replaced(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, name)
    with pytest.raises(BackendError, match=f"{name} is not installed; .*pip install '{package}'"):
        choose_backend(name)  # type: ignore[arg-type]


def test_a_machine_without_any_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(BackendError, match=r"neither OpenVINO nor .*; run `pip install openvino`"):
        choose_backend()


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_parts_are_not_opened_one_by_one_with_tensorrt(backend: Backend) -> None:
    with pytest.raises(ValueError, match=f"{backend} opens no single part"):
        open_session(backend, Path("part.onnx"), None)  # type: ignore[arg-type]
