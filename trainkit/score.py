"""Measure a model's branches one by one and together, on the same patches."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch
from torch import Tensor

from runtime.classes import LandCoverClass
from runtime.files import write_text
from runtime.metrics import ConfusionMatrix, Scores, score
from runtime.sample import Sample

from .batches import Patches, labels_of
from .models import LandCoverModel, LateFusionModel
from .torch_model import best_device, feed_of

OnPatch = Callable[[int, int], None]
"""Called with the patches done and the patches in all."""

FUSED = "fused"


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchScores:
    """Scores of a model on one split."""

    split: str
    patches: int
    scores: dict[str, Scores]
    """By what is scored: `fused`, the model's map, and `aerial` and `satellite` where there are
    branches with a map of their own."""

    @property
    def fused(self) -> Scores:
        """Scores of the whole model."""
        return self.scores[FUSED]


@torch.no_grad()
def score_branches(
    model: LandCoverModel,
    patches: Patches,
    classes: tuple[LandCoverClass, ...],
    *,
    split: str,
    on_patch: OnPatch = lambda done, total: None,
) -> BranchScores:
    """Score the aerial branches alone, the satellite branch alone, and the whole model, in FP32."""
    model = model.eval().to(best_device())
    matrices: dict[str, ConfusionMatrix] = {}
    for done, sample in enumerate(patches, start=1):
        for name, logits in maps(model, sample).items():
            predicted = logits.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
            matrix = matrices.setdefault(name, ConfusionMatrix(len(classes)))
            matrix.update(labels_of(sample), predicted)
        on_patch(done, len(patches))
    names, scored = [c.name for c in classes], [c.scored for c in classes]
    return BranchScores(
        split=split,
        patches=len(patches),
        scores={name: score(matrix, names, scored) for name, matrix in matrices.items()},
    )


def maps(model: LandCoverModel, sample: Sample) -> dict[str, Tensor]:
    """Give the logits of each kind of branch, and of the model, on one sample."""
    feed = feed_of(sample, model)
    logits = model.own_logits(feed)
    aerial = [value for name, value in logits.items() if name != "satellite"]
    results: dict[str, Tensor] = {}
    if aerial:
        results["aerial"] = torch.stack(aerial).mean(dim=0)
    if "satellite" in logits:
        results["satellite"] = logits["satellite"]
    # The branches have run: a late fusion needs only their sum.
    results[FUSED] = model.weigh(logits) if isinstance(model, LateFusionModel) else model(feed)
    return results


def remarks(results: BranchScores) -> list[str]:
    """Say in a sentence each where a comparison did not come out as hoped."""
    miou = {name: scores.miou for name, scores in results.scores.items()}
    if not {"aerial", "satellite"} <= set(miou):
        return []
    lines = []
    if not miou["satellite"] < miou["aerial"]:
        lines.append(
            f"The satellite branch alone ({100 * miou['satellite']:.2f} % mIoU) is not below the "
            f"aerial branch alone ({100 * miou['aerial']:.2f} %)."
        )
    for name in ("aerial", "satellite"):
        if not miou[FUSED] > miou[name]:
            lines.append(
                f"The fused map ({100 * miou[FUSED]:.2f} % mIoU) is not above the {name} branch "
                f"alone ({100 * miou[name]:.2f} %)."
            )
    return lines


def write_table(path: Path, results: BranchScores) -> None:
    """Write the IoU of each class and the mIoU as CSV; all values are 0 to 1."""
    stream = StringIO()
    writer = csv.writer(stream)
    names = list(results.scores)
    writer.writerow(["class", "share", "scored", *(f"iou_{name}" for name in names)])
    for k, fused in enumerate(results.fused.classes):
        ious = (f"{results.scores[name].classes[k].iou:.6f}" for name in names)
        writer.writerow([fused.name, f"{fused.share:.6f}", int(fused.scored), *ious])
    for label, key in (("mIoU", "miou"), ("accuracy", "accuracy")):
        values = (f"{getattr(results.scores[name], key):.6f}" for name in names)
        writer.writerow([label, "", results.fused.scored_classes, *values])
    write_text(path, stream.getvalue())
