"""Agreement of a map with labels: the one place that says what mIoU is."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

IGNORE_INDEX = 255
"""Label of pixels that count for nothing; nodata in maps."""

MIN_SHARE = 0.005
"""A class counts towards mIoU when it holds at least this share of the evaluated pixels."""


@dataclass
class ConfusionMatrix:
    """Counts of pixels by label (rows) and prediction (columns)."""

    num_classes: int
    counts: NDArray[np.int64] = field(init=False)
    """Shape (K, K)."""

    def __post_init__(self) -> None:
        """Start from zero."""
        self.counts = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)

    def update(self, labels: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Add the pixels of one patch.

        Args:
            labels: Class indices, any shape; values of K and above (255: ignore) do not count.
            predicted: Class indices of the same shape; nodata (255) does not count either.

        Raises:
            ValueError: If the shapes differ.
        """
        if labels.shape != predicted.shape:
            raise ValueError(f"labels have shape {labels.shape}, predictions {predicted.shape}")
        k = self.num_classes
        known = (labels < k) & (predicted < k)
        pairs = labels[known].astype(np.int64) * k + predicted[known]
        self.counts += np.bincount(pairs, minlength=k * k).reshape(k, k)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How well one class was found; shares are 0 to 1, NaN where nothing can be said."""

    index: int
    name: str
    share: float
    """Share of the evaluated pixels that carry this label."""
    iou: float
    f1: float
    precision: float
    recall: float
    scored: bool
    """Whether the class counts towards mIoU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Agreement of a map with labels."""

    miou: float
    """Mean IoU of the scored classes; NaN without any."""
    accuracy: float
    """Share of all evaluated pixels that are right."""
    scored_classes: int
    pixels: int
    classes: tuple[ClassScore, ...]

    @property
    def worst(self) -> ClassScore | None:
        """The scored class of the lowest IoU."""
        return min((c for c in self.classes if c.scored), key=lambda c: c.iou, default=None)


def score(matrix: ConfusionMatrix, names: Sequence[str], candidates: Sequence[bool]) -> Scores:
    """Work out the scores of a confusion matrix.

    Args:
        matrix: Counts of the evaluated pixels.
        names: Name of each class, length K.
        candidates: Whether the data set scores each class (FLAIR: the first 12), length K. A
            candidate counts towards mIoU when it holds at least `MIN_SHARE` of the pixels.
    """
    counts = matrix.counts.astype(np.float64)
    total = counts.sum()
    hits, labelled, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = labelled / total
        iou = hits / (labelled + predicted - hits)
        f1 = 2 * hits / (labelled + predicted)
        precision, recall = hits / predicted, hits / labelled
        accuracy = float(np.divide(hits.sum(), total))
    scored = np.asarray(candidates, dtype=np.bool_) & (share >= MIN_SHARE)
    return Scores(
        miou=float(iou[scored].mean()) if scored.any() else float("nan"),
        accuracy=accuracy,
        scored_classes=int(scored.sum()),
        pixels=int(total),
        classes=tuple(
            ClassScore(
                index=k,
                name=names[k],
                share=float(share[k]),
                iou=float(iou[k]),
                f1=float(f1[k]),
                precision=float(precision[k]),
                recall=float(recall[k]),
                scored=bool(scored[k]),
            )
            for k in range(matrix.num_classes)
        ),
    )
