"""Polygraphy drives the fake TensorRT of a child process as it drives the real one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import surface_versions
from fake_trt_plan import Plan
from fake_trt_surface import load_surface

pytest.importorskip("onnx")
pytest.importorskip("polygraphy")

ROOT = Path(__file__).parents[2]
TOY = ROOT / "segx" / "toy.segx"
FAKES = ROOT / "tests" / "fakes"
BUILD = """
import sys
from pathlib import Path

from polygraphy import config
from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
from polygraphy.backend.trt import CreateConfig, Profile, engine_bytes_from_network
from polygraphy.backend.trt import network_from_onnx_path
from polygraphy.mod.trt_importer import lazy_import_trt

trt, out = lazy_import_trt(), Path(sys.argv[1])


class Monitor(trt.IProgressMonitor):
    def __init__(self):
        trt.IProgressMonitor.__init__(self)

    def phase_start(self, phase, parent, steps):
        print("phase", phase, steps)

    def phase_finish(self, phase):
        pass

    def step_complete(self, phase, step):
        return True


for path in sys.argv[2:]:
    builder, network, parser = network_from_onnx_path(path, strongly_typed=True)
    profile = Profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        rest = tuple(tensor.shape)[1:]
        profile.add(tensor.name, (1, *rest), (1, *rest), (4, *rest))
    options = {
        "profiles": [profile],
        "memory_pool_limits": {trt.MemoryPoolType.WORKSPACE: 1 << 30},
        "builder_optimization_level": 2,
        "progress_monitor": Monitor(),
    }
    if config.USE_TENSORRT_RTX:
        options["compute_capabilities"] = [(8, 6), (12, 0)]
    create = CreateConfigRTX if config.USE_TENSORRT_RTX else CreateConfig
    plan = engine_bytes_from_network((builder, network), create(**options))
    (out / (Path(path).stem + ".plan")).write_bytes(plan)
"""


def python(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the fakes in place of TensorRT."""
    paths = os.pathsep.join(str(path) for path in (FAKES / "path", FAKES))
    everything = {**os.environ, "PYTHONPATH": paths, **environment}
    return subprocess.run(
        [sys.executable, *command],
        env=everything,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def build(version: str, out: Path, *parts: Path, **environment: str) -> Any:
    rtx = str(int(load_surface(version).module == "tensorrt_rtx"))
    return python(
        "-c",
        BUILD,
        str(out),
        *(str(part) for part in parts),
        FAKE_TENSORRT=version,
        POLYGRAPHY_USE_TENSORRT_RTX=rtx,
        FAKE_TENSORRT_LOG=str(out / "log.json"),
        **environment,
    )


@pytest.mark.parametrize("version", surface_versions())
def test_polygraphy_builds_all_parts_of_the_packaged_bundle(version: str, tmp_path: Path) -> None:
    parts = sorted(TOY.glob("*.onnx"))
    done = build(version, tmp_path, *parts)
    assert done.returncode == 0, done.stderr
    assert "phase Building engine" in done.stdout
    devices = ["8.6", "12.0"] if load_surface(version).module == "tensorrt_rtx" else ["8.9"]
    for part in parts:
        plan = Plan.from_bytes((tmp_path / f"{part.stem}.plan").read_bytes())
        assert (plan.version, plan.compute_capabilities) == (version, devices)
        assert plan.onnx == part.read_bytes()
        assert plan.strongly_typed
        assert all(shapes[2][0] == 4 for shapes in plan.profiles[0].values())
    log = json.loads((tmp_path / "log.json").read_text())
    assert [name for name, *_ in log["calls"]].count("Builder.build_serialized_network") == 4
    # Polygraphy asks for names that a generation lacks, and goes on without them.
    assert {module.partition(".")[0] for _, module in log["missing"]} <= {"polygraphy"}


def test_a_build_that_is_told_to_fail_fails_in_polygraphy(tmp_path: Path) -> None:
    fusion = TOY / "fusion.onnx"
    version = "10.3.0"
    done = build(version, tmp_path, fusion, FAKE_TENSORRT_FAIL="build_serialized_network:no luck")
    assert done.returncode == 1
    assert "no luck" in done.stdout + done.stderr
    done = build(version, tmp_path, fusion, FAKE_TENSORRT_OOM_ABOVE_MIB="512")
    assert done.returncode == 1
    assert "OutOfMemory" in done.stdout + done.stderr
    done = build(version, tmp_path, fusion, FAKE_TENSORRT_KILLED_ABOVE_MIB="512")
    assert done.returncode == -9


def test_only_the_library_of_the_chosen_version_can_be_imported() -> None:
    code = "import tensorrt as trt; print(trt.__version__, trt.Runtime(trt.Logger()))"
    assert python("-c", code, FAKE_TENSORRT="11.4.0.106").stdout.startswith("11.4.0.106 ")
    done = python("-c", code, FAKE_TENSORRT="1.7.1.116")
    assert "ModuleNotFoundError: No module named 'tensorrt'" in done.stderr
    done = python("-c", code)
    assert "ImportError: FAKE_TENSORRT is not set" in done.stderr


def test_the_device_of_a_child_process_can_be_chosen() -> None:
    code = "import tensorrt as trt; print(trt.gpu.name, trt.device); trt.Builder(trt.Logger())"
    done = python("-c", code, FAKE_TENSORRT="10.3.0", FAKE_TENSORRT_GPU="8.7 Orin")
    assert done.stdout == "Orin 8.7\n"
    code = code.partition("; print")[0] + "; trt.Builder(trt.Logger())"
    done = python("-c", code, FAKE_TENSORRT="10.3.0", FAKE_TENSORRT_GPU="none")
    assert "factory function returned nullptr" in done.stderr
    assert "CUDA initialization failure with error: 35" in done.stderr
