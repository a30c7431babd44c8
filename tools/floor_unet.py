"""Train the floor that every aerial branch must beat, and print it beside a checkpoint.

    python tools/floor_unet.py flair2-d034 --checkpoint runs/... [--steps 420] [--json floor.json]

The floor is what one gets without segx in a quarter of an hour: a plain U-Net with a ResNet-18
encoder from random weights (segmentation-models-pytorch), 420 steps of 8 random crops of 256 px
with flips and quarter turns, AdamW at 1e-3 with a cosine decay, cross-entropy + Dice, FP32, aerial
bands only. It is measured by the same code as the checkpoint: whole patches of the validation
split, mIoU over the scored classes that hold at least 0.5 % of the pixels.
"""

import json as json_module
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import typer
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.dataset import Dataset, open_dataset
from runtime.errors import SegxError
from runtime.evaluate import evaluate
from runtime.manifest import AerialSpec, Normalization
from runtime.metrics import Scores
from runtime.sample import AERIAL_BANDS
from segx.console import progress, table
from trainkit.batches import Patches
from trainkit.checkpoint import load_checkpoint
from trainkit.config import InputConfig
from trainkit.losses import SegmentationLoss
from trainkit.recipe import OptimConfig
from trainkit.score import score_branches

CROP = 256
BATCH = 8
LR = 1e-3


@dataclass
class FloorModel:
    """The U-Net as something that `runtime.evaluate` can run."""

    network: torch.nn.Module
    precision: str = "fp32"

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Give the class map of a batch of tiles; confidence is not worked out."""
        with torch.inference_mode():
            logits = self.network.eval()(normalized(torch.from_numpy(feed["aerial"])))
        classes = logits.argmax(1).numpy().astype(np.uint8)
        return {"classes": classes, "confidence": np.zeros_like(classes)}


def normalized(aerial: torch.Tensor) -> torch.Tensor:
    """Scale uint8 bands by FLAIR's mean and standard deviation."""
    config = InputConfig()
    mean = torch.tensor(config.aerial_mean)[None, :, None, None]
    std = torch.tensor(config.aerial_std)[None, :, None, None]
    return (aerial.float() - mean) / std


def train(dataset: Dataset, steps: int, seed: int) -> tuple[FloorModel, float]:
    """Train the floor on the training split; returns it and the seconds it took."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    samples = [dataset.read(patch_id, None) for patch_id in dataset.ids("train")]
    classes = len(dataset.classes)
    network = smp.Unet(
        "resnet18", encoder_weights=None, in_channels=len(AERIAL_BANDS), classes=classes
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_of = SegmentationLoss(OptimConfig())
    begin = time.perf_counter()
    with progress("floor") as advance:
        for step in range(1, steps + 1):
            crops = [_crop(samples[i], rng) for i in rng.integers(len(samples), size=BATCH)]
            aerial = torch.from_numpy(np.stack([aerial for aerial, _ in crops]))
            labels = torch.from_numpy(np.stack([labels for _, labels in crops]))
            loss = loss_of(network.train()(normalized(aerial)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(step, steps, f"loss {loss.item():.3f}")
    return FloorModel(network), time.perf_counter() - begin


def _crop(sample: Any, rng: np.random.Generator) -> "tuple[NDArray[np.uint8], NDArray[np.uint8]]":
    height, width = sample.labels.shape
    row, col = rng.integers(height - CROP + 1), rng.integers(width - CROP + 1)
    turns, flip = int(rng.integers(4)), rng.integers(2)
    window = np.s_[..., row : row + CROP, col : col + CROP]
    pair = []
    for array in (sample.aerial[window], sample.labels[window]):
        turned = np.rot90(array, turns, axes=(-2, -1))
        pair.append(np.ascontiguousarray(turned[..., ::-1] if flip else turned))
    return pair[0], pair[1]


def floor_card(dataset: Dataset) -> ModelCard:
    """What evaluation must know of the floor."""
    config = InputConfig()
    return ModelCard(
        name="floor: U-Net ResNet-18",
        sha256="",
        verified=False,
        toy=False,
        aerial=AerialSpec(
            bands=AERIAL_BANDS,
            resolution_m=0.2,
            tile_size=512,
            halo=64,
            stride=32,
            halo_exact=False,
            normalization=Normalization(mean=config.aerial_mean, std=config.aerial_std),
        ),
        satellite=None,
        classes=dataset.classes,
    )


def print_table(columns: dict[str, Scores]) -> None:
    """Print IoU per class, mIoU and pixel accuracy of several models beside each other."""
    first = next(iter(columns.values()))
    rows: list[list[object]] = [
        [c.name, 100 * c.share, *(100 * s.classes[c.index].iou for s in columns.values())]
        for c in first.classes
    ]
    miou = [100 * scores.miou for scores in columns.values()]
    rows.append([f"mIoU ({first.scored_classes} classes)", None, *miou])
    rows.append(["pixel accuracy", None, *(100 * s.accuracy for s in columns.values())])
    table(["IoU %", "share %", *columns], rows)


def main(
    data: Path,
    checkpoint: Path | None = None,
    steps: int = 420,
    seed: int = 2022,
    split: str = "val",
    json: Path | None = None,
) -> None:
    """Train the floor, and print it beside a checkpoint's branches and their fusion."""
    try:
        dataset = open_dataset(data)
        floor, seconds = train(dataset, steps, seed)
        with progress("floor, measuring") as advance:
            found = evaluate(floor, floor_card(dataset), dataset, split, on_patch=advance)
        columns = {"floor": found.scores}
        if checkpoint is not None:
            columns |= _checkpoint_scores(checkpoint, dataset, split)
    except SegxError as error:
        typer.echo(f"floor_unet: {error}", err=True)
        sys.exit(1)
    print_table(columns)
    typer.echo(f"floor: {steps} steps of {BATCH} crops of {CROP} px in {seconds / 60:.1f} minutes")
    if json is not None:
        figures = {n: {"miou": s.miou, "accuracy": s.accuracy} for n, s in columns.items()}
        json.write_text(json_module.dumps(figures, indent=2) + "\n")


def _checkpoint_scores(path: Path, dataset: Dataset, split: str) -> dict[str, Scores]:
    """Scores of a checkpoint's branches alone and together, over the same patches."""
    checkpoint = load_checkpoint(path)
    patches = Patches(
        source=dataset,
        ids=dataset.ids(split),
        inputs=checkpoint.config.input,
        satellite=checkpoint.card.satellite,
        keep=False,
    )
    return score_branches(checkpoint.model, patches, dataset.classes, split=split).scores


if __name__ == "__main__":
    typer.run(main)
