"""Measure a bundle and the checkpoint that it comes from on the same patches, and judge it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.backends import BackendChoice
from runtime.bundle import Bundle
from runtime.card import Runnable
from runtime.dataset import Dataset
from runtime.datasets.splits import Split
from runtime.evaluate import evaluate
from runtime.manifest import Accuracy
from runtime.model import open_model

MIOU_BUDGET = 0.0005
"""By how much an FP32 bundle's mIoU, as a share, may differ from its checkpoint's."""

OnPatch = Callable[[int, int], None]
"""Called with the patches done and the patches in all, of both models together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalData:
    """What a bundle is measured on."""

    dataset: Dataset
    split: Split
    limit: int | None
    """Patches at most, evenly spread over the split."""

    @property
    def name(self) -> str:
        """Name of the data set's folder."""
        return self.dataset.root.resolve().name

    def origin(self) -> dict[str, str]:
        """What a manifest says of it."""
        return {
            "name": self.name,
            "split": self.split,
            "fingerprint": self.dataset.fingerprint(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a bundle may be called verified."""

    verified: bool
    missed: bool
    """Whether a measurement was made and is out of budget."""
    text: str
    """Why, in one sentence."""


def measure(
    bundle: Bundle,
    reference: Runnable,
    data: EvalData,
    choice: BackendChoice,
    *,
    on_patch: OnPatch = lambda done, total: None,
) -> Accuracy | None:
    """Measure a bundle through its files, and its checkpoint in PyTorch.

    Args:
        bundle: The bundle; its folder need not be final yet.
        reference: The checkpoint's model.
        data: Patches with labels.
        choice: Library that runs the bundle.
        on_patch: Called after every patch.

    Returns:
        The accuracy; None if the patches hold no class that is scored.

    Raises:
        DataError: If the data has no such split, no labels, or other classes.
    """
    found, expected = (
        evaluate(
            model,
            bundle.card,
            data.dataset,
            data.split,
            limit=data.limit,
            on_patch=lambda done, total, first=first: on_patch(done + first * total, 2 * total),  # type: ignore[misc]
        )
        for first, model in enumerate((open_model(bundle, choice), reference))
    )
    scores = found.scores
    if not scores.scored_classes:
        return None
    return Accuracy(
        dataset=data.name,
        split=data.split,
        patches=found.patches,
        miou=scores.miou,
        accuracy=scores.accuracy,
        scored_classes=scores.scored_classes,
        iou={item.name: item.iou for item in scores.classes if item.scored},
        reference_miou=expected.scores.miou,
        executed=f"{choice.name} {bundle.manifest.precision}",
    )


def judge(
    steps: Mapping[str, int],
    data: EvalData | None,
    accuracy: Accuracy | None,
    *,
    reference: str = "the checkpoint",
) -> Verdict:
    """Decide whether a bundle whose stages agree is verified.

    Args:
        steps: Optimizer steps of each branch; 0 for random weights. Empty if they are not known.
        data: What there was to measure on.
        accuracy: What was measured; None if nothing could be.
        reference: What the bundle was made of.
    """
    untrained = [branch for branch, count in steps.items() if not count]
    if untrained:
        text = f"untrained weights ({', '.join(untrained)})"
        return Verdict(verified=False, missed=False, text=text)
    if data is None:
        text = "no data to measure on"
        return Verdict(verified=False, missed=False, text=text)
    if accuracy is None:
        text = f"no scored class in {data.name} ({data.split})"
        return Verdict(verified=False, missed=False, text=text)
    change = accuracy.miou - accuracy.reference_miou
    measured = (
        f"mIoU {100 * accuracy.miou:.2f} % against {100 * accuracy.reference_miou:.2f} % of "
        f"{reference} on {accuracy.patches} patches, {accuracy.scored_classes} classes"
    )
    allowed = f"{100 * MIOU_BUDGET:.2f} points are allowed"
    if abs(change) > MIOU_BUDGET:
        text = f"{measured}; {allowed}"
        return Verdict(verified=False, missed=True, text=text)
    return Verdict(verified=True, missed=False, text=f"{measured}; {allowed}")
