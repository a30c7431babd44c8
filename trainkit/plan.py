"""Plan the training of each unit from the config, the data and the options of the run."""

from dataclasses import dataclass, replace
from pathlib import Path

from runtime.products import OffsetOption

from .augment import Augmenter
from .batches import Draws
from .branch import BranchPlan, BranchTraining
from .config import TrainConfig
from .fit import FitOptions, Strategy
from .heads import heads_of, role_of
from .losses import class_weights
from .models import LandCoverModel
from .recipe import OptimConfig
from .survey import PatchSets, Survey

STAGE_SEEDS = 1000
"""Distance of the seeds of two stages, which draw other patches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What a run is started with beside its config."""

    segx_version: str
    steps: int | None = None
    """Steps of every unit, or of each of its stages, in place of the config's, without an early
    stop; 0 trains nothing: weights that `init` does not give are random, not pretrained ones."""
    init: Path | None = None
    """Checkpoint whose weights a new run begins with."""
    devices: int = 1
    """Processes that share each batch: one per GPU, or shares of the CPU."""
    strategy: Strategy = "auto"
    workers: int = 2
    """Processes that load patches where these do not fit in memory."""
    satellite_offset: OffsetOption = "auto"
    """Radiometric offset of the Sentinel-2 series, or how it is found."""
    resume: bool = False
    """Whether to go on with the run in the folder."""

    def fit_options(self, config: TrainConfig) -> FitOptions:
        """On what the branches are trained."""
        return FitOptions(devices=self.devices, strategy=self.strategy, amp=config.training.amp)


def plan_stages(
    model: LandCoverModel, name: str, data: Survey, options: TrainOptions
) -> tuple[BranchPlan, ...]:
    """Plan all stages of the training of one unit."""
    optim: OptimConfig = getattr(model.config.training, role_of(model, name))
    stages = range(len(optim.trainings))
    return tuple(plan_branch(model, name, data, options, stage) for stage in stages)


def plan_branch(
    model: LandCoverModel, name: str, data: Survey, options: TrainOptions, stage: int = 0
) -> BranchPlan:
    """Plan one stage, counted from 0, of the training of one unit; each has its own seed."""
    config, role = model.config, role_of(model, name)
    table: OptimConfig = getattr(config.training, role)
    optim = table.trainings[stage]
    if options.steps is not None:
        optim = replace(optim, patience=0)
    patches = data.splits["train"] - data.tune
    steps = branch_steps(optim, patches) if options.steps is None else options.steps
    return BranchPlan(
        name=name,
        role=role,
        optim=optim,
        steps=steps,
        seed=config.seed + model.units.index(name) + STAGE_SEEDS * stage,
        classes=data.classes,
        class_weights=class_weights(optim.class_weights, data.counts),
        workers=0 if data.in_memory else options.workers,
        frozen=min(frozen_steps(optim, patches), steps),
    )


def branch_steps(optim: OptimConfig, patches: int) -> int:
    """Steps of the optimizer that a config asks for, over this many patches."""
    return optim.steps or optim.epochs * _steps_per_epoch(optim, patches)


def frozen_steps(optim: OptimConfig, patches: int) -> int:
    """Steps that leave the encoder as it is, over this many patches."""
    return optim.frozen_steps or optim.frozen_epochs * _steps_per_epoch(optim, patches)


def _steps_per_epoch(optim: OptimConfig, patches: int) -> int:
    return -(-patches // (optim.batch * optim.accumulate))


def branch_training(model: LandCoverModel, plan: BranchPlan, sets: PatchSets) -> BranchTraining:
    """Bring a unit together with its patches."""
    config = model.config
    draws = Draws(
        patches=sets.fit,
        role=plan.role,
        augmenter=Augmenter(
            config=config.training.augment,
            bands=config.input.aerial_bands,
            role=plan.role,
            crop_px=plan.optim.crop_px if plan.role == "aerial" else 0,
        ),
        seed=plan.seed,
    )
    heads = heads_of(model, plan.name, plan.optim)
    return BranchTraining(model.unit(plan.name), heads, plan, draws, sets.tune)
