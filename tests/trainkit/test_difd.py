"""DIFD and DeepLabV3+: parameters, sizes, geometry of both inputs, channels and percentiles."""

import dataclasses
import datetime
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runtime.sample import Sample
from runtime.satellite import SatelliteInput
from trainkit.aerial_config import Upsampler
from trainkit.checkpoint import build_empty
from trainkit.config import InputConfig, TrainConfig, load
from trainkit.joint_config import DifdConfig, Geometry
from trainkit.models import build
from trainkit.models.context import Aspp, DensePredictionCell
from trainkit.models.deeplab import DeepLabMaps
from trainkit.models.difd import Difd, SatelliteStream
from trainkit.models.encoder import Encoder
from trainkit.models.satellite_channels import SatelliteChannels, composite
from trainkit.models.upsampling import upsampler
from trainkit.recipe import AugmentConfig, OptimConfig, TrainingConfig

BANDS = ("B02", "B03", "B04", "B08")
KINDS: tuple[Upsampler, ...] = ("deconv", "bilinear", "nearest", "pixelshuffle")
INPUTS = InputConfig(
    aerial_bands=("red", "green", "blue"),
    aerial_mean=(127.5,) * 3,
    aerial_std=(127.5,) * 3,
    tile_size=256,
    resolution_m=0.25,
    satellite_bands=BANDS,
    satellite_window=16,
    satellite_resolution_m=4.0,
)
DIFD = DifdConfig(
    encoder="resnet18",
    encoder_widths=(8, 12, 16, 24),
    encoder_depths=(1, 1, 1, 1),
    width=16,
    low_width=8,
    head_width=8,
    satellite_widths=(8, 12),
)


def small(difd: DifdConfig = DIFD, **training: Any) -> Difd:
    torch.manual_seed(0)
    config = TrainConfig(
        name="small",
        num_classes=5,
        input=INPUTS,
        joint=difd,
        training=TrainingConfig(augment=AugmentConfig(**training)),
    )
    model = build(config)
    assert isinstance(model, Difd)
    return model.eval()


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def feed_of(model: Difd, batch: int = 2) -> dict[str, Tensor]:
    return {
        name: value
        for part in model.parts()
        if part.role != "fusion"
        for name, value in part.example(batch=batch).items()
    }


def test_the_published_cell_has_its_parameters() -> None:
    with torch.device("meta"):
        assert parameters(DensePredictionCell(2048, 256)) == 1_150_976


def test_deeplabv3plus_has_its_parameters() -> None:
    with torch.device("meta"):
        model = build_empty(load("deeplabv3plus"))
    assert parameters(model) == 39_182_501


def test_difd_has_the_paper_s_maps() -> None:
    config = load("difd")
    assert isinstance(config.joint, DifdConfig)
    difd = replace(config.joint, pretrained="")
    with torch.device("meta"):
        encoder = Encoder(difd, 3, 512, (4, 16), output_stride=16)
        maps = DeepLabMaps(difd, config.input)(torch.empty(1, 3, 512, 512))
        stream = SatelliteStream(difd, config.input.satellite_bands)
        low = stream(torch.empty(1, 12, 4, 32, 32), torch.ones(1, 12))
    assert (parameters(encoder), encoder.widths) == (37_867_312, (256, 2048))
    assert [tuple(item.shape[1:]) for item in maps] == [(256, 32, 32), (48, 128, 128)]
    assert [tuple(item.shape[1:]) for item in low] == [(48, 128, 128)]


@pytest.mark.parametrize("name", ["difd-paper", "difd-aspp", "difd-4b", "difd-10b"])
def test_presets_give_the_maps_that_their_parts_say(name: str) -> None:
    config = load(name)
    assert isinstance(config.joint, DifdConfig)
    window = config.input.satellite_window
    with torch.device("meta"):
        stream = SatelliteStream(config.joint, config.input.satellite_bands)
        (low,) = stream(torch.empty(1, 12, 4, window, window), torch.ones(1, 12))
    assert tuple(low.shape[1:]) == (48, 128, 128)


@pytest.mark.parametrize("kind", KINDS)
def test_every_upsampler_enlarges_by_four(kind: Upsampler) -> None:
    assert upsampler(kind, 6, 6)(torch.zeros(2, 6, 5, 7)).shape == (2, 6, 20, 28)
    if kind in ("bilinear", "nearest"):
        with pytest.raises(ValueError, match="gives 6 channels from 6; 4 are asked for"):
            upsampler(kind, 6, 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("source", "width"), [(6, 6), (6, 4)])
def test_an_upsampler_that_is_not_trained_draws_no_pattern(
    kind: Upsampler, source: int, width: int
) -> None:
    if kind in ("bilinear", "nearest") and source != width:
        return
    made = upsampler(kind, source, width).eval()
    constant = torch.randn(1, source, 1, 1).expand(1, source, 6, 6)
    with torch.no_grad():
        inner = made(constant)[..., 4:-4, 4:-4]
    assert inner.abs().max() > 0.01
    assert (inner - inner.mean(dim=(2, 3), keepdim=True)).abs().max() < 1e-6


@torch.no_grad()
def test_a_deconvolution_begins_as_bilinear_interpolation() -> None:
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = upsampler("deconv", 3, 3)
    assert isinstance(layer, nn.Sequential)
    expected = upsampler("bilinear", 3, 3)(image)
    # At the border, bilinear interpolation repeats pixels.
    inner = slice(4, -4)
    torch.testing.assert_close(layer[0](image)[..., inner, inner], expected[..., inner, inner])


@pytest.mark.parametrize("context", [DensePredictionCell, Aspp])
@torch.no_grad()
def test_a_context_keeps_the_size(context: Any) -> None:
    assert context(6, 4).eval()(torch.randn(2, 6, 9, 7)).shape == (2, 4, 9, 7)


def _centres(geometry: Geometry, kind: Upsampler, cells: int) -> tuple[Tensor, Tensor]:
    """Where the response to a bright cell lies and where the cell lies, in pixels at stride 4.

    All weights are one, so that only kernels, strides and paddings tell where a cell goes.
    """
    config = replace(
        DIFD, geometry=geometry, upsampler=kind, satellite_channels=("B08",), low_width=2
    )
    stream = SatelliteStream(config, ("B08",)).eval()
    for module in stream.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.ones_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    positions = torch.arange(3, cells - 3)
    series = torch.zeros(len(positions), 1, 1, cells, cells)
    series[torch.arange(len(positions)), 0, 0, positions, cells // 2] = 1.0
    with torch.no_grad():
        (low,) = stream(series, torch.ones(len(positions), 1))
    rows = low.sum(dim=(1, 3))
    pixels = torch.arange(rows.shape[1]) + 0.5
    found = (rows * pixels).sum(dim=1) / rows.sum(dim=1)
    return found, (positions + 0.5) * rows.shape[1] / cells


@pytest.mark.parametrize("kind", KINDS)
def test_in_geometry_r3_cells_lie_exactly_on_their_ground(kind: Upsampler) -> None:
    found, expected = _centres("R3", kind, 32)
    assert (found - expected).abs().max() < 1e-3


def test_in_geometry_r2_cells_are_off_by_less_than_a_pixel_and_more_towards_the_edges() -> None:
    found, expected = _centres("R2", "deconv", 26)
    off = found - expected
    assert 0.5 < off.abs().max() < 1.0
    # Five pixels a cell in place of 128 / 26: drawn out around the centre.
    torch.testing.assert_close(off, -off.flip(0), atol=1e-3, rtol=0)
    assert (off.diff() > 0).all()


def _config(**changes: Any) -> TrainConfig:
    difd = {k: v for k, v in changes.items() if k in {f.name for f in dataclasses.fields(DIFD)}}
    inputs = {k: v for k, v in changes.items() if k not in difd}
    return TrainConfig(name="x", input=replace(INPUTS, **inputs), joint=replace(DIFD, **difd))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"satellite_window": 32}, 'geometry "R3" takes 16 cells'),
        ({"geometry": "R2"}, 'geometry "R2" takes 26 cells for a tile of 512'),
        ({"satellite_resolution_m": 10.0}, "set input.satellite_resolution_m to 4.000000"),
        ({"satellite_channels": ("NDMI",)}, "no satellite channel 'NDMI'"),
        ({"satellite_channels": ("B08", "B08")}, "each once"),
        ({"satellite_channels": ()}, "at least one channel"),
        ({"satellite_channels": ("B11E",)}, "made of B11, and input.satellite_bands has B02"),
        (
            {"satellite_bands": ("B03", "B04")},
            "channel NDVI is made of B08, and input.satellite_bands has B03, B04",
        ),
        ({"satellite_widths": (8,)}, "give two or more"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _config(**changes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_learned_enlargement_is_trained_on_every_pixel(kind: Upsampler) -> None:
    config = _config(upsampler=kind)
    training = TrainingConfig(joint=OptimConfig(loss_stride=2))
    if kind in ("bilinear", "nearest"):
        replace(config, training=training)
        return
    with pytest.raises(ValueError, match=r"training.joint.loss_stride is 2; .*; use 1"):
        replace(config, training=training)


def test_channels_are_what_their_names_say() -> None:
    names = ("B08", "NDWI", "B04E", "NDVI")
    channels = SatelliteChannels(names, BANDS)
    channels.set_percentiles([0.1], [0.3])
    # Green, red and near infrared of water, a meadow, and a field too bright.
    values = {"B02": [0, 0, 0], "B03": [0.08, 0.06, 0.5], "B04": [0.02, 0.2, 0.9]}
    values["B08"] = [0.02, 0.4, 0.9]
    image = torch.tensor([values[band] for band in BANDS])[None, :, None, :]
    made = dict(zip(names, channels(image)[0, :, 0].tolist(), strict=True))
    assert made["B08"] == pytest.approx([0.02, 0.4, 0.9])
    assert made["NDWI"] == pytest.approx([0.6, -0.34 / 0.46, -0.4 / 1.4], abs=1e-4)
    assert made["NDVI"] == pytest.approx([0.0, 0.2 / 0.6, 0.0], abs=1e-4)
    assert made["B04E"] == pytest.approx([0.0, 0.5, 1.0], abs=1e-6)


def test_indices_of_black_and_of_reflectance_below_zero_are_finite() -> None:
    channels = SatelliteChannels(("NDVI", "NDWI"), BANDS)
    made = channels(torch.tensor([0.0, -0.01])[None, None, None].expand(1, 4, 1, 2))
    assert torch.equal(made, torch.zeros_like(made))


def test_a_composite_is_the_mean_of_the_real_dates() -> None:
    series = torch.rand(2, 3, 4, 5, 5)
    series[0, 1] = math.nan
    mask = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    made = composite(series, mask)
    torch.testing.assert_close(made[0], (series[0, 0] + series[0, 2]) / 2)
    assert torch.equal(made[1], torch.zeros(4, 5, 5))


def _sample(values: np.ndarray[Any, np.dtype[np.float32]]) -> Sample:
    series = np.zeros((12, 4, 16, 16), dtype=np.float32)
    series[6] = values
    date_mask = np.zeros(12, dtype=np.float32)
    date_mask[6] = 1.0
    return Sample(
        id="a",
        bands=("red",),
        aerial=np.zeros((1, 4, 4), dtype=np.uint8),
        satellite=SatelliteInput(
            series=series,
            date_mask=date_mask,
            days=np.zeros(12, dtype=np.float32),
            dates_used=(datetime.date(2021, 7, 1),),
        ),
        labels=None,
    )


def test_percentiles_come_from_the_samples_and_stay_in_the_weights() -> None:
    model = small(replace(DIFD, satellite_channels=("B08E", "NDVI", "B02E")))
    rng = np.random.default_rng(0)
    values = rng.random((3, 4, 16, 16), dtype=np.float32)
    values[:, 0] = 0.25
    model.prepare([_sample(item) for item in values])
    low, high = np.percentile(values[:, 3], (2, 98))
    percentiles = model.facts()["percentiles"]
    assert isinstance(percentiles, dict)
    assert percentiles["B08"] == pytest.approx([low, high], rel=1e-5)
    # A band without contrast is not divided by nothing.
    assert percentiles["B02"] == pytest.approx([0.25, 0.251], rel=1e-5)
    other = small(replace(DIFD, satellite_channels=("B08E", "NDVI", "B02E")))
    assert other.facts() != model.facts()
    other.load_state_dict(model.state_dict())
    assert other.facts() == model.facts()


def test_a_model_without_enhanced_bands_takes_nothing_from_the_samples() -> None:
    model = small(replace(DIFD, satellite_channels=("B08", "NDVI")))
    model.prepare([])
    assert model.facts() == {}


@torch.no_grad()
def test_modality_dropout_sets_whole_items_to_zero_and_only_in_training() -> None:
    model = small(modality_dropout=0.5)
    feed = feed_of(model, batch=8)
    aerial, satellite = model.features(feed)
    torch.manual_seed(3)
    (dropped,) = model.drop_modality(satellite)
    kept = dropped.flatten(1).any(dim=1)
    assert 0 < kept.sum() < 8
    assert torch.equal(dropped[kept], satellite[0][kept])
    torch.manual_seed(3)
    (head,) = model.forward_train(feed)
    torch.testing.assert_close(head.logits, model.decoder(*aerial, dropped))
    torch.testing.assert_close(model(feed), model.decoder(*aerial, *satellite))


def test_the_satellite_part_takes_what_it_has_a_use_for() -> None:
    names = {part.name: [spec.name for spec in part.inputs] for part in small().parts()}
    assert names["satellite"] == ["satellite", "date_mask"]
    assert names["fusion"] == ["aerial_high", "aerial_low", "satellite_low"]
