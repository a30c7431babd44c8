"""What every model keeps to: sizes, gradients, independence of neighbours and padding, parts."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from trainkit.aerial_config import (
    AerialConfig,
    CseUNetConfig,
    DeepLabV3PlusConfig,
    MultiResUNetConfig,
    UNetConfig,
    UNetFormerConfig,
    UPerNetConfig,
)
from trainkit.checkpoint import build_empty
from trainkit.config import InputConfig, TrainConfig, load, presets
from trainkit.heads import heads_of
from trainkit.joint_config import (
    DifdConfig,
    FlairHubConfig,
    JointConfig,
    SatelliteBranchConfig,
    UTAndTConfig,
)
from trainkit.models import LandCoverModel, Part
from trainkit.recipe import OptimConfig, TrainingConfig

TILE, WINDOW, K = 256, 16, 5
WIDTHS = (4, 6, 8, 10, 12)
STAGES: dict[str, Any] = {"encoder_widths": (8, 12, 16, 24), "encoder_depths": (1, 1, 1, 1)}

RESNET = UNetFormerConfig(encoder="resnet18", decoder_width=16, **STAGES)
CONVNEXT = UNetFormerConfig(encoder="convnext_atto", decoder_width=16, auxiliary=False, **STAGES)
CSE_UNET = CseUNetConfig(widths=WIDTHS)
SATELLITE = SatelliteBranchConfig(
    encoder_widths=(8, 8, 16, 16), decoder_widths=(8, 8, 16, 16), n_head=4, d_model=16
)
TRAINING = TrainingConfig(aerial=OptimConfig(crop_px=TILE))
DEEPLAB: dict[str, Any] = {"encoder": "resnet18", "width": 16, "low_width": 8, **STAGES}
DIFD = DifdConfig(satellite_widths=(8, 12), **DEEPLAB)
PYRAMID: dict[str, Any] = {"width": 16, "head_width": 8, **STAGES}
CELL_M = TILE * InputConfig().resolution_m / WINDOW
"""Side of a satellite cell of which a tile holds a whole window."""


def model_config(
    *aerial: AerialConfig,
    satellite: SatelliteBranchConfig | None = None,
    joint: JointConfig | None = None,
    cell_m: float = 10.0,
) -> TrainConfig:
    return TrainConfig(
        name="test",
        num_classes=K,
        input=InputConfig(tile_size=TILE, satellite_window=WINDOW, satellite_resolution_m=cell_m),
        aerial=aerial,
        satellite=satellite,
        joint=joint,
        training=TRAINING,
    )


CONFIGS = {
    "unetformer": model_config(RESNET),
    "unet": model_config(UNetConfig(decoder_widths=WIDTHS, **STAGES)),
    "cse-unet": model_config(CSE_UNET),
    "cse-unet-deck": model_config(replace(CSE_UNET, variant="deck")),
    "multires-unet": model_config(MultiResUNetConfig(widths=WIDTHS)),
    "deeplabv3plus": model_config(DeepLabV3PlusConfig(**DEEPLAB)),
    "upernet": model_config(UPerNetConfig(encoder="convnextv2_atto", **PYRAMID)),
    "u-tae": model_config(satellite=replace(SATELLITE, temporal_norm="masked")),
    "u-t-and-t": model_config(
        joint=UTAndTConfig(encoder="resnet18", decoder_widths=WIDTHS, satellite=SATELLITE, **STAGES)
    ),
    "difd": model_config(joint=DIFD, cell_m=CELL_M),
    "difd without deconvolution": model_config(
        joint=replace(DIFD, context="aspp", upsampler="pixelshuffle"), cell_m=CELL_M
    ),
    "flair-hub": model_config(
        joint=FlairHubConfig(
            encoder="convnextv2_atto", satellite=replace(SATELLITE, stride=1), **PYRAMID
        ),
        cell_m=CELL_M,
    ),
    "late fusion": model_config(RESNET, satellite=SATELLITE),
    "late fusion of three": model_config(CONVNEXT, CSE_UNET, satellite=SATELLITE),
}


def preset_config(name: str) -> TrainConfig:
    """Give a preset, with smaller tiles where its other sizes do not go by them."""
    config = load(name)
    if config.joint is not None:
        return config
    inputs = replace(config.input, tile_size=TILE)
    return replace(config, input=inputs, training=TRAINING)


TINY = {name: preset_config(name) for name in presets() if name.endswith("-tiny")}

# Presets go through the cheapest of the tests by default, and through all of them in the matrix.
MATRIX = [pytest.param(name, marks=pytest.mark.matrix) for name in TINY]
DUAL = [name for name, config in CONFIGS.items() if config.takes_satellite]
every_model_and_preset = pytest.mark.parametrize("name", [*CONFIGS, *TINY])
every_model = pytest.mark.parametrize("name", [*CONFIGS, *MATRIX])
every_dual_model = pytest.mark.parametrize("name", DUAL)


def built(name: str) -> LandCoverModel:
    torch.manual_seed(2)
    return build_empty((CONFIGS | TINY)[name]).eval()


def feed_of(model: LandCoverModel, batch: int) -> dict[str, Tensor]:
    feed: dict[str, Tensor] = {}
    for part in model.parts():
        if part.role != "fusion":
            feed |= part.example(batch=batch)
    return feed


@every_model_and_preset
@torch.no_grad()
def test_logits_are_finite_and_cover_the_tile(name: str) -> None:
    model = built(name)
    logits = model(feed_of(model, 2))
    size = model.config.input.tile_size
    assert logits.shape == (2, model.config.num_classes, size, size)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@every_model
@torch.no_grad()
def test_a_batch_of_two_equals_two_batches_of_one(name: str) -> None:
    model = built(name)
    feed = feed_of(model, 2)
    both = model(feed)
    for i in range(2):
        alone = model({key: tensor[i : i + 1] for key, tensor in feed.items()})
        torch.testing.assert_close(alone, both[i : i + 1], atol=1e-5, rtol=1e-4)


@every_model
def test_training_reaches_every_parameter(name: str) -> None:
    model = built(name).train()
    feed = feed_of(model, 2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # Residual branches start at exactly zero, and a gate of one unit may start switched off.
        for parameter in model.parameters():
            alpha = 0.2 if parameter.ndim == 1 else 0.5 * float(parameter.std())
            parameter.add_(torch.rand(parameter.shape, generator=generator), alpha=alpha)
    sums: list[Tensor] = []
    for unit in model.units:
        heads = heads_of(model, unit, OptimConfig()).train_heads(model.unit(unit), feed)
        # A weighted sum: the plain sum of normalised maps has no gradient.
        logits = [head.logits for head in heads]
        sums += [(z * torch.randn(z.shape, generator=generator)).sum() for z in logits]
    torch.autograd.backward(sums)
    silent = [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert silent == []


@every_dual_model
@torch.no_grad()
def test_the_order_of_dates_changes_nothing(name: str) -> None:
    model = built(name)
    feed = feed_of(model, 2)
    months = torch.randperm(feed["date_mask"].shape[1])
    moved = {key: tensor[:, months] for key, tensor in feed.items() if key != "aerial"}
    torch.testing.assert_close(model(feed | moved), model(feed), atol=1e-5, rtol=1e-4)


@every_dual_model
@torch.no_grad()
def test_what_masked_dates_hold_changes_nothing(name: str) -> None:
    model = built(name)
    feed = feed_of(model, 2)
    is_real = feed["date_mask"][:, :, None, None, None] > 0
    noise = 1.0 + torch.rand_like(feed["satellite"])
    padding = torch.where(is_real, feed["satellite"], noise)
    expected = model(feed)
    torch.testing.assert_close(model(feed | {"satellite": padding}), expected)
    real = torch.where(is_real, noise, feed["satellite"])
    assert not torch.allclose(model(feed | {"satellite": real}), expected)


@every_model
def test_another_aerial_size_is_refused_with_the_next_valid_one(name: str) -> None:
    model = built(name)
    size = model.config.input.tile_size
    for part in model.parts():
        if part.role == "aerial":
            image = torch.zeros(1, len(model.config.input.aerial_bands), size, size - 1).byte()
            with pytest.raises(ValueError, match=f"{size} x {size - 1} px.* valid size is {size}"):
                part.module(image)


@every_dual_model
def test_another_satellite_window_is_refused_with_the_next_valid_one(name: str) -> None:
    config = CONFIGS[name]
    window = config.input.satellite_window
    inputs = replace(config.input, satellite_window=window - 1)
    with pytest.raises(ValueError, match=rf"satellite_window is {window - 1}.*\b{window}\b"):
        replace(config, input=inputs)


@every_model
@torch.no_grad()
def test_parts_in_order_give_what_the_whole_model_gives(name: str) -> None:
    model = built(name)
    feed = feed_of(model, 2)
    logits = model(feed)
    *branches, fusion, variant = model.parts()
    assert tuple(part.name for part in branches) == model.branch_names
    assert (fusion.name, variant.name) == ("fusion", "fusion_probabilities")
    assert fusion.inputs == tuple(spec for part in branches for spec in part.outputs)
    values = dict(feed)
    for part in model.parts():
        outputs = part.module(*(values[spec.name] for spec in part.inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for spec, tensor in zip(part.outputs, outputs, strict=True):
            assert (tensor.dtype, tuple(tensor.shape)) == (spec.dtype, (2, *spec.shape))
            values[spec.name] = tensor
    probability = torch.softmax(logits, dim=1)
    torch.testing.assert_close(values["probabilities"], probability)
    assert torch.equal(values["classes"], logits.argmax(dim=1).byte())
    # Computed in another order, a number half way between two steps may go to the other one.
    away = (values["confidence"].float() - 254 * probability.amax(dim=1)).abs()
    assert away.max() <= 0.5 + 1e-4


def test_branches_of_a_late_fusion_name_their_logits() -> None:
    parts = built("late fusion of three").parts()
    assert [part.name for part in parts[:3]] == ["aerial", "aerial_2", "satellite"]
    assert [spec.name for spec in parts[1].inputs] == ["aerial"]
    assert [spec.name for spec in parts[3].inputs] == [
        "aerial_logits",
        "aerial_2_logits",
        "satellite_logits",
    ]


def traced(part: Part, path: Path) -> onnx.ModelProto:
    arguments = tuple(part.example().values())
    batch = tuple({0: torch.export.Dim("batch")} for _ in arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            part.module,
            arguments,
            dynamo=True,
            opset_version=20,
            dynamic_shapes=(batch,) if part.role == "fusion" else batch,
            input_names=[spec.name for spec in part.inputs],
            output_names=[spec.name for spec in part.outputs],
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(path)
    return onnx.load(path)


@pytest.mark.matrix
@every_model
def test_every_part_exports_without_control_flow_and_equals_eager(
    name: str, tmp_path: Path
) -> None:
    # By default, the tests of the exporter are what shows this, on graphs that they trace anyway.
    for part in built(name).parts():
        path = tmp_path / f"{part.name}.onnx"
        graph = traced(part, path).graph
        assert not {node.op_type for node in graph.node} & {"NonZero", "If", "Loop"}
        if part.role == "aerial":
            assert graph.node[0].op_type == "Cast"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        feed = part.example(batch=3, seed=9)
        found = session.run(None, {key: tensor.numpy() for key, tensor in feed.items()})
        with torch.no_grad():
            expected = part.module(*feed.values())
        expected = expected if isinstance(expected, tuple) else (expected,)
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(left, right.numpy(), atol=1e-4, rtol=1e-4)


PARAMETERS = {
    "cse-unet": 34_570_886,  # as the source gives it
    "cse-unet-deck": 36_988_742,
    "deeplabv3plus": 39_182_501,
    "difd": 49_015_074,
    "difd-10b": 49_015_299,
    "difd-4b": 49_014_849,
    "difd-aspp": 50_883_618,
    "difd-bilinear": 39_577_698,
    "difd-nearest": 39_577_698,
    "difd-paper": 44_649_762,
    "difd-pixelshuffle": 60_811_554,
    "flair-hub-upernet-swin-base": 89_421_515,
    "flair-hub-upernet-swin-base-rgb": 89_421_515,
    "flair-hub-upernet-swin-base-s2": 92_852_683,
    "flair-inc-unet-resnet34": 24_445_251,
    "lf-dlm": 33_086_067,
    "lf-dlm-tiny": 12_301_259,
    "lf-dlm-x2": 63_909_401,
    "multires-unet": 7_245_034,
    "u-t-and-t": 27_227_852,
    "u-tae": 2_262_733,
    "unet-resnet34": 24_444_381,  # as the source gives it
    "unetformer": 30_823_334,  # as the source gives it
}
"""Presets that are promised, and their parameters, with those of auxiliary heads."""


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_a_promised_preset_has_its_parameters(name: str, count: int) -> None:
    with torch.device("meta"):
        model = build_empty(load(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_deck_s_preset_has_its_parameters_with_the_class_that_no_label_holds() -> None:
    with torch.device("meta"):
        model = build_empty(replace(load("cse-unet-deck"), num_classes=7))
    assert sum(parameter.numel() for parameter in model.parameters()) == 36_988_807
