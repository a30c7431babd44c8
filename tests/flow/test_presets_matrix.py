"""Every full-size preset, with random weights, exports with parity and maps a scene."""

from pathlib import Path

import pytest

from exporter.export import export
from exporter.options import ExportOptions
from runtime.backends import BackendOption, choose_backend
from runtime.flair import CLASSES
from runtime.maps import MapOptions
from runtime.model import open_model
from runtime.pipeline import infer
from runtime.scene import find_scenes
from runtime.tally import Tally
from segx.sample import write_scene
from trainkit.checkpoint import Origin, build_empty, load_checkpoint, save_checkpoint
from trainkit.config import load, presets


@pytest.mark.matrix
@pytest.mark.parametrize("preset", presets())
def test_a_preset_becomes_a_bundle_that_maps_a_scene(preset: str, tmp_path: Path) -> None:
    model = build_empty(load(preset)).eval()
    steps = dict.fromkeys(model.branch_names, 0)
    origin = Origin(
        segx_version="0.1.0", classes=CLASSES, steps=steps, toy=True, provenance={}, metrics={}
    )
    checkpoint = load_checkpoint(save_checkpoint(tmp_path / "run", model, origin))
    options = ExportOptions(segx_version="0.1.0", parity_samples=1)
    exported = export(checkpoint, tmp_path / f"{preset}.segx", options)
    assert not exported.bundle.manifest.verified  # random weights, no data
    scene = write_scene(tmp_path / "scene", seed=4, shape=(600, 500))
    backends: tuple[BackendOption, ...] = ("openvino", "onnxruntime")
    for name in backends:
        choice = choose_backend(name)
        report = infer(
            find_scenes(scene, None, needs_satellite=exported.bundle.card.satellite is not None),
            exported.bundle.card,
            open_model(exported.bundle, choice),
            tmp_path / name,
            tally=Tally(choice),
            options=MapOptions(),
        )
        assert report.tiles == 4
