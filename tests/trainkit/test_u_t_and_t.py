"""U-T&T: the layers of the original, fusion item by item, and where window and tile meet."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import ConfigError
from trainkit.config import InputConfig, TrainConfig
from trainkit.heads import JointHeads, labels_at
from trainkit.joint_config import Footprint, SatelliteBranchConfig, UTAndTConfig
from trainkit.models.u_t_and_t import METADATA, UTAndT
from trainkit.models.u_t_and_t_fusion import (
    METADATA_VALUES,
    CollapsedFusion,
    CroppedFusion,
    FootprintResize,
    collapsed_widths,
)
from trainkit.recipe import AugmentConfig, OptimConfig, TrainingConfig

INPUTS = InputConfig()
"""Tiles of 512 px of 0.2 m in windows of 40 cells of 10 m."""

OWN = UTAndTConfig(
    encoder="resnet18",
    encoder_widths=(8, 8, 12, 16),
    encoder_depths=(1, 1, 1, 1),
    decoder_widths=(4, 4, 8, 8, 8),
    satellite=SatelliteBranchConfig(
        encoder_widths=(8, 8, 16, 16), decoder_widths=(8, 8, 16, 16), n_head=4, d_model=16
    ),
)


def small(own: UTAndTConfig = OWN, *, modality_dropout: float = 0.0) -> UTAndT:
    config = TrainConfig(
        name="small",
        num_classes=5,
        input=InputConfig(tile_size=256, satellite_window=16),
        joint=own,
        training=TrainingConfig(augment=AugmentConfig(modality_dropout=modality_dropout)),
    )
    torch.manual_seed(3)
    return UTAndT(config, own).eval()


def feed_of(model: UTAndT, batch: int = 2) -> dict[str, Tensor]:
    without = small(replace(model.own, metadata=False))
    feed: dict[str, Tensor] = {}
    for part in without.parts()[:2]:
        feed |= part.example(batch=batch)
    return feed


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("metadata", "unread", "expected"),
    [(True, True, 27_260_296), (False, True, 27_254_744), (False, False, 27_227_852)],
)
def test_the_parameters_are_those_of_the_original(
    metadata: bool, unread: bool, expected: int
) -> None:
    own = UTAndTConfig(metadata=metadata, unread_layers=unread)
    with torch.device("meta"):
        model = UTAndT(TrainConfig(name="full", joint=own), own)
    assert count(model) == expected


def test_each_fusion_has_the_parameters_of_the_original() -> None:
    widths = (5, 64, 64, 128, 256, 512)
    resize = FootprintResize(INPUTS, "exact", 16)
    assert sum(count(CroppedFusion(resize, 64, width)) for width in widths) == 66_885
    assert sum(count(CollapsedFusion(64, width, 0.3)) for width in widths) == 458_434
    assert collapsed_widths(64, 64) == (64, 128, 128, 64)


def test_layers_that_nothing_reads_are_not_trained() -> None:
    model = small(replace(OWN, unread_layers=True))
    assert not any(parameter.requires_grad for parameter in model.unread.parameters())
    torch.testing.assert_close(
        model(feed_of(model)), _with_weights_of(small(), model)(feed_of(model))
    )


def _with_weights_of(model: UTAndT, other: UTAndT) -> UTAndT:
    state = other.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model


@torch.no_grad()
def test_every_item_is_fused_with_its_own_window() -> None:
    # The original's code takes the mean over the first item's window for the whole batch.
    model = small()
    fusion = model.decoder.fusion
    generator = torch.Generator().manual_seed(1)
    windows = torch.randn(2, 8, 16, 16, generator=generator) + torch.tensor([0.0, 5.0]).view(
        2, 1, 1, 1
    )
    maps = [
        torch.zeros(2, w, 128 >> i, 128 >> i) for i, w in enumerate(model.aerial.encoder.widths)
    ]
    both = fusion(windows, maps)
    for item in range(2):
        alone = fusion(windows[item : item + 1], [grid[item : item + 1] for grid in maps])
        for level, own in zip(both, alone, strict=True):
            torch.testing.assert_close(level[item : item + 1], own)


def _metres(inputs: InputConfig) -> Tensor:
    """How far east of the window's centre each cell lies, in metres, shape (1, 1, h, w)."""
    window = inputs.satellite_window
    line = (torch.arange(window) + 0.5 - window / 2) * inputs.satellite_resolution_m
    return line.expand(1, 1, window, window).contiguous()


def _resized(footprint: Footprint, side: int) -> Tensor:
    resize = FootprintResize(INPUTS, footprint, side)
    drawn: Tensor = resize(resize.cut(_metres(INPUTS)))
    return drawn[0, 0]


@pytest.mark.parametrize("side", [512, 256, 16])
def test_the_exact_footprint_lies_where_the_tile_lies(side: int) -> None:
    tile_m = INPUTS.tile_size * INPUTS.resolution_m
    centres = (torch.arange(side) + 0.5 - side / 2) * tile_m / side
    torch.testing.assert_close(_resized("exact", side), centres.expand(side, side))


def test_whole_cells_are_the_original_s_crop_which_is_off_towards_the_edges() -> None:
    side = 256
    crop = _metres(INPUTS)[:, :, 15:25, 15:25]
    expected = F.interpolate(crop, size=(side, side), mode="bilinear")[0, 0]
    drawn = _resized("whole-cells", side)
    torch.testing.assert_close(drawn, expected)
    off = (drawn - _resized("exact", side)).abs()[0]
    # Between the outermost cell centres: nothing in the middle, up to 1.2 m further out.
    between = off[drawn[0].abs() < 44.9]
    assert between.min() < 0.01
    assert 1.0 < between.max() <= 1.2


@torch.no_grad()
def test_without_its_satellite_features_the_model_maps_what_zeros_give() -> None:
    model = small(modality_dropout=1.0)
    feed = feed_of(model)
    joint, own = model.forward_train(feed)
    aerial, satellite = model.features(feed)
    zeros = torch.zeros_like(satellite[0])
    torch.testing.assert_close(joint.logits, model.decoder(*aerial, zeros))
    # The satellite head learns from every series.
    torch.testing.assert_close(own.logits, model.satellite_head(*satellite))
    assert not torch.allclose(own.logits, model.satellite_head(zeros))


def test_the_satellite_head_has_its_own_weight_and_classes() -> None:
    model = small(replace(OWN, satellite_weight=0.5, satellite_ignore=(3,)))
    joint, own = model.forward_train(feed_of(model))
    assert (joint.weight, joint.stride, joint.ignore) == (1.0, 1, ())
    assert (own.weight, own.stride, own.ignore) == (0.5, 1, (3,))
    assert joint.logits.shape == own.logits.shape == (2, 5, 256, 256)


def test_pixels_of_classes_that_a_head_leaves_out_are_ignored_by_its_loss() -> None:
    model = small(replace(OWN, satellite_ignore=(3,)))
    heads = JointHeads(OptimConfig(loss_stride=4)).train_heads(model, feed_of(model))
    labels = torch.randint(0, 5, (2, 256, 256), generator=torch.Generator().manual_seed(2))
    joint, own = (labels_at(head, labels) for head in heads)
    assert torch.equal(joint, labels[:, 2::4, 2::4])
    assert torch.equal(own, torch.where(joint == 3, 255, joint))
    assert heads[1].logits.shape[2:] == own.shape[1:]


@torch.no_grad()
def test_metadata_is_added_to_the_deepest_map_row_by_row() -> None:
    model = small(replace(OWN, metadata=True))
    feed = feed_of(model) | {METADATA: torch.rand(2, METADATA_VALUES)}
    plain, _ = _with_weights_of(small(), model).features(feed)
    maps, _ = model.features(feed)
    for before, after in zip(plain[:-1], maps[:-1], strict=True):
        torch.testing.assert_close(after, before)
    added = maps[-1] - plain[-1]
    rows = model.metadata(feed[METADATA])
    assert rows.shape == (2, 1, 8, 1)
    torch.testing.assert_close(added, rows.expand_as(added), atol=1e-5, rtol=1e-4)
    assert rows.std(dim=2).min() > 0


def test_metadata_that_is_not_there_is_refused_by_name() -> None:
    model = small(replace(OWN, metadata=True))
    with pytest.raises(ConfigError, match=r"joint\.metadata of small is true and the patches come"):
        model(feed_of(model))
    with pytest.raises(ConfigError, match=r"is true and inference has none; .* set it to false"):
        model.parts()


def test_a_class_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"satellite_ignore of small names class 5 of 5; .* 0 to 4"
    ):
        small(replace(OWN, satellite_ignore=(3, 5)))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"decoder_widths": (8, 8)}, r"decoder_widths is \[8, 8\]; give 5 values"),
        (
            {"satellite": replace(OWN.satellite, head="original")},
            'satellite.head is "original"; use "linear"',
        ),
        ({"dropout": 1.0}, "dropout 1.0; expected none below 0, and dropout below 1"),
    ],
)
def test_what_cannot_be_built_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(OWN, **keys)  # type: ignore[arg-type]
