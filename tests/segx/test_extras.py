from importlib.machinery import ModuleSpec

import pytest

from runtime.errors import BackendError
from segx import extras


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let only the modules of the test's parameter be missing."""
    missing: set[str] = request.param

    def find(name: str) -> ModuleSpec | None:
        return None if name in missing else ModuleSpec(name, loader=None)

    monkeypatch.setattr(extras, "find_spec", find)


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("without", [set()], indirect=True)
def test_nothing_is_said_about_an_extra_that_is_there() -> None:
    extras.require("train", "segx train")
    assert extras.is_installed("train")
    assert extras.remedy("torch") is None


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("without", [{"torch", "timm"}], indirect=True)
def test_a_missing_extra_is_named_with_what_to_install() -> None:
    expected = (
        "torch, timm are not installed; segx train needs the extra 'train'; "
        r"run: pip install 'segx\[train\]'$"
    )
    with pytest.raises(BackendError, match=expected):
        extras.require("train", "segx train")
    assert not extras.is_installed("train")
    assert extras.is_installed("ort")


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("without", [{"onnxruntime"}], indirect=True)
def test_the_smallest_extra_that_brings_a_module_is_advised() -> None:
    assert extras.remedy("onnxruntime.capi") == (
        "onnxruntime is not installed; it comes with the extra 'ort'; run: pip install 'segx[ort]'"
    )
    assert extras.remedy("numpy") is None
