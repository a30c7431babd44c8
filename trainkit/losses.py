"""Cross-entropy and Dice between logits and a map of class indices."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from runtime.metrics import IGNORE_INDEX

# Shape letters: N batch, K classes, H W pixels.

_SMOOTH = 1e-6


class SegmentationLoss(nn.Module):
    """Cross-entropy plus weighted Dice, in float32 whatever the logits' type.

    Args:
        dice_weight: Weight of the Dice loss; that of cross-entropy is 1.
        label_smoothing: Share of the probability that cross-entropy spreads over all classes.
        class_weights: Weight of each class in cross-entropy, length K; empty weighs all the same.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        dice_weight: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.label_smoothing = label_smoothing
        weights = torch.tensor(list(class_weights)) if len(class_weights) else None
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits_NKHW: Tensor, labels_NHW: Tensor) -> Tensor:
        """Give the loss as a scalar; 0 where every pixel is ignored.

        Args:
            logits_NKHW: Logits on the grid of the labels.
            labels_NHW: Class indices, any integer type; 255 is ignored.
        """
        with torch.autocast(logits_NKHW.device.type, enabled=False):
            logits, labels = logits_NKHW.float(), labels_NHW.long()
            loss = self._cross_entropy(logits, labels)
            if self.dice_weight:
                loss = loss + self.dice_weight * dice_loss(logits, labels)
        return loss

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        total = F.cross_entropy(
            logits,
            labels,
            weight=self.class_weights,
            ignore_index=IGNORE_INDEX,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        known = labels != IGNORE_INDEX
        if self.class_weights is None:
            return total / known.sum().clamp(min=1)
        return total / self.class_weights[labels[known]].sum().clamp(min=_SMOOTH)


def dice_loss(logits_NKHW: Tensor, labels_NHW: Tensor) -> Tensor:
    """One minus the soft Dice coefficient over the batch, mean of the classes that occur in it."""
    num_classes = logits_NKHW.shape[1]
    known = labels_NHW != IGNORE_INDEX
    safe = torch.where(known, labels_NHW, torch.zeros_like(labels_NHW))
    probability = torch.softmax(logits_NKHW, dim=1) * known.unsqueeze(1)
    hit = probability.gather(1, safe.unsqueeze(1)).flatten()
    index = safe.flatten()
    overlap = hit.new_zeros(num_classes).index_add(0, index, hit)
    counted = hit.new_zeros(num_classes).index_add(0, index, known.flatten().to(hit.dtype))
    dice = 2.0 * overlap / (probability.sum(dim=(0, 2, 3)) + counted + _SMOOTH)
    present = (counted > 0).to(hit.dtype)
    return ((1.0 - dice) * present).sum() / present.sum().clamp(min=1.0)


def class_weights(
    rule: Literal["none", "inverse-sqrt"], counts: NDArray[np.int64]
) -> tuple[float, ...]:
    """Weigh classes by how many training pixels they have.

    Args:
        rule: "none" gives no weights, "inverse-sqrt" those that fall with the root of the share.
        counts: Pixels of each class, shape (K,).

    Returns:
        Weights whose mean over the pixels is 1, 0 for classes without a pixel; empty for "none".
    """
    if rule == "none":
        return ()
    share = counts / max(int(counts.sum()), 1)
    raw = np.where(counts > 0, 1.0 / np.sqrt(np.maximum(share, 1e-12)), 0.0)
    mean = float((raw * share).sum()) or 1.0
    return tuple(float(value) for value in raw / mean)
