"""Cross-entropy, focal loss and Dice between logits and a map of class indices.

L = ce_weight * pixels + dice_weight * dice

pixels = sum_i w[y_i] (1 - p_i)^gamma (-log p_i) / sum_i w[y_i]    p_i: probability of label y_i
dice   = sum_c w_c (1 - D_c) / sum_c w_c                           over classes c

With gamma 0 the first is cross-entropy. Class weights w count by their ratios alone.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from runtime.metrics import IGNORE_INDEX

from .recipe import ClassWeights, OptimConfig

# Shape letters: N batch, K classes, H W pixels.

_SMOOTH = 1e-6


class SegmentationLoss(nn.Module):
    """Weighted sum of the loss of single pixels and the Dice loss, in float32 for any logits.

    Args:
        optim: The loss's keys of a training's table.
        class_weights: Weight of each class, length K; empty weighs all the same.

    Reference: Lin et al. 2017 (arXiv 1708.02002) for the focal loss; Milletari et al. 2016 (arXiv
        1606.04797) for the Dice loss. DIFD (arXiv 2503.22909) trains with weighted Dice and
        cross-entropy, and leaves the halves open.
    """

    class_weights: Tensor | None

    def __init__(self, optim: OptimConfig, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.optim = optim
        self.gamma = optim.focal_gamma if optim.loss == "focal" else 0.0
        weights = torch.tensor(list(class_weights)) if len(class_weights) else None
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits_NKHW: Tensor, labels_NHW: Tensor) -> Tensor:
        """Give the loss as a scalar; 0 where every pixel is ignored.

        Args:
            logits_NKHW: Logits on the grid of the labels.
            labels_NHW: Class indices, any integer type; 255 is ignored.
        """
        optim = self.optim
        with torch.autocast(logits_NKHW.device.type, enabled=False):
            logits, labels = logits_NKHW.float(), labels_NHW.long()
            loss = logits.new_zeros(())
            if optim.ce_weight:
                loss = loss + optim.ce_weight * self._pixels(logits, labels)
            if optim.dice_weight:
                weights = self.class_weights if optim.dice_class_weights else None
                dice = dice_loss(logits, labels, weights=weights, classes=optim.dice_classes)
                loss = loss + optim.dice_weight * dice
        return loss

    def _pixels(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(
            logits,
            labels,
            weight=self.class_weights,
            ignore_index=IGNORE_INDEX,
            label_smoothing=self.optim.label_smoothing,
            reduction="none" if self.gamma else "sum",
        )
        known = labels != IGNORE_INDEX
        if self.gamma:
            index = torch.where(known, labels, 0).unsqueeze(1)
            log_p = torch.log_softmax(logits, dim=1).gather(1, index).squeeze(1)
            # Powers below 1 have no slope at 0.
            each = each * (-torch.expm1(log_p)).clamp(min=_SMOOTH) ** self.gamma
        if self.class_weights is None:
            return each.sum() / known.sum().clamp(min=1)
        return each.sum() / self.class_weights[labels[known]].sum().clamp(min=_SMOOTH)


def dice_loss(
    logits_NKHW: Tensor,
    labels_NHW: Tensor,
    *,
    weights: Tensor | None = None,
    classes: Literal["present", "all"] = "present",
) -> Tensor:
    """Give the weighted mean over classes of one minus the soft Dice coefficient over the batch.

    Args:
        logits_NKHW: Logits.
        labels_NHW: Class indices; 255 is ignored.
        weights: Weight of each class, shape (K,); None weighs all the same.
        classes: Whether only classes that occur in the batch count, or all. Of a class that does
            not occur the coefficient is almost 0 wherever the batch gives it any probability.
    """
    num_classes = logits_NKHW.shape[1]
    known = labels_NHW != IGNORE_INDEX
    safe = torch.where(known, labels_NHW, torch.zeros_like(labels_NHW))
    probability = torch.softmax(logits_NKHW, dim=1) * known.unsqueeze(1)
    hit = probability.gather(1, safe.unsqueeze(1)).flatten()
    index = safe.flatten()
    overlap = hit.new_zeros(num_classes).index_add(0, index, hit)
    counted = hit.new_zeros(num_classes).index_add(0, index, known.flatten().to(hit.dtype))
    total = probability.sum(dim=(0, 2, 3)) + counted
    dice = (2.0 * overlap + _SMOOTH) / (total + _SMOOTH)
    w = torch.ones_like(dice) if weights is None else weights
    if classes == "present":
        w = w * (counted > 0)
    return ((1.0 - dice) * w).sum() / w.sum().clamp(min=_SMOOTH)


def class_weights(rule: ClassWeights, counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Weigh classes by how many training pixels they have, or as given.

    Args:
        rule: "none" gives no weights; "inverse" those that fall with the share of the pixels, which
            sum to 1; "inverse-sqrt" those that fall with its root, whose mean over the pixels is 1;
            a tuple is taken as it is.
        counts: Pixels of each class, shape (K,).

    Returns:
        The weights, 0 by a rule for classes without a pixel; empty for "none".

    Raises:
        ValueError: If the tuple has another length than the counts.
    """
    if isinstance(rule, tuple):
        if len(rule) != len(counts):
            raise ValueError(
                f"class_weights has {len(rule)} values for {len(counts)} classes; give one per "
                "class"
            )
        return rule
    if rule == "none":
        return ()
    share = counts / max(int(counts.sum()), 1)
    power = 1.0 if rule == "inverse" else 0.5
    raw = np.where(counts > 0, np.maximum(share, 1e-12) ** -power, 0.0)
    mean = float(raw.sum() if rule == "inverse" else (raw * share).sum()) or 1.0
    return tuple(float(value) for value in raw / mean)
