"""A joint model as a bundle: features between its parts, parity, the map without Sentinel-2."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporter.accuracy import EvalData
from exporter.describe import licences
from exporter.export import Exported, export
from exporter.gate import judge_gate
from exporter.gate_gain import NOT_DEFINED
from exporter.gate_measure import measure_gate
from exporter.options import ExportOptions
from exporter.parity import WHOLE
from exporter.stress import stress_feeds
from runtime.backends import choose_backend
from runtime.errors import ConfigError
from runtime.model import golden_feed, open_model, without_satellite
from runtime.satellite_lattice import check_step
from runtime.satellite_policy import check_policy
from trainkit.aerial_config import IMAGENET_HUB
from trainkit.checkpoint import Checkpoint, Origin, read_info, save_checkpoint
from trainkit.config import InputConfig, TrainConfig
from trainkit.joint_config import DifdConfig
from trainkit.models import JointModel, LandCoverModel, build
from trainkit.recipe import AugmentConfig, TrainingConfig

CELLS = 16
SIDE = CELLS * 16
OPTIONS = ExportOptions(segx_version="0.1.0", parity_samples=2)


def with_statistics(model: LandCoverModel) -> LandCoverModel:
    """Give norms statistics and layers a spread as training would, so that all inputs matter."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.7, 1.4, generator=generator)  # type: ignore[union-attr]
    return model.eval()


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, patches: Any) -> Checkpoint:
    """A checkpoint of a joint model that was taught to do without Sentinel-2."""
    inputs = InputConfig(
        tile_size=SIDE,
        satellite_bands=("B03", "B04", "B08"),
        satellite_window=CELLS,
        satellite_resolution_m=SIDE * 0.2 / CELLS,
    )
    config = TrainConfig(
        name="joint",
        input=inputs,
        joint=DifdConfig(
            encoder="resnet18",
            encoder_widths=(8, 12, 16, 24),
            encoder_depths=(1, 1, 1, 1),
            context="aspp",
            width=16,
            low_width=8,
            head_width=8,
            satellite_channels=("NDVI", "NDWI", "B08E"),
            satellite_widths=(8, 12),
        ),
        training=TrainingConfig(augment=AugmentConfig(modality_dropout=0.2)),
    )
    torch.manual_seed(3)
    model = with_statistics(build(config))
    origin = Origin(
        segx_version="0.1.0",
        classes=patches.classes,
        steps={"joint": 10},
        toy=False,
        provenance={"percentiles": {"B08": [0.1, 0.4]}},
        metrics={},
    )
    folder = save_checkpoint(tmp_path_factory.mktemp("runs") / "joint", model, origin)
    return Checkpoint(path=folder, model=model, config=config, info=read_info(folder))


@pytest.fixture(scope="module")
def made(joint: Checkpoint, patches: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its bundle; read it, do not change it."""
    data = EvalData(dataset=patches, split="val", limit=2)
    return export(joint, tmp_path_factory.mktemp("bundles") / "joint.segx", OPTIONS, data=data)


def test_its_parts_hand_over_features(made: Exported) -> None:
    parts = {part.name: part for part in made.bundle.manifest.parts}
    assert list(parts) == ["aerial", "satellite", "fusion", "fusion_probabilities"]
    shapes = {s.name: s.shape for p in parts.values() if p.role != "fusion" for s in p.outputs}
    assert shapes == {
        "aerial_high": ("N", 16, SIDE // 16, SIDE // 16),
        "aerial_low": ("N", 8, SIDE // 4, SIDE // 4),
        "satellite_low": ("N", 8, SIDE // 4, SIDE // 4),
    }
    assert [spec.name for spec in parts["satellite"].inputs] == ["satellite", "date_mask"]
    assert made.bundle.manifest.provenance["percentiles"] == {"B08": [0.1, 0.4]}


def test_its_stages_agree_and_features_have_no_class(made: Exported) -> None:
    for stage in made.ledger.stages:
        shares = {row.part: row.agreement.argmax for row in stage.rows}
        assert shares.pop("aerial") is None
        assert shares.pop("satellite") is None
        assert set(shares) == {"fusion", "fusion_probabilities", WHOLE}
        assert all(share is not None and share > 0.999 for share in shares.values())


def test_enhanced_bands_are_stretched_in_the_graph(made: Exported) -> None:
    (part,) = [p for p in made.bundle.manifest.parts if p.role == "satellite"]
    kinds = {node.op_type for node in onnx.load(made.bundle.file(part)).graph.node}
    assert {"Clip", "Div", "ConvTranspose"} <= kinds


def test_without_satellite_the_bundle_gives_what_zeros_give(
    made: Exported, joint: Checkpoint
) -> None:
    manifest = made.bundle.manifest
    assert manifest.works_without_satellite
    check_policy("aerial-only", made.bundle.card)
    model = open_model(made.bundle, choose_backend("onnxruntime"), threads=1)
    feed, _ = golden_feed(made.bundle)
    alone = without_satellite(model.parts, {"aerial": feed["aerial"]}, 1)
    found = {name: array.copy() for name, array in model.run(alone).items()}
    network = joint.model
    assert isinstance(network, JointModel)
    with torch.no_grad():
        aerial, satellite = network.features({n: torch.tensor(value) for n, value in feed.items()})
        zeros = torch.zeros_like(satellite[0])
        expected = network.decoder(*aerial, zeros).argmax(dim=1).numpy()
    assert (found["classes"] == expected).mean() > 0.999
    assert not np.array_equal(model.run(feed)["confidence"], found["confidence"])


@pytest.mark.parametrize("alone", [True, False])
def test_a_gate_compares_with_the_aerial_map_only_where_there_is_one(
    made: Exported, patches: Any, alone: bool
) -> None:
    reference = open_model(made.bundle, choose_backend("onnxruntime"), threads=1)
    card = replace(made.bundle.card, single_branch=alone)
    measured = measure_gate(reference, {"again": reference}, card, patches, patches.ids("val")[:2])
    report = judge_gate(measured, "fp16")
    (candidate,) = report.candidates
    assert measured.as_one == (not alone)
    assert set(report.single_mious) == ({"aerial"} if alone else set())
    assert (candidate.gain is None) == (not alone)
    assert (NOT_DEFINED in report.text) == (not alone)


def test_the_terms_of_a_pretrained_encoder_are_told(joint: Checkpoint) -> None:
    difd = joint.config.joint
    assert isinstance(difd, DifdConfig)
    config = replace(joint.config, joint=replace(difd, pretrained=IMAGENET_HUB))
    found = licences(replace(joint, config=config), "Apache-2.0")
    assert found["pretrained encoder"] == "as published for resnet18 (imagenet)"
    assert "pretrained encoder" not in licences(joint, "Apache-2.0")


def test_a_satellite_part_without_days_is_put_under_stress(made: Exported) -> None:
    bundle = made.bundle
    (part,) = [p for p in bundle.manifest.parts if p.role == "satellite"]
    feed, _ = golden_feed(bundle)
    stressed = stress_feeds(part, bundle.card, feed)
    assert set(stressed) == {"cloud", "zeros", "one date", "no date"}
    assert all(set(item) == {"satellite", "date_mask"} for item in stressed.values())


def test_a_window_that_holds_its_tile_alone_lies_on_no_lattice(made: Exported) -> None:
    check_step(None, made.bundle.card)
    for step in (0, 4):
        with pytest.raises(ConfigError, match="holds what one tile reads and no more"):
            check_step(step, made.bundle.card)
