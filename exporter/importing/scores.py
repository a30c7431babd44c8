"""Turn the scores of a stranger's graph into logits on the tile's grid."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainkit.models import ClassMap, Part, PartTensor, ProbabilityMap

from .ending import ScoreKind

LEAST = 1e-6
"""Probabilities below this are this, in a graph that may become one of FP16."""

LEAST_FP32 = 1e-37
"""The same where numbers are in FP32 for good."""


class Scores(nn.Module):
    """Scores of shape (N, K, h, w) to logits of shape (N, K, H, W), in the place of a fusion.

    One channel becomes two classes, of which the second is what it looks for: their softmax is its
    sigmoid. The logarithm of probabilities is logits of them. Smaller scores are enlarged
    bilinearly, on the grid of pixel centres, before any softmax, as models of stride 4 are trained.

    Args:
        kind: What the scores are.
        classes: Number of classes.
        side: Rows and columns of the tile.
        least: Probabilities below this are this.
    """

    def __init__(self, kind: ScoreKind, *, classes: int, side: int, least: float = LEAST) -> None:
        super().__init__()
        self.least = least
        self.kind: ScoreKind = kind
        self.classes = classes
        self.side = side

    def forward(self, scores: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W)."""
        logits = self._logits(scores)
        if logits.shape[-1] != self.side:
            size = (self.side, self.side)
            logits = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits

    def _logits(self, scores: Tensor) -> Tensor:
        is_single = scores.shape[1] == 1
        if self.kind == "logits":
            return torch.cat((scores * 0.0, scores), dim=1) if is_single else scores
        if is_single:
            scores = torch.cat((1.0 - scores, scores), dim=1)
        return scores.clamp(min=self.least).log()


def map_parts(scores: PartTensor, kind: ScoreKind, *, classes: int, side: int) -> tuple[Part, Part]:
    """Both variants of the last part: scores to the class map, and to probabilities.

    Args:
        scores: What it takes.
        kind: What the scores are.
        classes: Number of classes.
        side: Rows and columns of the tile.
    """
    head = Scores(kind, classes=classes, side=side)
    maps = tuple(
        PartTensor(name=name, dtype=torch.uint8, shape=(side, side))
        for name in ("classes", "confidence")
    )
    shares = PartTensor(name="probabilities", dtype=torch.float32, shape=(classes, side, side))
    return (
        Part(name="fusion", role="fusion", module=ClassMap(head), inputs=(scores,), outputs=maps),
        Part(
            name="fusion_probabilities",
            role="fusion",
            module=ProbabilityMap(head),
            inputs=(scores,),
            outputs=(shares,),
        ),
    )
