"""Train a model: patches in, checkpoint out.

data set -> patches: fit, tune, val
for every branch: weights fitted on `fit`; the best ones chosen, and the end, on `tune`
fusion weights chosen on `tune`
scores of the branches and of their fusion on `val` -> checkpoint
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl

from runtime.dataset import open_dataset
from runtime.jsonfile import write_json

from .checkpoint import build_empty, save_checkpoint
from .config import TrainConfig
from .fit import Fitted, fit
from .fusing import FusionChoice, choose_weights, write_sweep
from .models import LandCoverModel, build
from .plan import TrainOptions, branch_training, plan_branch
from .provenance import origin_of
from .run import BranchFiles, resume_run, start_run
from .score import BranchScores, score_branches, write_table
from .survey import REPORTING_SPLIT, PatchSets, Survey, split_patches, survey


def _ignore(*_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Whom to tell what, while a run goes on."""

    on_data: Callable[[Survey], None] = _ignore
    on_step: Callable[[str, int, int, float], None] = _ignore
    """Called with the branch, the steps done, the steps in all, and the loss."""
    on_branch: Callable[[str, Fitted], None] = _ignore
    """Called when a branch is trained, or was found to be."""
    on_fusion: Callable[[FusionChoice], None] = _ignore
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
        ConfigError: If the config does not fit the data or the devices, or `out` is in use.
        CheckpointError: If the run to go on with, or pretrained weights, cannot be read.
    """
    dataset = open_dataset(data)
    sets = split_patches(dataset, config)
    begin = resume_run if options.resume else start_run
    run = begin(out, config, dataset, options.steps, sets.tune.ids)
    found = survey(dataset, sets, config.num_classes)
    watch.on_data(found)

    pl.seed_everything(config.seed, workers=True, verbose=False)
    model = build_empty(config) if options.steps == 0 else build(config)
    fitted = {
        name: _train_branch(name, model, sets, found, out, options, watch)
        for name in model.branch_names
    }

    choice = choose_weights(config.fusion_weights, model, sets.tune, dataset.classes)
    model.fusion.set_weights(choice.weights)
    write_sweep(out / "fusion_sweep.csv", choice.rows)
    watch.on_fusion(choice)

    results = score_branches(
        model, sets.val, dataset.classes, split=REPORTING_SPLIT, on_patch=watch.on_patch
    )
    write_table(out / "metrics.csv", results)
    write_json(out / "metrics.json", results)
    save_checkpoint(out, model, origin_of(config, options, run, found, fitted, results))
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
    """Train one branch, or load it where the run has finished it before."""
    files = BranchFiles(out=out, name=name)
    fitted = files.load(model.branches[name])
    if fitted is None:
        plan = plan_branch(model, name, found, options)
        fitted = fit(
            branch_training(model, plan, sets),
            files.folder,
            options.fit_options(model.config),
            lambda *step: watch.on_step(name, *step),
        )
        files.finish(model.branches[name], fitted)
    watch.on_branch(name, fitted)
    return fitted
