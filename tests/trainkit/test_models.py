"""UNetFormer, its encoders and the head of U-TAE: parameters, attention, weights that are given."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from runtime.errors import CheckpointError, ConfigError
from trainkit.aerial_config import UNetFormerConfig
from trainkit.config import InputConfig, load
from trainkit.joint_config import SatelliteBranchConfig
from trainkit.models import SatelliteBranch
from trainkit.models.encoder import Encoder, widen_stem
from trainkit.models.unetformer import (
    FeatureRefinement,
    GlobalLocalBlock,
    UNetFormer,
    UNetFormerDecoder,
    WeightedFusion,
    WindowAttention,
    class_head,
)

TILE, K = 256, 5

RESNET = UNetFormerConfig(
    encoder="resnet18",
    encoder_widths=(8, 12, 16, 24),
    encoder_depths=(1, 1, 1, 1),
    decoder_width=16,
)


def _parameters(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("side", "valid"), [(200, 256), (257, 512), (520, 768)])
def test_a_wrong_size_is_refused_with_the_next_valid_one(side: int, valid: int) -> None:
    branch = UNetFormer(RESNET, InputConfig(tile_size=TILE), K)
    image = torch.zeros(1, 5, TILE, side, dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"256 x {side} px.*next valid size is {valid}"):
        branch(image)


def test_an_encoder_of_fixed_size_names_that_size() -> None:
    config = UNetFormerConfig(encoder="maxvit_rmlp_pico_rw_256", decoder_width=16)
    branch = UNetFormer(config, InputConfig(tile_size=256), K)
    with pytest.raises(ValueError, match="must be exactly 256; the next valid size is 256"):
        branch(torch.zeros(1, 5, 512, 512, dtype=torch.uint8))


@torch.no_grad()
def test_images_are_normalised_band_by_band_inside_the_branch() -> None:
    config = InputConfig(tile_size=TILE, aerial_mean=(1, 2, 3, 4, 5))
    branch = UNetFormer(RESNET, config, K)
    image = torch.randint(0, 256, (1, 5, TILE, TILE), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(1, 5, 1, 1) for v in (config.aerial_mean, config.aerial_std))
    torch.testing.assert_close(branch._normalise(image), (image.float() - mean) / std)


def test_satellite_parameters_are_those_of_the_original_with_its_own_head() -> None:
    flair = SatelliteBranchConfig(head="original")
    assert _parameters(SatelliteBranch(flair, 10, 13)) == 2_284_199
    pastis = SatelliteBranchConfig(
        encoder_widths=(64, 64, 64, 128), decoder_widths=(32, 32, 64, 128), head="original"
    )
    assert _parameters(SatelliteBranch(pastis, 10, 20)) == 1_087_260
    branch = SatelliteBranch(flair, 10, 13)
    assert _parameters(branch.utae.enter) == 43_008
    assert _parameters(branch.utae.down) == 985_728
    assert _parameters(branch.utae.attention) == 83_200
    assert _parameters(branch.utae.up) == 1_149_952
    assert _parameters(branch.head) == 22_311


@pytest.mark.parametrize(("auxiliary", "count"), [(True, 549_278), (False, 511_454)])
def test_decoder_parameters_are_the_original_s(auxiliary: bool, count: int) -> None:
    widths = (64, 128, 256, 512)
    decoder = UNetFormerDecoder(widths, width=64, num_classes=13, auxiliary=auxiliary)
    assert _parameters(decoder) == count


def test_decoder_blocks_have_the_parameters_of_the_original_s() -> None:
    assert _parameters(GlobalLocalBlock(64)) == 96_968
    assert _parameters(WeightedFusion(256, 64)) == 53_378
    assert _parameters(FeatureRefinement(64, 64)) == 51_266
    assert _parameters(class_head(64, 13, 0.1)) == 37_824


def test_the_paper_s_aerial_branch_has_its_parameters_with_the_auxiliary_head() -> None:
    config = load("unetformer")
    (aerial,) = config.aerial
    assert isinstance(aerial, UNetFormerConfig)
    random = dataclasses.replace(aerial, pretrained="")
    with torch.device("meta"):
        branch = UNetFormer(random, config.input, config.num_classes)
    assert _parameters(branch.encoder) == 30_274_056
    assert _parameters(branch) == 30_823_334
    assert branch.encoder.widths == (64, 128, 256, 512)


@torch.no_grad()
def test_attention_stays_within_its_window() -> None:
    attention = WindowAttention(16).eval()
    image = torch.randn(1, 16, 16, 24)
    changed = image.clone()
    changed[:, :, 3, 17] += 1.0
    moved = (attention(changed) - attention(image)).abs().amax(dim=1)[0] > 1e-7
    assert moved[:8, 16:].all()
    assert not moved[8:].any()
    assert not moved[:, :16].any()


@torch.no_grad()
def test_window_attention_is_softmax_of_scaled_products_plus_a_bias_per_offset() -> None:
    attention = WindowAttention(16).eval()
    image = torch.randn(1, 16, 8, 8)
    query, key, value = attention.qkv(image).view(3, 8, 2, 64)
    out = torch.empty(8, 2, 64)
    for head in range(8):
        bias = torch.empty(64, 64)
        for a in range(64):
            for b in range(64):
                down, across = a // 8 - b // 8 + 7, a % 8 - b % 8 + 7
                bias[a, b] = attention.bias[15 * down + across, head]
        weights = torch.softmax(query[head].T @ key[head] / 2**0.5 + bias, dim=-1)
        out[head] = value[head] @ weights.T
    torch.testing.assert_close(attention(image)[0], out.view(16, 8, 8), atol=1e-5, rtol=1e-5)


def test_a_widened_stem_keeps_what_it_knew_of_red_green_and_blue() -> None:
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    stem = nn.Sequential(convolution)
    image = torch.randn(1, 5, 6, 6)
    image[:, 3:] = 0
    with torch.no_grad():
        before = stem(image[:, :3])
        widen_stem(stem, 5)
        torch.testing.assert_close(stem(image), before)
        assert convolution.weight[:, 3:].abs().min() > 0


def test_pretrained_weights_are_read_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = Encoder(RESNET, 3, TILE)
    path = tmp_path / "weights.pth"
    torch.save(source.backbone.state_dict(), path)
    torch.manual_seed(1)
    config = dataclasses.replace(RESNET, pretrained=str(path), freeze_encoder=True)
    branch = UNetFormer(config, InputConfig(tile_size=TILE), K)
    stem = branch.encoder.backbone.conv1.weight
    assert stem.shape[1] == 5
    torch.testing.assert_close(stem[:, :3], source.backbone.conv1.weight)
    assert not any(p.requires_grad for p in branch.encoder.parameters())


def test_missing_weights_and_unknown_encoders_are_named(tmp_path: Path) -> None:
    absent = dataclasses.replace(RESNET, pretrained=str(tmp_path / "absent.pth"))
    with pytest.raises(CheckpointError, match=r"no weights at .*absent\.pth"):
        Encoder(absent, 5, TILE)
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"no pretrained weights for resnet18"):
        Encoder(dataclasses.replace(RESNET, pretrained=str(damaged)), 5, TILE)
    with pytest.raises(ConfigError, match="timm has no encoder 'resnet81'"):
        Encoder(UNetFormerConfig(encoder="resnet81"), 5, TILE)
    with pytest.raises(ConfigError, match="has fixed widths and depths"):
        Encoder(UNetFormerConfig(encoder="regnety_002", encoder_widths=(1, 2, 3, 4)), 5, TILE)
    with pytest.raises(ConfigError, match="expected also"):
        Encoder(UNetFormerConfig(encoder="test_vit"), 5, TILE)
