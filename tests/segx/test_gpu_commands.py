"""The commands on a machine with a GPU, whose driver and TensorRT are fakes."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from gpu_case import GpuCase
from numpy.typing import NDArray

from runtime.engines import source

Run = Callable[..., Any]
STAGES = {"upload", "aerial", "satellite", "fusion", "download"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GpuCase:
    """A machine with TensorRT 10.3, whose engines are built at once."""
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: True)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    case = GpuCase.install(monkeypatch, tmp_path / "cache")
    building = functools.partial(source.EngineSource, build=case.source().build)
    monkeypatch.setattr(source, "EngineSource", building)
    return case


def test_infer_takes_the_gpu_and_reports_what_it_did(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path, machine: GpuCase
) -> None:
    result = segx("infer", tiny_scene, "--bundle", tiny_bundle)
    assert result.code == 0, result.err
    device = f"{machine.gpu.name} ({machine.trt.device})"
    assert f"backend: tensorrt on {device}, fp32 (the best that can be used)" in result.out
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert (report["backend"], report["device"]) == ("tensorrt", device)
    assert set(report["device_ms"]) == STAGES
    assert all(took > 0 for took in report["device_ms"].values())
    assert report["passed_over"] == {}
    assert machine.left() == {}
    on_cpu = ("--backend", "openvino", "--out", "cpu")
    assert segx("infer", tiny_scene, "--bundle", tiny_bundle, *on_cpu).code == 0
    found, expected = (read(tmp_path / name / "aerial_landcover.tif") for name in ("maps", "cpu"))
    np.testing.assert_array_equal(found, expected)


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        pixels: NDArray[np.uint8] = dataset.read()
    return pixels


def test_a_poisoned_engine_is_passed_over_and_said_so(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path, machine: GpuCase
) -> None:
    machine.trt.poison("classes", kind="one_class")
    result = segx("infer", tiny_scene, "--bundle", tiny_bundle)
    assert result.code == 0, result.err
    assert "passed over: tensorrt: self-test: tiny with tensorrt gives one class" in result.out
    assert any("--skip-self-test" in line for line in result.complaints)
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["backend"] == "openvino"
    assert report["passed_over"]["tensorrt"].startswith("self-test: ")
    named = segx("infer", tiny_scene, "--bundle", tiny_bundle, "--backend", "tensorrt")
    assert (named.code, len(named.complaints)) == (1, 1)
    assert "gives one class" in named.err


def test_engines_are_built_once_and_never_when_that_is_asked_for(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, machine: GpuCase
) -> None:
    arguments = ("infer", tiny_scene, "--bundle", tiny_bundle, "--backend", "tensorrt")
    never = segx(*arguments, "--rebuild", "never")
    assert (never.code, len(never.complaints)) == (1, 1)
    assert "--rebuild auto" in never.err
    assert segx(*arguments, "--cuda", "cuda-python").code == 0
    assert segx(*arguments, "--rebuild", "never").code == 0
    assert [part for part, _ in machine.built] == ["aerial", "satellite", "fusion"]


def test_engines_of_elsewhere_must_be_trusted(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "foreign").mkdir()
    arguments = ("infer", tiny_scene, "--bundle", tiny_bundle, "--backend", "tensorrt")
    refused = segx(*arguments, "--engines", "foreign")
    assert (refused.code, len(refused.complaints)) == (1, 1)
    assert "--trust-engines" in refused.err
    assert segx(*arguments, "--engines", "foreign", "--trust-engines").code == 0


def test_bench_shows_copies_and_parts(segx: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    short = ("--warmup", 1, "--repeats", 2, "--batch", 2, "--json", "b.json")
    result = segx("bench", tiny_bundle, *short)
    assert result.code == 0, result.err
    assert "on the GPU, mean ms" in result.out
    (found,) = json.loads((tmp_path / "b.json").read_text())["results"]
    assert set(found["device_ms"]) == STAGES
    assert found["part_ms"] == pytest.approx(
        {name: found["device_ms"][name] for name in ("aerial", "satellite", "fusion")}
    )
    assert found["golden_agreement"] == 1.0


def test_eval_runs_on_the_gpu(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path, machine: GpuCase
) -> None:
    result = segx("eval", tiny_bundle, tiny_scene, "--backend", "tensorrt", "--json", "e.json")
    assert result.code == 0, result.err
    ran = json.loads((tmp_path / "e.json").read_text())["execution"]
    assert ran["backend"] == "tensorrt"
    assert machine.left() == {}
