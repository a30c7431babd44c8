"""Plan the training of each branch from the config, the data and the options of the run."""

from dataclasses import dataclass, replace

from .augment import Augmenter
from .batches import Draws, Role
from .branch import BranchPlan, BranchTraining
from .config import TrainConfig
from .fit import FitOptions, Strategy
from .losses import class_weights
from .models import LandCoverModel
from .recipe import OptimConfig
from .survey import PatchSets, Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What a run is started with beside its config."""

    segx_version: str
    steps: int | None = None
    """Steps of every branch in place of the config's, without an early stop; 0 trains nothing: all
    weights are random, and no pretrained ones are fetched."""
    devices: int = 1
    """Processes that share each batch: one per GPU, or shares of the CPU."""
    strategy: Strategy = "auto"
    workers: int = 2
    """Processes that load patches where these do not fit in memory."""
    resume: bool = False
    """Whether to go on with the run in the folder."""

    def fit_options(self, config: TrainConfig) -> FitOptions:
        """On what the branches are trained."""
        return FitOptions(devices=self.devices, strategy=self.strategy, amp=config.training.amp)


def plan_branch(
    model: LandCoverModel, name: str, data: Survey, options: TrainOptions
) -> BranchPlan:
    """Plan the training of one branch; every branch has its own seed."""
    config = model.config
    role: Role = "satellite" if name == "satellite" else "aerial"
    optim = config.training.satellite if role == "satellite" else config.training.aerial
    if options.steps is not None:
        optim = replace(optim, patience=0)
    steps = branch_steps(optim, data.splits["train"] - data.tune)
    return BranchPlan(
        name=name,
        role=role,
        optim=optim,
        steps=steps if options.steps is None else options.steps,
        seed=config.seed + model.branch_names.index(name),
        classes=data.classes,
        class_weights=class_weights(optim.class_weights, data.counts),
        workers=0 if data.in_memory else options.workers,
    )


def branch_steps(optim: OptimConfig, patches: int) -> int:
    """Steps of the optimizer that a config asks for, over this many patches."""
    return optim.steps or optim.epochs * -(-patches // (optim.batch * optim.accumulate))


def branch_training(model: LandCoverModel, plan: BranchPlan, sets: PatchSets) -> BranchTraining:
    """Bring a branch together with its patches."""
    config = model.config
    draws = Draws(
        patches=sets.fit,
        role=plan.role,
        augmenter=Augmenter(
            config=config.training.augment,
            bands=config.input.aerial_bands,
            crop_px=plan.optim.crop_px if plan.role == "aerial" else 0,
        ),
        seed=plan.seed,
    )
    resize = model.fusion.resize[model.branch_names.index(plan.name)]
    return BranchTraining(model.branches[plan.name], resize, plan, draws, sets.tune)
