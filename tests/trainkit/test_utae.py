"""U-TAE: the masked form equals the original's, and masked dates cannot be seen."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainkit.joint_config import SatelliteBranchConfig
from trainkit.models.ltae import PositionalCode, TemporalNorm
from trainkit.models.utae import UTAE, SatelliteBranch

CONFIG = SatelliteBranchConfig(
    encoder_widths=(8, 8, 16, 16), decoder_widths=(12, 8, 8, 16), n_head=4, d_model=32
)
BANDS, DATES, SIDE = 3, 12, 16


def _model(norm: TemporalNorm = "reference") -> UTAE:
    torch.manual_seed(7)
    model = UTAE(dataclasses.replace(CONFIG, temporal_norm=norm), BANDS).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return model


def _series(dates: int = DATES, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    series = torch.rand(batch, dates, BANDS, SIDE, SIDE, generator=generator) + 0.01
    days = torch.linspace(-120, 214, dates).round().expand(batch, dates).contiguous()
    return series, days


def _mask(padded: int, batch: int = 2) -> Tensor:
    """Masks whose zeros lie elsewhere in every item."""
    mask = torch.ones(batch, DATES)
    for item in range(batch):
        order = torch.randperm(DATES, generator=torch.Generator().manual_seed(item))
        mask[item, order[:padded]] = 0
    return mask


def _only_real(block: nn.Module, series: Tensor, real: Tensor) -> Tensor:
    """Run a block on the real dates alone and write zeros for the others."""
    out = block(series[real])
    full: Tensor = out.new_zeros(*series.shape[:2], *out.shape[1:])
    full[real] = out
    return full


def _reference(model: UTAE, series: Tensor, days: Tensor) -> Tensor:
    """The original formulation: dates that are zero everywhere are padding."""
    real = (series != 0).flatten(2).any(-1)
    levels = [_only_real(model.enter, series, real)]
    for block in model.down:
        levels.append(_only_real(block, levels[-1], real))
    merged, attention = _reference_attention(model, levels[-1], real, days)
    for block, skip in zip(model.up, levels[-2::-1], strict=True):
        parts = skip.chunk(CONFIG.n_head, dim=2)
        weights = [
            F.interpolate(head, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            for head in attention
        ]
        collapsed = [
            (weight[:, :, None] * part * real[:, :, None, None, None]).sum(1)
            for weight, part in zip(weights, parts, strict=True)
        ]
        merged = block(merged, torch.cat(collapsed, dim=1))
    return merged


def _reference_attention(
    model: UTAE, level: Tensor, real: Tensor, days: Tensor
) -> tuple[Tensor, list[Tensor]]:
    lt, (batch, dates, width, side, _) = model.attention, level.shape
    rows = level.permute(0, 3, 4, 2, 1).reshape(-1, width, dates)
    normed = F.group_norm(rows, lt.n_head, lt.norm_in.weight, lt.norm_in.bias).transpose(1, 2)
    days_of_row = days.repeat_interleave(side * side, dim=0)
    padded = ~real.repeat_interleave(side * side, dim=0)
    values = lt.project(normed) + lt.position(days_of_row).repeat(1, 1, lt.n_head)
    keys = lt.key(values).view(-1, dates, lt.n_head, lt.d_k)
    outputs, attention = [], []
    for head, slice_ in enumerate(values.chunk(lt.n_head, dim=-1)):
        scores = keys[:, :, head] @ lt.query[head] / lt.d_k**0.5
        weights = torch.softmax(scores.masked_fill(padded, -1e3), dim=-1)
        outputs.append((weights[:, None] @ slice_).squeeze(1))
        attention.append(weights.view(batch, side, side, dates).permute(0, 3, 1, 2))
    merged = torch.relu(lt.norm_mlp(lt.mlp(torch.cat(outputs, dim=-1))))
    merged = F.group_norm(merged, lt.n_head, lt.norm_out.weight, lt.norm_out.bias)
    return merged.view(batch, side, side, width).permute(0, 3, 1, 2), attention


@pytest.mark.parametrize("padded", [0, 3, 10])
@torch.no_grad()
def test_the_masked_form_equals_the_original_with_boolean_indexing(padded: int) -> None:
    model, (series, days), mask = _model(), _series(), _mask(padded)
    expected = _reference(model, series * mask[:, :, None, None, None], days)
    torch.testing.assert_close(model(series, mask, days), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["reference", "masked"])
@torch.no_grad()
def test_what_masked_dates_hold_changes_nothing(norm: TemporalNorm) -> None:
    model, (series, days), mask = _model(norm), _series(), _mask(4)
    hidden = (mask == 0)[:, :, None, None, None]
    for junk in (0.0, 1e6, float("nan"), float("inf")):
        changed = torch.where(hidden, torch.full_like(series, junk), series)
        torch.testing.assert_close(
            model(changed, mask, days), model(series, mask, days), rtol=0, atol=0
        )


@torch.no_grad()
def test_with_the_masked_norm_the_number_of_masked_dates_changes_nothing() -> None:
    model, (series, days) = _model("masked"), _series(dates=5)
    alone = model(series, torch.ones(2, 5), days)
    longer = torch.cat((series, torch.rand(2, 7, BANDS, SIDE, SIDE)), dim=1)
    mask = torch.cat((torch.ones(2, 5), torch.zeros(2, 7)), dim=1)
    padded_days = torch.cat((days, torch.full((2, 7), 99.0)), dim=1)
    torch.testing.assert_close(model(longer, mask, padded_days), alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_with_the_reference_norm_it_does_change_the_result() -> None:
    model, (series, days) = _model(), _series(dates=5)
    alone = model(series, torch.ones(2, 5), days)
    longer = torch.cat((series, torch.zeros(2, 7, BANDS, SIDE, SIDE)), dim=1)
    mask = torch.cat((torch.ones(2, 5), torch.zeros(2, 7)), dim=1)
    padded = model(longer, mask, torch.cat((days, torch.zeros(2, 7)), dim=1))
    assert (padded - alone).abs().max() > 1e-4


@pytest.mark.parametrize("norm", ["reference", "masked"])
@torch.no_grad()
def test_dates_may_come_in_any_order(norm: TemporalNorm) -> None:
    model, (series, days), mask = _model(norm), _series(), _mask(3)
    order = torch.randperm(DATES, generator=torch.Generator().manual_seed(1))
    shuffled = model(series[:, order], mask[:, order], days[:, order])
    torch.testing.assert_close(shuffled, model(series, mask, days), atol=1e-5, rtol=1e-5)
    assert (model(series[:, order], mask[:, order], days) - shuffled).abs().max() > 1e-4


@pytest.mark.parametrize("norm", ["reference", "masked"])
@torch.no_grad()
def test_a_series_without_a_single_date_gives_finite_features(norm: TemporalNorm) -> None:
    series, days = _series()
    assert torch.isfinite(_model(norm)(series, torch.zeros(2, DATES), days)).all()


def test_the_positional_code_is_sines_at_even_and_cosines_at_odd_places() -> None:
    day = torch.tensor([[-120.0, 31.0]])
    code = PositionalCode(16)(day)
    for k in range(16):
        angle = day / 1000 ** (2 * (k // 2) / 16)
        torch.testing.assert_close(code[..., k], angle.cos() if k % 2 else angle.sin())


def test_the_attention_has_one_map_per_head_and_date() -> None:
    config = SatelliteBranchConfig()
    model = UTAE(config, 10).eval()
    level = torch.randn(1, DATES, config.encoder_widths[-1], 5, 5)
    with torch.no_grad():
        _, attention = model.attention(level, torch.ones(1, DATES), torch.zeros(1, DATES))
    assert attention.shape == (1, 16, DATES, 5, 5)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(1, 16, 5, 5))


def test_the_original_head_is_never_negative_and_the_linear_one_is_free() -> None:
    series, days = _series()
    logits = {}
    for head in ("original", "linear"):
        config = dataclasses.replace(CONFIG, head=head)
        logits[head] = SatelliteBranch(config, BANDS, 5)(series, _mask(0), days)
        assert logits[head].shape == (2, 5, SIDE, SIDE)
    assert logits["original"].min() >= 0
    assert logits["linear"].min() < 0
