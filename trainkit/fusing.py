"""Choose how the branches' logits are weighed, on the patches that training has set aside.

With more than one aerial branch these share the aerial weight equally, so that one number, the
satellite branch's weight, says it all: per model, or per class.

Reference: Dimitrovski et al. 2024 (LF-DLM), arXiv 2410.00469, which gives one fixed pair.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.classes import LandCoverClass
from runtime.files import write_text
from runtime.metrics import ConfusionMatrix, Scores, score

from .batches import Patches, labels_of
from .config import FusionWeights
from .models import LateFusionModel
from .torch_model import best_device, feed_of

GRID = tuple(round(0.05 * i, 2) for i in range(21))
"""Weights of the satellite branch that are tried."""

PIXEL_STEP = 4
"""Every fourth pixel in both directions is looked at: neighbours say the same."""

MOST_PATCHES = 256
"""No more patches are looked at; 1.7 MB each."""

LEAST_GAIN = 5e-4
"""A class takes another weight than the model when mIoU gains more than this."""

PASSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneLogits:
    """Logits of both kinds of branches at the same pixels."""

    aerial: NDArray[np.float32]
    """Mean over the aerial branches, shape (K, pixels)."""
    satellite: NDArray[np.float32]
    """Shape (K, pixels)."""
    labels: NDArray[np.uint8]
    """Class indices, shape (pixels,); 255 is ignored."""
    classes: tuple[LandCoverClass, ...]

    def scores(self, weights: NDArray[np.float32]) -> Scores:
        """Score one satellite weight per class, shape (K,)."""
        return self._score(self.fused(weights).argmax(axis=0).astype(np.uint8))

    def fused(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fuse with one satellite weight per class, shape (K,)."""
        w = weights[:, None]
        fused: NDArray[np.float32] = (1.0 - w) * self.aerial + w * self.satellite
        return fused

    def scores_of_class(self, k: int, weights: NDArray[np.float32]) -> list[Scores]:
        """Score every weight of `GRID` for one class, where the others keep theirs."""
        fused = self.fused(weights)
        fused[k] = -np.inf
        rival, best = fused.argmax(axis=0).astype(np.uint8), fused.max(axis=0)
        results = []
        for w in GRID:
            # An equal score goes to the lower index, as in `argmax`.
            own = (1.0 - np.float32(w)) * self.aerial[k] + np.float32(w) * self.satellite[k]
            wins = (own > best) | ((own == best) & (k < rival))
            results.append(self._score(np.where(wins, np.uint8(k), rival)))
        return results

    def _score(self, predicted: NDArray[np.uint8]) -> Scores:
        matrix = ConfusionMatrix(len(self.classes))
        matrix.update(self.labels, predicted)
        return score(matrix, [c.name for c in self.classes], [c.scored for c in self.classes])


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One weight that was tried."""

    scope: str
    """`all` for one weight for all classes, else the class that alone was changed."""
    satellite_weight: float
    miou: float
    accuracy: float
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionChoice:
    """The weights of all branches, and what was tried."""

    weights: NDArray[np.float32]
    """Shape (branches, K)."""
    rows: tuple[SweepRow, ...]


def choose_weights(
    wanted: FusionWeights,
    model: LateFusionModel,
    tune: Patches,
    classes: tuple[LandCoverClass, ...],
) -> FusionChoice:
    """Choose the fusion weights of a trained model.

    Args:
        wanted: The weights themselves, or how to choose them.
        model: Its branches are trained; its own fusion weights are neither used nor changed.
        tune: Patches set aside from training.
        classes: Classes by index.
    """
    names, count = model.branch_names, len(classes)
    if isinstance(wanted, tuple):
        fixed = np.repeat(np.array(wanted, dtype=np.float32)[:, None], count, axis=1)
        return FusionChoice(weights=fixed, rows=())
    if "satellite" not in names or len(names) == 1:
        equal = np.full((len(names), count), 1.0 / len(names), dtype=np.float32)
        return FusionChoice(weights=equal, rows=())
    logits = collect(model, tune, classes)
    weights, rows = sweep(logits)
    if wanted == "per-class":
        weights, more = search_per_class(logits, weights)
        rows += more
    return FusionChoice(weights=spread_weights(weights, names), rows=tuple(rows))


def sweep(logits: TuneLogits) -> tuple[NDArray[np.float32], list[SweepRow]]:
    """Try every weight of `GRID` for all classes together; the lowest of the best is taken."""
    count = len(logits.classes)
    tried = [logits.scores(np.full(count, w, dtype=np.float32)) for w in GRID]
    best = _best(tried)
    rows = [_row("all", w, result, w == GRID[best]) for w, result in zip(GRID, tried, strict=True)]
    return np.full(count, GRID[best], dtype=np.float32), rows


def search_per_class(
    logits: TuneLogits, start: NDArray[np.float32]
) -> tuple[NDArray[np.float32], list[SweepRow]]:
    """Change one class's weight after the other as long as mIoU gains.

    Args:
        logits: Logits on the patches set aside.
        start: Satellite weight of each class, shape (K,).
    """
    weights, rows = start.copy(), []
    reached = logits.scores(weights).miou
    for _ in range(PASSES):
        before = reached
        for k, land_cover in enumerate(logits.classes):
            tried = logits.scores_of_class(k, weights)
            best = _best(tried)
            gains = tried[best].miou > reached + LEAST_GAIN
            rows += [
                _row(land_cover.name, w, result, gains and w == GRID[best])
                for w, result in zip(GRID, tried, strict=True)
            ]
            if gains:
                weights[k], reached = GRID[best], tried[best].miou
        if reached == before:
            break
    return weights, rows


def spread_weights(satellite: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """Give each branch its weight per class, shape (branches, K): aerial ones share equally."""
    aerial = (1.0 - satellite) / (len(names) - 1)
    return np.stack([satellite if name == "satellite" else aerial for name in names])


@torch.no_grad()
def collect(
    model: LateFusionModel, tune: Patches, classes: tuple[LandCoverClass, ...]
) -> TuneLogits:
    """Run the branches on the patches set aside."""
    model = model.eval().to(best_device())
    step = -(-len(tune) // MOST_PATCHES)
    pixels = slice(PIXEL_STEP // 2, None, PIXEL_STEP)
    parts: dict[str, list[NDArray[np.float32]]] = {"aerial": [], "satellite": []}
    labels = []
    for index in range(0, len(tune), step):
        sample = tune[index]
        logits = model.own_logits(feed_of(sample, model))
        aerial = [value for name, value in logits.items() if name != "satellite"]
        both = {"aerial": torch.stack(aerial).mean(dim=0), "satellite": logits["satellite"]}
        for name, value in both.items():
            parts[name].append(value[0, :, pixels, pixels].flatten(1).cpu().numpy())
        labels.append(labels_of(sample)[pixels, pixels].ravel())
    return TuneLogits(
        aerial=np.concatenate(parts["aerial"], axis=1),
        satellite=np.concatenate(parts["satellite"], axis=1),
        labels=np.concatenate(labels),
        classes=classes,
    )


def write_sweep(path: Path, rows: Sequence[SweepRow]) -> None:
    """Write what was tried as CSV; mIoU and accuracy are 0 to 1."""
    stream = StringIO()
    writer = csv.writer(stream)
    writer.writerow(["scope", "satellite_weight", "miou", "accuracy", "chosen"])
    for row in rows:
        scores = (f"{row.miou:.6f}", f"{row.accuracy:.6f}")
        writer.writerow([row.scope, row.satellite_weight, *scores, int(row.chosen)])
    write_text(path, stream.getvalue())


def _best(tried: Sequence[Scores]) -> int:
    """Index of the highest mIoU, then accuracy; the first of equals."""
    return max(
        range(len(tried)),
        key=lambda i: (np.nan_to_num(tried[i].miou), np.nan_to_num(tried[i].accuracy), -i),
    )


def _row(scope: str, weight: float, result: Scores, chosen: bool) -> SweepRow:
    return SweepRow(
        scope=scope,
        satellite_weight=weight,
        miou=result.miou,
        accuracy=result.accuracy,
        chosen=chosen,
    )
