"""One unit in training: its loss, its optimizer, and how it does on the patches set aside.

A Lightning epoch is the stretch between two checks of the patches set aside, whatever the number of
passes over the training patches: a run ends, is checked and is saved at the end of such a stretch,
so that it can go on from there exactly.
"""

from dataclasses import dataclass
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from runtime.classes import LandCoverClass
from runtime.errors import ConfigError
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
from .heads import UnitHeads, labels_at, thin
from .losses import SegmentationLoss
from .optim import BETAS, MovingAverage, encoders, learning_rate, momentum, parameter_groups
from .recipe import OptimConfig

# Shape letters: N batch, K classes, H W aerial pixels.

TUNE_LOSS, TUNE_MIOU, TUNE_ACCURACY = "tune_loss", "tune_miou", "tune_accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPlan:
    """How one unit, a branch or a joint model, is trained."""

    name: str
    role: Role
    """What it takes of a sample."""
    optim: OptimConfig
    steps: int
    """Steps of the optimizer."""
    seed: int
    classes: tuple[LandCoverClass, ...]
    class_weights: tuple[float, ...]
    """Weights in cross-entropy; empty weighs all classes the same."""
    workers: int
    """Processes that load patches; 0 loads them between the steps."""
    frozen: int = 0
    """Steps, from the first, that leave the encoder as it is."""

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
    """A unit with all that its training needs.

    Args:
        branch: A branch or a joint model; trained in place.
        heads: How it is run.
        plan: How it is trained.
        draws: Training patches.
        tune: Patches set aside.

    Raises:
        ConfigError: If an encoder is to be left as it is and there is none.
    """

    def __init__(
        self, branch: nn.Module, heads: UnitHeads, plan: BranchPlan, draws: Draws, tune: Patches
    ) -> None:
        super().__init__()
        if plan.frozen and not encoders(branch):
            raise ConfigError(
                f"training.{plan.role} leaves the encoder as it is for {plan.frozen} steps, and "
                f"{plan.name} has none; expected a branch with an encoder; leave frozen_epochs and "
                "frozen_steps out"
            )
        self.branch = branch
        self.heads = heads
        self.plan = plan
        self.draws = draws
        self.tune = tune
        self.loss = SegmentationLoss(plan.optim, plan.class_weights)
        ema = plan.optim.ema
        self.average = MovingAverage(branch, ema) if ema else None
        self.matrix = torch.zeros(len(plan.classes), len(plan.classes), dtype=torch.int64)

    @property
    def kept(self) -> nn.Module:
        """The weights that become the model: the moving average where there is one."""
        return self.branch if self.average is None else self.average.module

    def on_fit_start(self) -> None:
        """Put all into training, and the moving average on the device of the branch."""
        self.branch.train()
        if self.average is not None:
            self.average.module.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Start each stretch from its own seed, so that one that is resumed is the same."""
        torch.manual_seed(_mixed(self.plan.seed, self.current_epoch, self.global_rank))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Keep the statistics of an encoder's norms while it is left as it is."""
        if self.plan.frozen:
            for encoder in encoders(self.branch):
                encoder.train(self.global_step >= self.plan.frozen)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Give the loss of one forward pass."""
        labels_NHW = batch["labels"]
        main, *others = self.heads.train_heads(self.branch, batch)
        loss: Tensor = main.weight * self.loss(main.logits.float(), labels_at(main, labels_NHW))
        for head in others:
            found = self.loss(head.logits.float(), labels_at(head, labels_NHW))
            loss = loss + head.weight * found
        self.log("loss", loss.detach(), batch_size=len(labels_NHW))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the momentum of the step, and take the gradient from an encoder that is left."""
        step, plan = self.global_step, self.plan
        for group in optimizer.param_groups:
            group["betas"] = (momentum(step, plan.steps, plan.optim), BETAS[1])
        if step < plan.frozen:
            for encoder in encoders(self.branch):
                encoder.zero_grad()

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
        logits_NKHW = self.heads.logits(self.kept, batch)
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
        optimizer = torch.optim.AdamW(parameter_groups(self.branch, optim), betas=BETAS)
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


def _mixed(*numbers: int) -> int:
    """Mix several numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
