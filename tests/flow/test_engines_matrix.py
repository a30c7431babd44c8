"""NVIDIA's own builder, TensorRT-RTX, takes the graphs; it needs no GPU to build.

The parts of the toy by themselves: tests/runtime/engines/test_real_rtx.py. A merged graph of a few
kilobytes: tests/exporter/test_merge.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.engines import EngineRequest, build_engines, plan_engines
from exporter.merge import merge
from runtime.bundle import Bundle, open_bundle
from runtime.engines.provide import Prepared
from runtime.manifest import Precision
from segx.bundles import TOY
from trainkit.config import presets

PresetBundles = Callable[[str], dict[Precision, Bundle]]

pytest.importorskip("tensorrt_rtx")
pytestmark = pytest.mark.matrix


def build(bundle: Bundle, folder: Path, *capabilities: str) -> tuple[Prepared, ...]:
    request = EngineRequest(
        builder="tensorrt-rtx", compute_capabilities=capabilities, folder=folder
    )
    return build_engines(bundle, plan_engines(request), segx_version="0.1.0")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))


def test_a_merged_graph_of_the_tiny_preset_at_the_size_of_the_toy_builds(tmp_path: Path) -> None:
    toy = merge(open_bundle(TOY), tmp_path / "toy.segx", segx_version="0.1.0").bundle
    made = build(toy, tmp_path / "engines", "8.6")
    assert [item.record.part for item in made] == ["merged", "merged_probabilities"]
    for item in made:
        assert item.path.stat().st_size == item.record.size_bytes > 1_000_000
        assert item.record.summary is None  # only a GPU can tell its layers


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("preset", presets())
def test_every_preset_builds_in_every_precision_for_two_generations(
    preset: str, precision: Precision, preset_bundles: PresetBundles, tmp_path: Path
) -> None:
    bundle = preset_bundles(preset)[precision]
    made = build(bundle, tmp_path / "engines", "8.6", "12.0")
    assert len(made) == 2 * len(bundle.manifest.parts)
    by_part = {item.record.part: item.record.precision for item in made}
    assert by_part == {part.name: part.precision for part in bundle.manifest.parts}
