"""Train a model: patches in, checkpoint out.

data set -> patches: fit, tune, val
for every branch, or once for a joint model: weights fitted on `fit`; the best ones chosen, and the
    end, on `tune`
fusion weights of branches chosen on `tune`
scores of the model, and of branches that have a map of their own, on `val` -> checkpoint
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning.pytorch as pl

from runtime.dataset import Dataset, open_dataset
from runtime.jsonfile import write_json

from .branch import BranchPlan
from .checkpoint import build_empty, save_checkpoint
from .config import TrainConfig, require_trainable
from .fit import Fitted, fit, joined
from .fusing import FusionChoice, choose_weights, write_sweep
from .models import LandCoverModel, LateFusionModel, build
from .plan import TrainOptions, branch_training, plan_stages
from .processes import OnStep
from .provenance import origin_of
from .run import BranchFiles, held_run, resume_run, start_run
from .score import BranchScores, score_branches, write_table
from .start import load_start
from .survey import REPORTING_SPLIT, PatchSets, Survey, split_patches, survey


def _ignore(*_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Whom to tell what, while a run goes on."""

    on_data: Callable[[Survey], None] = _ignore
    on_step: Callable[[str, int, int, float], None] = _ignore
    """Called with the unit, the steps done, the steps in all, and the loss."""
    on_branch: Callable[[str, Fitted], None] = _ignore
    """Called when a unit is trained, or was found to be."""
    on_fusion: Callable[[FusionChoice], None] = _ignore
    """Called when the weights of a late fusion are chosen."""
    on_patch: Callable[[int, int], None] = _ignore
    """Called with the patches scored and the patches in all."""
    on_scores: Callable[[BranchScores], None] = _ignore


def train(config: TrainConfig, data: Path, out: Path, options: TrainOptions, watch: Watch) -> Path:
    """Train a model and write its checkpoint.

    Args:
        config: What to train; its seed fixes the run, on one machine and number of threads.
        data: Data set with the splits `train` and `val`.
        out: Folder of the run: a new one, or the one to go on with.
        options: How to train.
        watch: Whom to tell.

    Returns:
        `out`, which is a checkpoint now.

    Raises:
        DataError: If the data set is missing, damaged, too small, or not the one of the run.
        ConfigError: If the config is of a user's own module, or does not fit the data or the
            devices, or `out` is in use.
        CheckpointError: If the run to go on with, or pretrained weights, cannot be read.
        BusyError: If another process trains in `out`.
    """
    require_trainable(config)
    dataset = open_dataset(
        data, tile=config.input.tile_size, satellite_offset=options.satellite_offset
    )
    with held_run(out):
        return _train(config, dataset, out, options, watch)


def _train(
    config: TrainConfig, dataset: Dataset, out: Path, options: TrainOptions, watch: Watch
) -> Path:
    """Train in a folder that is this process's own."""
    sets = split_patches(dataset, config)
    begin = resume_run if options.resume else start_run
    run = begin(out, config, dataset, options, sets.tune.ids)
    found = survey(dataset, sets, config.num_classes)
    watch.on_data(found)

    pl.seed_everything(config.seed, workers=True, verbose=False)
    model = build_empty(config) if options.steps == 0 or run.init else build(config)
    model.prepare(sets.fit)
    if run.init is not None:
        load_start(model, run.init)
    fitted = {
        name: _train_branch(name, model, sets, found, out, options, watch) for name in model.units
    }

    if isinstance(model, LateFusionModel):
        choice = choose_weights(config.fusion_weights, model, sets.tune, dataset.classes)
        model.fusion.set_weights(choice.weights)
        write_sweep(out / "fusion_sweep.csv", choice.rows)
        watch.on_fusion(choice)

    results = score_branches(
        model, sets.val, dataset.classes, split=REPORTING_SPLIT, on_patch=watch.on_patch
    )
    write_table(out / "metrics.csv", results)
    write_json(out / "metrics.json", results)
    save_checkpoint(
        out, model, origin_of(config, options, run, found, model.facts(), fitted, results)
    )
    watch.on_scores(results)
    return out


def _train_branch(
    name: str,
    model: LandCoverModel,
    sets: PatchSets,
    found: Survey,
    out: Path,
    options: TrainOptions,
    watch: Watch,
) -> Fitted:
    """Train one unit stage by stage, or load it where the run has finished it before."""
    files, unit = BranchFiles(out=out, name=name), model.unit(name)
    fitted = files.load(unit)
    if fitted is None:
        plans = plan_stages(model, name, found, options)
        total = sum(plan.steps for plan in plans)
        stages, begun = list[Fitted](), 0
        for plan, place in zip(plans, files.stages(len(plans)), strict=True):
            tell = partial(_tell, watch, name, begun, total)
            stages.append(_train_stage(plan, place, model, sets, options, tell))
            begun += plan.steps
        fitted = joined(stages)
        files.finish(unit, fitted)
    watch.on_branch(name, fitted)
    return fitted


def _train_stage(
    plan: BranchPlan,
    files: BranchFiles,
    model: LandCoverModel,
    sets: PatchSets,
    options: TrainOptions,
    on_step: OnStep,
) -> Fitted:
    """Train one stage from the weights as they are, or load what it came to."""
    unit = model.unit(plan.name)
    fitted = files.load(unit)
    if fitted is None:
        training = branch_training(model, plan, sets)
        fitted = fit(training, files.folder, options.fit_options(model.config), on_step)
        files.finish(unit, fitted)
    return fitted


def _tell(
    watch: Watch, name: str, begun: int, total: int, done: int, steps: int, loss: float
) -> None:
    """Tell of a step of a stage that began after so many steps."""
    watch.on_step(name, begun + done, total, loss)
