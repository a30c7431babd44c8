import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, get_args

import pytest

from runtime import backend_findings
from runtime.backend_findings import examine_backends
from runtime.backends import Backend
from runtime.doctor import examine
from runtime.errors import BackendError
from runtime.jetson import RELEASE
from runtime.jsonfile import plain
from runtime.probe import Probe

NO_GPU = Probe(run=lambda command: "", read=lambda path: "", has_driver=lambda: False)
SMI = {
    5: "NVIDIA RTX 4000 Ada Generation, 8.9, 580.65.06, 20475, 130.00\n",
    1: "| Driver Version: 580.65.06   CUDA Version: 13.0 |\n",
}


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: False)


CACHE = "TensorRT engines, and graphs that OpenVINO compiled"


def answers(command: Sequence[str]) -> str:
    if command[0] == "nvpmodel":
        return "NV Power Mode: 15W\n0\n"
    return SMI[1] if len(command) == 1 else SMI[5]


def test_the_machine_is_described_in_words() -> None:
    findings = examine(NO_GPU)
    assert list(findings.machine) == [
        "system",
        "python",
        "processor",
        "processor threads",
        "memory",
        "free disk here",
        "GDAL",
        "GPU",
    ]
    assert all(findings.machine.values())
    assert int(findings.machine["processor threads"]) >= 1
    assert findings.machine["GPU"] == "none (no NVIDIA driver)"
    assert "segx infer" in findings.writes


def test_a_gpu_and_a_jetson_are_described_in_words() -> None:
    probe = Probe(
        run=answers,
        read=lambda path: "# R36 (release), REVISION: 4.3, G\n" if path == RELEASE else "",
        has_driver=lambda: False,
    )
    machine = examine(probe).machine
    assert machine["GPU"].startswith("NVIDIA RTX 4000 Ada Generation, compute capability 8.9, ")
    assert machine["NVIDIA driver"] == "580.65.06, for CUDA 13.0"
    assert machine["Jetson"] == "JetPack 6.2 (L4T 36.4.3)"
    assert machine["power mode"] == "15W"


SCHEMA = {
    "machine": None,
    "nvidia": {"gpus", "driver", "cuda", "problem"},
    "jetson": {"board", "l4t", "jetpack", "power_mode"},
    "backends": {"name", "usable", "version", "note", "targets"},
    "traps": {"found", "remedy"},
    "writes": None,
}


def test_the_findings_have_the_same_keys_with_and_without_a_gpu() -> None:
    without, with_gpu = (plain(examine(probe)) for probe in (NO_GPU, Probe(run=answers)))
    for found in (without, with_gpu):
        assert set(found) == set(SCHEMA)
        assert set(found["nvidia"]) == SCHEMA["nvidia"]
        assert [backend["name"] for backend in found["backends"]] == list(get_args(Backend))
        assert all(set(backend) == SCHEMA["backends"] for backend in found["backends"])
        assert all(set(trap) == SCHEMA["traps"] for trap in found["traps"])
    assert without["nvidia"]["gpus"] == []
    assert without["jetson"] is None
    assert set(with_gpu["nvidia"]["gpus"][0]) == {
        "name",
        "compute_capability",
        "memory_mib",
        "shares_memory",
        "power_limit_w",
    }


def test_the_cache_of_engines_is_among_the_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("SEGX_CACHE_GIB", "3.5")
    text = examine(NO_GPU).writes[CACHE]
    assert text == f"{tmp_path / 'kept'}, 3.5 GiB at most (SEGX_CACHE, SEGX_CACHE_GIB)"
    monkeypatch.setenv("SEGX_CACHE_GIB", "much")
    assert "SEGX_CACHE_GIB is 'much'" in examine(NO_GPU).writes[CACHE]


def backend(name: Backend, probe: Probe = NO_GPU) -> Any:
    return next(item for item in examine_backends(probe) if item.name == name)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_backend_of_the_cpu_has_version_and_note(name: Backend) -> None:
    found = backend(name)
    assert found.usable
    assert found.version
    assert "FP32" in found.note


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx", "onnxruntime-cuda"])
def test_without_a_driver_that_is_all_that_is_said(name: Backend) -> None:
    found = backend(name)
    assert not found.usable
    assert found.note.split("; ")[0] == "no NVIDIA driver"
    assert "install" not in found.note


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx", "onnxruntime-cuda"])
def test_a_gpu_that_can_be_used_is_named(name: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_findings, "require_usable", lambda name: "Ada (8.9)")
    found = backend(name)
    assert found.usable
    assert found.note.startswith("Ada (8.9); ")


def test_what_else_is_missing_is_said_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise BackendError(f"{name} is not installed; expected it; install it")

    monkeypatch.setattr(backend_findings, "require_usable", missing)
    assert backend("tensorrt").note == "tensorrt is not installed; expected it; install it"


def test_the_targets_of_a_builder_are_shown_without_a_gpu(
    fake_builder: Callable[[str, str], None],
) -> None:
    fake_builder("tensorrt_rtx", "1.7.1.116")
    found = backend("tensorrt-rtx")
    assert found.version
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(found.targets)
    assert not {"8.7", "9.0"} & set(found.targets)
    assert "builds engines for 7.5, " in found.note
    fake_builder("tensorrt", "10.3.0")
    found = backend("tensorrt")
    assert (found.version, found.targets) == ("10.3.0", ())


@pytest.fixture
def fake_builder(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Function that puts a fake TensorRT of a version in the place of the real one."""
    from fake_tensorrt import make_tensorrt

    def put(module: str, version: str) -> None:
        monkeypatch.setitem(sys.modules, module, make_tensorrt(version, gpu=None))

    return put


@pytest.mark.parametrize(
    ("missing", "package"), [("openvino", "openvino"), ("onnxruntime", r"'segx\[ort\]'")]
)
def test_a_missing_backend_says_what_to_install(
    missing: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == missing else ModuleSpec(name, loader=None)

    monkeypatch.setattr("importlib.util.find_spec", find)
    monkeypatch.setattr(backend_findings, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(backend_findings, "sums_int8_exactly", lambda: True)
    monkeypatch.setattr(backend_findings, "_builder", lambda name: (None, ()))
    found = backend(missing)
    assert not found.usable
    assert f"{missing} is not installed" in found.note
    assert package.replace("\\", "") in found.note.replace("`", "")
    other: Any = ({"openvino", "onnxruntime"} - {missing}).pop()
    assert backend(other).usable


def test_a_backend_that_is_there_but_broken_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("runtime.backends.installed", lambda backend: True)
    found = backend("openvino")
    assert not found.usable
    assert "OpenVINO cannot be imported" in found.note


@pytest.mark.parametrize(
    ("has_bf16", "note"), [(True, "has BF16"), (False, "no BF16: fp16 bundles run in FP32")]
)
def test_the_processor_decides_what_fp16_bundles_run_in(
    has_bf16: bool, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_findings, "cpu_has_bf16", lambda: has_bf16)
    assert note in backend("openvino").note


@pytest.mark.parametrize("exact", [True, False])
def test_the_processor_decides_what_int8_bundles_run_in(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_findings, "sums_int8_exactly", lambda: exact)
    said = "no VNNI: int8 bundles with full-range weights run in FP32"
    assert (said in backend("openvino").note) != exact


def test_a_machine_without_proc_is_described_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.sysconf_names", {})
    machine = examine(NO_GPU).machine
    assert machine["memory"] == "not known"
    assert machine["processor"]
