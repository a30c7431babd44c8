"""Every preset, with random weights, in every precision: parity, and a scene mapped."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from affine import Affine

from exporter.merge import merge
from runtime.backends import CpuBackend
from runtime.bundle import Bundle
from runtime.ladder import RunRequest, open_best
from runtime.manifest import Precision
from runtime.pipeline import infer
from runtime.sample import AERIAL_BANDS
from runtime.scene import SCENE_AERIAL, find_scenes
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
        map_scene(bundle, scene_for(bundle, work), work)


@pytest.mark.matrix
@pytest.mark.parametrize("preset", presets())
def test_the_parts_of_a_preset_are_merged(
    preset: str, work: Path, preset_bundles: PresetBundles
) -> None:
    for bundle in preset_bundles(preset).values():
        out = work / f"{bundle.manifest.name}-merged.segx"
        merged = merge(bundle, out, segx_version="0.1.0").bundle
        map_scene(merged, scene_for(merged, work), work)


def scene_for(bundle: Bundle, work: Path) -> Path:
    """Give the scene, as if it had been photographed at the resolution of the bundle."""
    resolution = bundle.card.aerial.resolution_m
    out = work / f"scene-{resolution}"
    if not out.is_dir():
        shutil.copytree(work / "scene", out)
        with rasterio.open(out / SCENE_AERIAL, "r+") as aerial:
            left, top = aerial.bounds.left, aerial.bounds.top
            aerial.transform = Affine(resolution, 0.0, left, 0.0, -resolution, top)
    return out


def map_scene(bundle: Bundle, scene: Path, work: Path) -> None:
    numbers = (AERIAL_BANDS.index(band) + 1 for band in bundle.card.aerial.bands)
    bands = ",".join(map(str, numbers))
    backends: tuple[CpuBackend, ...] = ("openvino", "onnxruntime")
    for name in backends:
        opened = open_best(bundle, RunRequest(backend=name))  # with its self-test
        report = infer(
            find_scenes(scene, None, needs_satellite=bundle.card.satellite is not None),
            bundle.card,
            opened.model,
            work / f"{bundle.manifest.name}-{name}",
            tally=Tally(opened.choice),
            options=InferOptions(bands=bands),
        )
        opened.model.close()
        assert report.pixels == 600 * 500
