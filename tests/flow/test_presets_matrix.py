"""Every full-size preset, with random weights, in every precision: parity, and a scene mapped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.merge import merge
from runtime.backends import CpuBackend
from runtime.bundle import Bundle
from runtime.ladder import RunRequest, open_best
from runtime.manifest import Precision
from runtime.pipeline import infer
from runtime.scene import find_scenes
from runtime.stream.options import InferOptions
from runtime.tally import Tally
from segx.sample import write_scene
from trainkit.config import presets

PresetBundles = Callable[[str], dict[Precision, Bundle]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a scene."""
    folder = tmp_path_factory.mktemp("matrix")
    write_scene(folder / "scene", seed=4, shape=(600, 500))
    return folder


@pytest.mark.matrix
@pytest.mark.parametrize("preset", presets())
def test_a_preset_becomes_bundles_that_map_a_scene(
    preset: str, work: Path, preset_bundles: PresetBundles
) -> None:
    bundles = preset_bundles(preset)
    assert not bundles["fp32"].manifest.verified  # random weights, no data
    for precision, bundle in bundles.items():
        assert precision == "fp32" or bundle.size_mib < bundles["fp32"].size_mib
        map_scene(bundle, work)


@pytest.mark.matrix
@pytest.mark.parametrize("preset", presets())
def test_the_parts_of_a_preset_are_merged(
    preset: str, work: Path, preset_bundles: PresetBundles
) -> None:
    for bundle in preset_bundles(preset).values():
        out = work / f"{bundle.manifest.name}-merged.segx"
        map_scene(merge(bundle, out, segx_version="0.1.0").bundle, work)


def map_scene(bundle: Bundle, work: Path) -> None:
    backends: tuple[CpuBackend, ...] = ("openvino", "onnxruntime")
    for name in backends:
        opened = open_best(bundle, RunRequest(backend=name))  # with its self-test
        report = infer(
            find_scenes(work / "scene", None, needs_satellite=bundle.card.satellite is not None),
            bundle.card,
            opened.model,
            work / f"{bundle.manifest.name}-{name}",
            tally=Tally(opened.choice),
            options=InferOptions(),
        )
        opened.model.close()
        assert report.tiles == 4
