"""The packaged model in FP16 and INT8, by its commands, on imagery that is generated."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import exporter.workshop
from exporter.calibrate import CalibrationData
from exporter.convert import convert
from exporter.options import ConvertOptions
from exporter.quantize import WorkerReport, to_int8
from exporter.trial import GateData
from runtime.bundle import open_bundle
from runtime.dataset import open_dataset
from segx.bundles import TOY
from segx.sample import write_flair2, write_scene

pytestmark = pytest.mark.matrix


def segx(folder: Path, *arguments: object, code: int = 0) -> str:
    """Run the command in a process of its own, as a user does; gives what it says."""
    words = [sys.executable, "-m", "segx", *map(str, arguments)]
    run = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with patches of four areas, of which one is val, and a scene."""
    folder = tmp_path_factory.mktemp("precisions")
    write_flair2(folder / "flair2", seed=1, areas=4, patches_per_side=2)
    write_scene(folder / "scene", seed=2, shape=(600, 700))
    return folder


AHEAD = ("--engine", "tensorrt-rtx", "--compute-capability", "8.6", "--engines", "engines")


def test_fp16_keeps_accuracy_and_gain_builds_and_maps_a_scene(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGX_CACHE", str(work / "cache"))
    has_builder = find_spec("tensorrt_rtx") is not None
    segx(
        work,
        *("export", TOY, "--precision", "fp16", "--calibration", "flair2", "--eval", "flair2"),
        *("--calibration-samples", 12, "--gate-split", "val", "--out", "fp16.segx"),
        *(AHEAD if has_builder else ()),
    )
    assert len(list((work / "engines").glob("*.engine"))) == 4 * has_builder
    manifest = open_bundle(work / "fp16.segx").manifest
    assert manifest.verified, manifest.verdict
    gate = json.loads((work / "fp16.segx" / "gate.json").read_text())
    assert all(item["agreement"] >= 99.5 for item in gate["candidates"])
    said = segx(work, "infer", "scene", "--bundle", "fp16.segx", "--out", "maps")
    assert "the bundle was calibrated on" in said
    report = json.loads((work / "maps" / "report.json").read_text())
    assert report["drift"]["tiles_outside"] <= report["tiles"]


@pytest.mark.usefixtures("warm_converter")
def test_noise_in_a_quantised_graph_misses_the_gate_which_blames_the_part(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(source: Path, target: Path, **options: object) -> WorkerReport:
        report = to_int8(source, target, **options)  # type: ignore[arg-type]
        add_noise(target, 0.25)
        return report

    monkeypatch.setattr(exporter.workshop, "to_int8", noisy)
    data = open_dataset(work / "flair2")
    made = convert(
        open_bundle(TOY),
        work / "noisy.segx",
        ConvertOptions(segx_version="0.1.0", precision="int8", calibration_method="max"),
        calibration=CalibrationData(dataset=data, samples=12),
        gate=GateData(dataset=data, split="val"),
    )
    assert made.verdict.missed
    assert not open_bundle(made.bundle.path).manifest.verified
    assert "most lost by" in made.verdict.text
    assert "with aerial in FP32 it keeps to its budgets" in made.verdict.text


def add_noise(path: Path, share: float) -> None:
    """Add noise to INT8 weights, as a share of their own size."""
    model = onnx.load(path)
    rng = np.random.default_rng(0)
    for item in model.graph.initializer:
        weights = numpy_helper.to_array(item)
        if weights.dtype == np.int8 and weights.ndim == 4:
            noise = share * weights.std() * rng.standard_normal(weights.shape)
            noisy = np.clip(np.rint(weights + noise), -127, 127).astype(np.int8)
            item.CopyFrom(numpy_helper.from_array(noisy, item.name))
    onnx.save(model, path)


def test_shuffled_pairs_are_refused(work: Path) -> None:
    path = next((work / "flair2").rglob("*centroids_sp_to_patch.json"))
    original = path.read_text()
    centroids = json.loads(original)
    # Every patch takes the place of the one after it, within its area, where all windows fit.
    areas = open_dataset(work / "flair2").groups()
    shuffled: dict[str, object] = {}
    for area in sorted(set(areas.values())):
        names = sorted(f"{name}.tif" for name, its in areas.items() if its == area)
        shuffled |= {name: centroids[names[(i + 1) % len(names)]] for i, name in enumerate(names)}
    path.write_text(json.dumps(shuffled))
    try:
        said = segx(
            work,
            *("export", TOY, "--precision", "fp16", "--calibration", "flair2"),
            *("--out", "shuffled.segx"),
            code=1,
        )
    finally:
        path.write_text(original)
    assert "look shuffled" in said
    assert not (work / "shuffled.segx").exists()
