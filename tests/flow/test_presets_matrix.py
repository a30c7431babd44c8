"""Every full-size preset, with random weights, in every precision: parity, and a scene mapped."""

from pathlib import Path

import pytest

from exporter.calibrate import CalibrationData
from exporter.convert import convert
from exporter.export import export
from exporter.options import ConvertOptions, ExportOptions
from runtime.backends import BackendOption, choose_backend
from runtime.bundle import Bundle
from runtime.dataset import open_dataset
from runtime.flair import CLASSES
from runtime.manifest import Precision
from runtime.maps import MapOptions
from runtime.model import open_model
from runtime.pipeline import infer
from runtime.scene import find_scenes
from runtime.tally import Tally
from segx.sample import write_flair2, write_scene
from trainkit.checkpoint import Origin, build_empty, load_checkpoint, save_checkpoint
from trainkit.config import load, presets


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with patches and a scene."""
    folder = tmp_path_factory.mktemp("matrix")
    write_flair2(folder / "flair2", seed=1, areas=2, patches_per_side=1)
    write_scene(folder / "scene", seed=4, shape=(600, 500))
    return folder


@pytest.mark.matrix
@pytest.mark.parametrize("preset", presets())
def test_a_preset_becomes_bundles_that_map_a_scene(preset: str, work: Path) -> None:
    model = build_empty(load(preset)).eval()
    steps = dict.fromkeys(model.branch_names, 0)
    origin = Origin(
        segx_version="0.1.0", classes=CLASSES, steps=steps, toy=True, provenance={}, metrics={}
    )
    checkpoint = load_checkpoint(save_checkpoint(work / preset, model, origin))
    options = ExportOptions(segx_version="0.1.0", parity_samples=1)
    full = export(checkpoint, work / f"{preset}-fp32.segx", options).bundle
    assert not full.manifest.verified  # random weights, no data
    map_scene(full, work)
    data = CalibrationData(dataset=open_dataset(work / "flair2"), samples=2)
    precisions: tuple[Precision, ...] = ("fp16", "int8")
    for precision in precisions:
        made = convert(
            full,
            work / f"{preset}-{precision}.segx",
            ConvertOptions(
                segx_version="0.1.0",
                precision=precision,
                calibration_method="max",
                parity_samples=1,
            ),
            calibration=data,
        )
        assert made.bundle.size_mib < full.size_mib
        map_scene(made.bundle, work)


def map_scene(bundle: Bundle, work: Path) -> None:
    backends: tuple[BackendOption, ...] = ("openvino", "onnxruntime")
    for name in backends:
        choice = choose_backend(name)
        report = infer(
            find_scenes(work / "scene", None, needs_satellite=bundle.card.satellite is not None),
            bundle.card,
            open_model(bundle, choice),
            work / f"{bundle.manifest.name}-{name}",
            tally=Tally(choice),
            options=MapOptions(),
        )
        assert report.tiles == 4
