"""Losses against hand-written formulas, and what must not matter to them."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from trainkit.losses import SegmentationLoss, class_weights, dice_loss
from trainkit.recipe import OptimConfig

WEIGHTS = (1.0, 3.0, 0.5, 2.0)


def _loss(weights: tuple[float, ...] = (), **keys: Any) -> SegmentationLoss:
    return SegmentationLoss(OptimConfig(class_weights=weights or "none", **keys), weights)


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
    torch.testing.assert_close(_loss(dice_weight=0.0)(logits, labels), expected)


def test_weighted_cross_entropy_is_the_library_s() -> None:
    logits, labels = _batch()
    expected = torch.nn.functional.cross_entropy(
        logits, labels, weight=torch.tensor(WEIGHTS), ignore_index=255
    )
    torch.testing.assert_close(_loss(WEIGHTS, dice_weight=0.0)(logits, labels), expected)


@pytest.mark.parametrize("kind", ["ce", "focal"])
def test_ignored_pixels_change_neither_the_loss_nor_get_a_gradient(
    kind: Literal["ce", "focal"],
) -> None:
    logits, labels = _batch()
    loss_of = _loss(WEIGHTS, loss=kind, dice_class_weights=True, dice_classes="all")
    changed = logits.clone()
    changed[0, :, :2] = 50.0 * torch.rand(4, 2, 7)
    changed.requires_grad_()
    loss = loss_of(changed, labels)
    torch.testing.assert_close(loss, loss_of(logits, labels))
    loss.backward()
    assert changed.grad is not None
    assert (changed.grad[0, :, :2] == 0).all()
    assert (changed.grad[1] != 0).any()


def test_nothing_but_ignored_pixels_costs_nothing() -> None:
    logits, labels = _batch()
    logits.requires_grad_()
    loss = _loss()(logits, torch.full_like(labels, 255))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_perfect_map_costs_almost_nothing() -> None:
    labels = _batch()[1].clamp(max=3)
    logits = 40.0 * torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    assert _loss()(logits, labels).item() < 1e-5


def test_logits_of_half_precision_are_judged_in_float32() -> None:
    logits, labels = _batch()
    half = logits.bfloat16()
    loss = _loss()(half, labels.byte())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, _loss()(half.float(), labels))


def _by_hand(logits: Tensor, labels: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Weighted cross-entropy plus weighted Dice over all classes, as it is written down."""
    known = labels != 255
    w = torch.tensor(weights)
    entropy = torch.nn.functional.cross_entropy(logits, labels, weight=w, ignore_index=255)
    probability = torch.softmax(logits, dim=1)
    total = torch.zeros(())
    for k, weight in enumerate(weights):
        predicted, truth = probability[:, k][known], (labels == k)[known].float()
        overlap = (predicted * truth).sum()
        dice = (2 * overlap + 1e-6) / (predicted.sum() + truth.sum() + 1e-6)
        total = total + weight * (1 - dice)
    return entropy + total / w.sum()


def test_weighted_dice_and_cross_entropy_are_equal_halves_over_all_classes() -> None:
    logits, labels = _batch()  # no pixel has the last class
    loss = _loss(WEIGHTS, dice_class_weights=True, dice_classes="all")
    torch.testing.assert_close(loss(logits, labels), _by_hand(logits, labels, WEIGHTS))


@pytest.mark.parametrize("kind", ["ce", "focal"])
@pytest.mark.parametrize("classes", ["present", "all"])
def test_only_the_ratios_of_class_weights_matter(
    kind: Literal["ce", "focal"], classes: Literal["present", "all"]
) -> None:
    logits, labels = _batch()
    keys: dict[str, Any] = {"loss": kind, "dice_class_weights": True, "dice_classes": classes}
    scaled = tuple(7.0 * weight for weight in WEIGHTS)
    equal, none = _loss((5.0,) * 4, **keys), _loss(loss=kind, dice_classes=classes)
    torch.testing.assert_close(
        _loss(WEIGHTS, **keys)(logits, labels), _loss(scaled, **keys)(logits, labels)
    )
    torch.testing.assert_close(equal(logits, labels), none(logits, labels))
    assert not torch.allclose(_loss(WEIGHTS, **keys)(logits, labels), none(logits, labels))


def test_the_halves_add_up_by_their_weights() -> None:
    logits, labels = _batch()
    pixels = _loss(dice_weight=0.0)(logits, labels)
    dice = _loss(ce_weight=0.0)(logits, labels)
    both = _loss(ce_weight=0.5, dice_weight=2.0)(logits, labels)
    torch.testing.assert_close(both, 0.5 * pixels + 2.0 * dice)
    torch.testing.assert_close(dice, dice_loss(logits, labels))


def test_focal_loss_without_an_exponent_is_cross_entropy() -> None:
    logits, labels = _batch()
    keys: dict[str, Any] = {"dice_weight": 0.0, "label_smoothing": 0.1}
    focal = _loss(WEIGHTS, loss="focal", focal_gamma=1e-6, **keys)
    entropy = _loss(WEIGHTS, **keys)(logits, labels)
    torch.testing.assert_close(focal(logits, labels), entropy, rtol=1e-4, atol=1e-5)
    none = _loss(WEIGHTS, loss="focal", focal_gamma=0.0, **keys)
    assert torch.equal(none(logits, labels), entropy)


def test_focal_loss_is_the_formula_of_its_paper() -> None:
    logits, labels = _batch()
    known = labels != 255
    index = labels.clamp(max=3).unsqueeze(1)
    p = torch.softmax(logits, dim=1).gather(1, index).squeeze(1)[known]
    expected = (-((1 - p) ** 1.5) * p.log()).mean()
    loss = _loss(loss="focal", focal_gamma=1.5, dice_weight=0.0)
    torch.testing.assert_close(loss(logits, labels), expected)


def test_sure_pixels_have_a_finite_gradient_under_the_focal_loss() -> None:
    labels = _batch()[1].clamp(max=3)
    logits = 200.0 * torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    logits.requires_grad_()
    _loss(loss="focal", focal_gamma=0.5)(logits, labels).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_class_weights_fall_with_the_root_of_the_share_and_average_one() -> None:
    counts = np.array([400, 100, 0], dtype=np.int64)
    weights = np.array(class_weights("inverse-sqrt", counts))
    assert weights[1] == pytest.approx(2 * weights[0])
    assert weights[2] == 0.0
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    assert class_weights("none", counts) == ()


def test_inverse_class_weights_sum_to_one_and_are_those_that_difd_quotes() -> None:
    # Hectares of LandCover.ai: background, building, woodland, water, road.
    hectares = np.array([12_575, 185, 7_202, 1_315, 350], dtype=np.int64)
    weights = np.array(class_weights("inverse", hectares))
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(weights * hectares, weights[0] * hectares[0])
    np.testing.assert_allclose(weights[:2], [0.008, 0.58], atol=6e-3)
    assert class_weights("inverse", np.array([3, 0], dtype=np.int64)) == (1.0, 0.0)


def test_class_weights_of_a_list_are_taken_as_they_are_and_must_be_one_per_class() -> None:
    counts = np.array([4, 0, 9], dtype=np.int64)
    assert class_weights((0.5, 0.0, 2.0), counts) == (0.5, 0.0, 2.0)
    with pytest.raises(ValueError, match="2 values for 3 classes"):
        class_weights((1.0, 1.0), counts)
