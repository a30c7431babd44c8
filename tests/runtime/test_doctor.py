import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from runtime import doctor
from runtime.doctor import examine


def test_the_machine_is_described_in_words() -> None:
    findings = examine()
    assert list(findings.machine) == [
        "system",
        "python",
        "processor",
        "processor threads",
        "memory",
        "free disk here",
        "GDAL",
    ]
    assert all(findings.machine.values())
    assert int(findings.machine["processor threads"]) >= 1
    assert "segx infer" in findings.writes


def test_both_backends_are_listed_with_version_and_note() -> None:
    openvino, onnxruntime = examine().backends
    assert (openvino.name, onnxruntime.name) == ("openvino", "onnxruntime")
    for backend in (openvino, onnxruntime):
        assert backend.usable
        assert backend.version
        assert "FP32" in backend.note


@pytest.mark.parametrize(
    ("missing", "package"), [("openvino", "openvino"), ("onnxruntime", "'segx[ort]'")]
)
def test_a_missing_backend_says_what_to_install(
    missing: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == missing else ModuleSpec(name, loader=None)

    monkeypatch.setattr("importlib.util.find_spec", find)
    monkeypatch.setattr(doctor, "cpu_has_bf16", lambda: True)
    found = {backend.name: backend for backend in examine().backends}
    assert not found[missing].usable
    assert found[missing].version is None
    assert found[missing].note == f"not installed: pip install {package}"
    assert found[({"openvino", "onnxruntime"} - {missing}).pop()].usable


def test_a_backend_that_is_there_but_broken_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("runtime.doctor.installed", lambda backend: True)
    openvino, _ = examine().backends
    assert not openvino.usable
    assert "OpenVINO cannot be imported" in openvino.note


@pytest.mark.parametrize(
    ("has_bf16", "note"), [(True, "has BF16"), (False, "no BF16: fp16 bundles run in FP32")]
)
def test_the_processor_decides_what_fp16_bundles_run_in(
    has_bf16: bool, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "cpu_has_bf16", lambda: has_bf16)
    assert note in examine().backends[0].note


def test_a_machine_without_proc_is_described_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.sysconf_names", {})
    machine = examine().machine
    assert machine["memory"] == "not known"
    assert machine["processor"]
