"""Bundles of imported models: FLAIR-HUB's with Sentinel-2, and a user's own module."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exporter.accuracy import EvalData
from exporter.export import Exported, export
from exporter.graph import write_graphs
from exporter.options import ExportOptions
from exporter.parity import WHOLE
from exporter.runners import SessionRunner, files_in, torch_runner
from exporter.samples import random_feed
from trainkit.aerial_config import UPerNetConfig
from trainkit.checkpoint import Checkpoint, Origin, load_checkpoint, read_info, save_checkpoint
from trainkit.config import InputConfig, TrainConfig
from trainkit.importing import ImportOptions, import_weights
from trainkit.joint_config import FlairHubConfig, SatelliteBranchConfig
from trainkit.models import build
from trainkit.models.declared import call_factory
from trainkit.recipe import OptimConfig, TrainingConfig

SIDE, CELLS = 256, 10
OPTIONS = ExportOptions(segx_version="0.1.0", parity_samples=1)
DOCUMENT = Path(__file__).parents[2] / "docs" / "import.md"

HUB = FlairHubConfig(
    encoder="convnextv2_atto",
    encoder_widths=(8, 12, 16, 24),
    encoder_depths=(1, 1, 1, 1),
    width=16,
    head_width=8,
    satellite=SatelliteBranchConfig(
        encoder_widths=(8, 8, 16, 16), decoder_widths=(8, 8, 16, 16), n_head=4, d_model=16, stride=1
    ),
)


def agrees(made: Exported) -> bool:
    """Whether every stage gives the classes and the numbers of the one before."""
    return all(
        not row.misses and (row.part != WHOLE or row.agreement.argmax == 1.0)
        for stage in made.ledger.stages
        for row in stage.rows
    )


def shapes(made: Exported) -> dict[str, tuple[Any, ...]]:
    parts = made.bundle.manifest.parts
    return {spec.name: spec.shape for part in parts for spec in part.outputs}


def test_an_upernet_of_aerial_images_alone_becomes_the_graph_that_it_is(tmp_path: Path) -> None:
    branch = UPerNetConfig(
        encoder=HUB.encoder,
        encoder_widths=HUB.encoder_widths,
        encoder_depths=HUB.encoder_depths,
        width=HUB.width,
        head_width=HUB.head_width,
    )
    training = TrainingConfig(aerial=OptimConfig(crop_px=SIDE))
    config = TrainConfig(
        name="upernet", input=InputConfig(tile_size=SIDE), aerial=(branch,), training=training
    )
    torch.manual_seed(7)
    (aerial, *_) = build(config).eval().parts()
    (graph,) = write_graphs((aerial,), tmp_path, "upernet", OPTIONS)
    feed = random_feed((aerial,), batch=1, seed=1)
    runner = SessionRunner("onnxruntime", files_in(tmp_path, (graph.spec,)), (graph.spec,))
    found, expected = runner("aerial", feed), torch_runner((aerial,))("aerial", feed)
    runner.close()
    (logits,) = found
    assert found[logits].shape == (1, 13, SIDE, SIDE)
    np.testing.assert_allclose(found[logits], expected[logits], atol=1e-4, rtol=1e-4)


@pytest.mark.matrix
def test_flair_hub_with_sentinel_2_is_exported_as_it_is(patches: Any, tmp_path: Path) -> None:
    inputs = InputConfig(
        tile_size=SIDE, satellite_window=CELLS, satellite_resolution_m=SIDE * 0.2 / CELLS
    )
    torch.manual_seed(7)
    model = build(TrainConfig(name="hub", input=inputs, joint=HUB)).eval()
    origin = Origin(
        segx_version="0.1.0",
        classes=patches.classes,
        steps={},
        toy=False,
        provenance={},
        metrics={},
    )
    folder = save_checkpoint(tmp_path / "run", model, origin)
    opened = Checkpoint(path=folder, model=model, config=model.config, info=read_info(folder))
    data = EvalData(dataset=patches, split="val", limit=1)
    made = export(opened, tmp_path / "hub.segx", OPTIONS, data=data)
    assert agrees(made)
    assert made.verdict.verified
    assert shapes(made)["satellite_level_3"] == ("N", 16, CELLS, CELLS)
    assert shapes(made)["aerial_stride_32"] == ("N", 24, SIDE // 32, SIDE // 32)
    assert not made.bundle.manifest.works_without_satellite


def test_the_documented_module_is_exported_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    (code,) = (item for item in blocks if "DeclaredModel" in item)
    Path("mine.py").write_text(code)
    sys.modules.pop("mine", None)
    torch.manual_seed(8)
    torch.save(call_factory("mine:build").module.state_dict(), "best.pth")
    options = ImportOptions(segx_version="0.1.0")
    import_weights(Path("best.pth"), "mine:build", Path("run"), options)
    opened = load_checkpoint(Path("run"), factory="mine:build")
    made = export(opened, Path("mine.segx"), replace(OPTIONS, parity_samples=2))
    sys.modules.pop("mine", None)
    assert agrees(made)
    assert shapes(made)["satellite_features"] == ("N", 16, 8, 8)
    assert made.bundle.manifest.verdict == "no data to measure on"
    licences = made.bundle.manifest.licences
    assert licences["training data"] == "not known: the weights were imported"
    assert str(tmp_path) not in (made.bundle.path / "manifest.json").read_text()
