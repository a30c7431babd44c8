"""The script for a machine with a GPU, on a machine without: real where it can be, else faked."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from gpu_case import TENSORRT_RTX, GpuCase
from numpy.typing import NDArray
from onnx import numpy_helper

import exporter.engines
import tools.gpu_acceptance.building
import tools.gpu_acceptance.child
import tools.gpu_acceptance.parity
from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.engines import source
from runtime.ladder import Opened
from runtime.model import TileModel, open_model
from runtime.selftest import SKIPPED
from tools.gpu_acceptance import building, parity, probes, report, starting
from tools.gpu_acceptance.__main__ import steps
from tools.gpu_acceptance.job import Job, NoGpu, Outcome, Step
from tools.gpu_acceptance.runner import ROOT, run_step

Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture
def job(tiny_bundle: Path, tmp_path: Path) -> Job:
    return Job(bundles=(tiny_bundle,), out=tmp_path / "out", dry_run=True)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GpuCase:
    """A machine with a GPU and TensorRT-RTX; both are fakes."""
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: True)
    case = GpuCase.install(monkeypatch, tmp_path / "cache", version=TENSORRT_RTX)
    built_here = functools.partial(source.EngineSource, build=case.source().build)
    for module in (source, exporter.engines, tools.gpu_acceptance.building):
        monkeypatch.setattr(module, "EngineSource", built_here)
    return case


def test_a_dry_run_does_what_a_cpu_can_do_and_writes_down_the_rest(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "tools.gpu_acceptance", str(tiny_bundle), "--dry-run"]
    words += ["--out", str(tmp_path)]
    for only in (
        *("built for", "parity of tiny, openvino", "latency, batch 1"),
        *("start of tiny, openvino", "conformance"),
    ):
        words += ["--only", only]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((tmp_path / report.JSON_NAME).read_text())
    outcomes = {item["step"]: item for item in found["outcomes"]}
    assert outcomes["built for this GPU"]["status"] == "no GPU"
    assert outcomes["built for this GPU"]["words"] == "a dry run looks for none"
    assert outcomes["conformance of the session"]["status"] == "no GPU"
    assert outcomes["parity of tiny, openvino"]["result"]["passed"]
    assert outcomes["start of tiny, openvino"]["result"]["first_tile_s"] > 0
    table = outcomes["latency, batch 1"]["result"]
    assert {"openvino, tiny", "onnxruntime, tiny"} == set(table["rows"])
    assert table["not timed"]["tensorrt-rtx, tiny"] == "no GPU: a dry run looks for none"
    assert table["not timed"]["torch eager fp32"].startswith("KeyError: 'config'")
    text = (tmp_path / report.TABLE_NAME).read_text()
    assert "| built for this GPU | no GPU |" in text
    assert "## parity of tiny, openvino: passed" in text
    assert "- not timed: torch eager fp32: KeyError" in text


def test_every_module_can_be_imported_without_torch() -> None:
    names = [path.stem for path in (ROOT / "tools" / "gpu_acceptance").glob("*.py")]
    code = "import sys, importlib\n" + "\n".join(
        f"importlib.import_module('tools.gpu_acceptance.{name}')" for name in names
    )
    code += "\nassert not {'torch', 'tensorrt_rtx', 'polygraphy', 'cuda'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_engines_are_built_and_compared_before_anything_is_timed(job: Job) -> None:
    kinds = [step.kind for step in steps(job)]
    assert set(kinds) == set(tools.gpu_acceptance.child.KINDS)
    order = [kinds.index(kind) for kind in ("native", "parity", "latency", "start")]
    assert order == sorted(order)
    assert kinds.count("ahead") == 4
    assert kinds.count("transposed") == 3


STEP = Step(name="a step", kind="machine")


def test_a_step_that_crashes_is_written_down_with_its_last_words(job: Job) -> None:
    command = ("sh", "-c", "echo the words; kill -ABRT $$")
    outcome = run_step(STEP, job, command=command)
    assert (outcome.status, outcome.words) == ("failed", "ended with signal 6; the words")


def test_a_step_that_hangs_is_ended_with_all_that_it_started(job: Job, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    text = f"(while :; do touch {alive}; sleep 0.05; done) & echo waiting; sleep 60"
    step = Step(name="hangs", kind="machine", limit_s=1.0)
    outcome = run_step(step, job, command=("sh", "-c", text))
    assert (outcome.status, outcome.words) == ("out of time", "more than 1 s; waiting")
    assert alive.is_file()
    os.utime(alive, (0, 0))
    time.sleep(0.3)
    assert alive.stat().st_mtime == 0


def test_a_step_that_raises_is_written_down_with_the_error(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, result = tmp_path / "task.json", tmp_path / "result.json"
    values = {
        "bundles": [],
        "out": str(job.out),
        "rounds": 1,
        "capabilities": [],
        "dry_run": False,
    }
    given = {"step": {"kind": "machine", "options": {}}, "job": values}
    task.write_text(json.dumps(given))

    def run(error: Exception) -> dict[str, Any]:
        def fail(job: Job) -> None:
            raise error

        monkeypatch.setattr("tools.gpu_acceptance.machine.look", fail)
        tools.gpu_acceptance.child.main(str(task), str(result))
        found: dict[str, Any] = json.loads(result.read_text())
        return found

    found = run(ValueError("exactly this"))
    assert (found["status"], found["words"]) == ("failed", "ValueError: exactly this")
    found = run(NoGpu("none here"))
    assert (found["status"], found["words"]) == ("no GPU", "none here")


class Perturbed(TileModel):
    """A model whose satellite part is wrong."""

    def trace(self, feed: Arrays) -> dict[str, NDArray[Any]]:
        """Run the parts, with an error in one."""
        known = dict(feed)
        for part, session in zip(self.parts, self.sessions, strict=True):
            known.update(session.run({spec.name: known[spec.name] for spec in part.inputs}))
            if part.role == "satellite":
                known["satellite_logits"] = 2 * known["satellite_logits"]
        return {name: array for name, array in known.items() if name not in feed}


def test_a_wrong_engine_is_blamed_and_no_other(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = BackendChoice(name="onnxruntime", reason="a test")
    right = open_model(open_bundle(job.bundles[0]), choice)
    wrong = Perturbed(parts=right.parts, sessions=right.sessions)
    opened = Opened(wrong, choice, SKIPPED, 0.0)
    monkeypatch.setattr(tools.gpu_acceptance.parity, "open_with", lambda *a, **k: opened)
    found = parity.compare(job, "0", "onnxruntime")
    assert not found["passed"]
    inputs = {row["input"] for row in found["rows"]}
    assert {"golden tile", "black", "white", "checkered", "cloud", "one date", "no date"} <= inputs
    golden = {row["part"]: row["misses"] for row in found["rows"] if row["input"] == "golden tile"}
    assert golden["satellite"]
    assert not golden["aerial"]
    assert not golden["fusion"]


@pytest.mark.parametrize("scales", probes.AXES)
def test_the_transposed_probe_is_what_its_scales_say(scales: str) -> None:
    model = probes._transposed(probes.AXES[scales])
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    axis = probes.AXES[scales]
    step = (
        arrays["ws"]
        if axis is None
        else np.expand_dims(arrays["ws"], [i for i in range(4) if i != axis])
    )
    assert arrays["ws"].shape == {None: (), 0: (8,), 1: (6,)}[axis]
    weights = arrays["w"] * step
    feed = np.random.default_rng(0).standard_normal((1, 8, 16, 16)).astype(np.float32)
    rounded = np.clip(np.rint(feed / np.float32(0.03)), -128, 127) * np.float32(0.03)
    expected = np.einsum("nchw,cfij->nfhiwj", rounded, weights).reshape(1, 6, 32, 32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"satellite": feed})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_the_probes_run_on_the_gpu_and_say_how_far_off_they_are(job: Job, machine: GpuCase) -> None:
    on_gpu = Job(bundles=job.bundles, out=job.out)
    found = probes.transposed(on_gpu, "output channel")
    assert found["runs"] == "yes"
    assert found["worst"]["random"] < 1e-5
    found = probes.attention(on_gpu, "fp16")
    assert found["worst"] == dict.fromkeys(
        ("all dates", "half the dates", "one date", "no date"), 0.0
    )
    machine.trt.poison("classes", kind="nan")
    assert probes.attention(on_gpu, "fp16")["worst"]["one date"] == "not finite"


def test_engines_for_this_gpu_and_for_others_are_built_and_opened(
    job: Job, machine: GpuCase
) -> None:
    on_gpu = Job(bundles=job.bundles, out=job.out)
    for found in (building.native(on_gpu), building.ahead_of_time(on_gpu, "8.9")):
        opens = {name: item["opens"] for name, item in found["tiny"].items()}
        assert opens == dict.fromkeys(
            ("aerial", "satellite", "fusion", "fusion_probabilities"), "yes"
        )
    machine.trt.fail("deserialize_cuda_engine", message="an NVIDIA sentence")
    found = building.ahead_of_time(on_gpu, "8.9")
    assert "an NVIDIA sentence" in found["tiny"]["aerial"]["opens"]
    assert machine.left() == {}


def test_start_and_copies_are_measured_on_the_gpu(job: Job, machine: GpuCase) -> None:
    on_gpu = Job(bundles=job.bundles, out=job.out)
    cold = starting.start(on_gpu, "0", "tensorrt-rtx")
    warm = starting.start(on_gpu, "0", "tensorrt-rtx")
    assert (cold["engines_built"], warm["engines_built"]) == (3, 0)
    found = starting.copies(on_gpu, "0", "tensorrt-rtx")
    assert set(found["stages_ms"]) == {"upload", "aerial", "satellite", "fusion", "download"}
    assert 0 < found["copies_share"] < 1
    assert machine.left() == {}


def test_without_a_driver_nothing_of_a_gpu_is_tried(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: False)
    on_gpu = Job(bundles=job.bundles, out=job.out)
    for work in (building.native, lambda j: starting.copies(j, "0", "tensorrt-rtx")):
        with pytest.raises(NoGpu, match="no NVIDIA driver"):
            work(on_gpu)


def test_what_is_found_is_written_after_every_step(job: Job) -> None:
    lost = Outcome(step="x", status="failed", seconds=1.0, words="a | b")
    report.write(job, [lost])
    assert "| x | failed | 1.0 | a / b |" in (job.out / report.TABLE_NAME).read_text()
