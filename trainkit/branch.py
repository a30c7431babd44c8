"""One branch in training: its loss, its optimizer, and how it does on the patches set aside.

A Lightning epoch is the stretch between two checks of the patches set aside, whatever the number of
passes over the training patches: a run ends, is checked and is saved at the end of such a stretch,
so that it can go on from there exactly.
"""

import copy
from dataclasses import dataclass
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from runtime.classes import LandCoverClass
from runtime.metrics import ConfusionMatrix, score

from .batches import (
    Draws,
    Patches,
    Role,
    Share,
    check_loader,
    step_batches,
    train_loader,
)
from .losses import SegmentationLoss
from .models import AerialBranch
from .models.fusion import AerialUpsample, SatelliteUpsample
from .optim import MovingAverage, learning_rate, parameter_groups
from .recipe import OptimConfig

# Shape letters: N batch, K classes, H W aerial pixels.

AUXILIARY_STRIDE = 8
"""Aerial pixels per pixel of the auxiliary head's logits, which are compared with labels there."""

TUNE_LOSS, TUNE_MIOU, TUNE_ACCURACY = "tune_loss", "tune_miou", "tune_accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPlan:
    """How one branch is trained."""

    name: str
    role: Role
    optim: OptimConfig
    steps: int
    """Steps of the optimizer."""
    seed: int
    classes: tuple[LandCoverClass, ...]
    class_weights: tuple[float, ...]
    """Weights in cross-entropy; empty weighs all classes the same."""
    workers: int
    """Processes that load patches; 0 loads them between the steps."""

    @property
    def checks(self) -> int:
        """How often the patches set aside are looked at."""
        return max(1, min(self.optim.checks, self.steps))

    def stretch(self, index: int) -> range:
        """Steps before the check of this number."""
        first, last = (self.steps * i // self.checks for i in (index, index + 1))
        return range(first, last)

    @property
    def draws_per_step(self) -> int:
        """Patches, or crops, per step of the optimizer."""
        return self.optim.batch * self.optim.accumulate


class BranchTraining(pl.LightningModule):
    """A branch with all that its training needs.

    Args:
        branch: The branch; trained in place.
        resize: Brings its logits to the tile's grid.
        plan: How it is trained.
        draws: Training patches.
        tune: Patches set aside.
    """

    def __init__(
        self, branch: nn.Module, resize: nn.Module, plan: BranchPlan, draws: Draws, tune: Patches
    ) -> None:
        super().__init__()
        self.branch = branch
        self.resize = thinned(resize, plan.optim.loss_stride)
        self.plan = plan
        self.draws = draws
        self.tune = tune
        self.loss = SegmentationLoss(
            dice_weight=plan.optim.dice_weight,
            label_smoothing=plan.optim.label_smoothing,
            class_weights=plan.class_weights,
        )
        ema = plan.optim.ema
        self.average = MovingAverage(branch, ema) if ema else None
        self.matrix = torch.zeros(len(plan.classes), len(plan.classes), dtype=torch.int64)

    @property
    def kept(self) -> nn.Module:
        """The weights that become the model: the moving average where there is one."""
        return self.branch if self.average is None else self.average.module

    def on_fit_start(self) -> None:
        """Bring the moving average to the device of the branch."""
        if self.average is not None:
            self.average.module.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Start each stretch from its own seed, so that one that is resumed is the same."""
        torch.manual_seed(_mixed(self.plan.seed, self.current_epoch, self.global_rank))

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Give the loss of one forward pass."""
        plan = self.plan
        labels_NHW = thin(batch["labels"], plan.optim.loss_stride)
        if plan.role == "satellite":
            logits_NKHW, auxiliary_NKHW = self._logits(self.branch, batch), None
        else:
            branch = cast(AerialBranch, self.branch)
            logits_NKHW, auxiliary_NKHW = branch.forward_train(_channels_last(batch["aerial"]))
        loss: Tensor = self.loss(self.resize(logits_NKHW.float()), labels_NHW)
        if auxiliary_NKHW is not None:
            labels_NHW = thin(batch["labels"], AUXILIARY_STRIDE)
            loss = loss + plan.optim.aux_weight * self.loss(auxiliary_NKHW.float(), labels_NHW)
        self.log("loss", loss.detach(), batch_size=len(labels_NHW))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Follow each step of the optimizer with the moving average."""
        if self.average is not None and (batch_idx + 1) % self.plan.optim.accumulate == 0:
            self.average.update(self.branch, self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Begin to count, with the first process's statistics of the norms everywhere."""
        self.matrix = torch.zeros_like(self.matrix, device=self.device)
        if self.trainer.world_size > 1:
            for buffer in self.kept.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        """Count how one patch is classified."""
        logits_NKHW = self.resize(self._logits(self.kept, batch).float())
        labels_NHW = thin(batch["labels"], self.plan.optim.loss_stride)
        self.log(TUNE_LOSS, self.loss(logits_NKHW, labels_NHW), sync_dist=True, batch_size=1)
        matrix = ConfusionMatrix(len(self.plan.classes))
        predicted = logits_NKHW.argmax(dim=1).to(torch.uint8)
        matrix.update(labels_NHW.cpu().numpy(), predicted.cpu().numpy())
        self.matrix += torch.from_numpy(matrix.counts).to(self.device)

    def on_validation_epoch_end(self) -> None:
        """Score all processes' patches together."""
        counts = self.trainer.strategy.reduce(self.matrix, reduce_op="sum")
        matrix = ConfusionMatrix(len(self.plan.classes))
        matrix.counts = cast(Tensor, counts).cpu().numpy()
        classes = self.plan.classes
        scores = score(matrix, [c.name for c in classes], [c.scored for c in classes])
        # Patches without any scored class compare as worst rather than as not comparable.
        for name, value in ((TUNE_MIOU, scores.miou), (TUNE_ACCURACY, scores.accuracy)):
            self.log(name, float(np.nan_to_num(value)), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW, and a learning rate that changes with every step."""
        optim = self.plan.optim
        optimizer = torch.optim.AdamW(parameter_groups(self.branch, optim))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(step, self.plan.steps, optim) / optim.lr
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def train_dataloader(self) -> "DataLoader[dict[str, Tensor]]":
        """Load the draws of the stretch that begins."""
        plan = self.plan
        batches = step_batches(
            plan.stretch(self.current_epoch),
            plan.draws_per_step,
            plan.optim.accumulate,
            self._share,
        )
        return train_loader(self.draws, batches, plan.workers)

    def val_dataloader(self) -> "DataLoader[dict[str, Tensor]]":
        """Load this process's part of the patches set aside."""
        return check_loader(self.tune, self.plan.role, self._share, self.plan.workers)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the moving average with the rest."""
        if self.average is not None:
            checkpoint["average"] = self.average.module.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the moving average."""
        if self.average is not None:
            self.average.module.load_state_dict(checkpoint["average"])

    @property
    def _share(self) -> Share:
        return Share(rank=self.trainer.global_rank, processes=self.trainer.world_size)

    def _logits(self, branch: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        if self.plan.role == "satellite":
            names = ("satellite", "date_mask", "days")
            return cast(Tensor, branch(*(batch[name] for name in names)))
        return cast(Tensor, branch(_channels_last(batch["aerial"])))


def _channels_last(aerial_NCHW: Tensor) -> Tensor:
    return aerial_NCHW.contiguous(memory_format=torch.channels_last)


class AerialResize(nn.Module):
    """Aerial logits to every n-th pixel of the tile.

    Args:
        stride: Aerial pixels per pixel of the logits.
        every: The n.
    """

    def __init__(self, stride: int, every: int) -> None:
        super().__init__()
        self.stride, self.every = stride, every

    def forward(self, logits_NKhw: Tensor) -> Tensor:
        """Enlarge coarser logits bilinearly, and take every n-th pixel of finer ones."""
        if self.stride <= self.every:
            return thin(logits_NKhw, self.every // self.stride)
        factor = self.stride / self.every
        return nn.functional.interpolate(logits_NKhw, scale_factor=factor, mode="bilinear")


def thinned(resize: nn.Module, stride: int) -> nn.Module:
    """Make the way of a branch's logits to every n-th pixel of the tile, in both directions.

    Args:
        resize: The way to all pixels.
        stride: The n; 1, 2 or 4.
    """
    if isinstance(resize, AerialUpsample):
        return AerialResize(resize.stride, stride)
    if not isinstance(resize, SatelliteUpsample):
        raise TypeError(f"{type(resize).__name__} brings no logits to a tile's grid")
    fewer = copy.deepcopy(resize)
    fewer.weights_Hh = fewer.weights_Hh[stride // 2 :: stride]
    return fewer


def thin(pixels: Tensor, stride: int) -> Tensor:
    """Give every n-th pixel of the last two dimensions, from the middle of the first n."""
    return pixels[..., stride // 2 :: stride, stride // 2 :: stride]


def _mixed(*numbers: int) -> int:
    """Mix several numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
