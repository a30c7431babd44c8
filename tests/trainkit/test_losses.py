"""Losses against hand-written formulas, and what must not matter to them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from trainkit.losses import SegmentationLoss, class_weights, dice_loss


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 5, 7, generator=generator)
    labels = torch.randint(0, 3, (2, 5, 7), generator=generator)
    labels[0, :2] = 255
    return logits, labels


def test_dice_is_the_mean_over_the_classes_that_occur() -> None:
    logits, labels = _batch()
    known = labels != 255
    probability = torch.softmax(logits, dim=1)
    expected = []
    for k in range(3):
        predicted, truth = probability[:, k][known], (labels == k)[known].float()
        expected.append(1 - 2 * (predicted * truth).sum() / (predicted.sum() + truth.sum()))
    torch.testing.assert_close(dice_loss(logits, labels), torch.stack(expected).mean())


def test_cross_entropy_is_the_mean_over_known_pixels() -> None:
    logits, labels = _batch()
    expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(SegmentationLoss(dice_weight=0.0)(logits, labels), expected)


def test_weighted_cross_entropy_is_the_library_s() -> None:
    logits, labels = _batch()
    weights = (1.0, 3.0, 0.5, 2.0)
    expected = torch.nn.functional.cross_entropy(
        logits, labels, weight=torch.tensor(weights), ignore_index=255
    )
    loss = SegmentationLoss(dice_weight=0.0, class_weights=weights)
    torch.testing.assert_close(loss(logits, labels), expected)


def test_ignored_pixels_change_neither_the_loss_nor_get_a_gradient() -> None:
    logits, labels = _batch()
    changed = logits.clone()
    changed[0, :, :2] = 50.0 * torch.rand(4, 2, 7)
    changed.requires_grad_()
    loss = SegmentationLoss()(changed, labels)
    torch.testing.assert_close(loss, SegmentationLoss()(logits, labels))
    loss.backward()
    assert changed.grad is not None
    assert (changed.grad[0, :, :2] == 0).all()
    assert (changed.grad[1] != 0).any()


def test_nothing_but_ignored_pixels_costs_nothing() -> None:
    logits, labels = _batch()
    logits.requires_grad_()
    loss = SegmentationLoss()(logits, torch.full_like(labels, 255))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_perfect_map_costs_almost_nothing() -> None:
    labels = _batch()[1].clamp(max=3)
    logits = 40.0 * torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    assert SegmentationLoss()(logits, labels).item() < 1e-5


def test_logits_of_half_precision_are_judged_in_float32() -> None:
    logits, labels = _batch()
    half = logits.bfloat16()
    loss = SegmentationLoss()(half, labels.byte())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, SegmentationLoss()(half.float(), labels))


def test_class_weights_fall_with_the_root_of_the_share_and_average_one() -> None:
    counts = np.array([400, 100, 0], dtype=np.int64)
    weights = np.array(class_weights("inverse-sqrt", counts))
    assert weights[1] == pytest.approx(2 * weights[0])
    assert weights[2] == 0.0
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    assert class_weights("none", counts) == ()
