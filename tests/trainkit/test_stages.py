"""Stages of a training, frozen encoders, accumulated passes, and starts from other weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runtime.errors import CheckpointError, ConfigError
from trainkit.branch import BranchTraining
from trainkit.checkpoint import WEIGHTS_NAME, load_checkpoint
from trainkit.config import TrainConfig
from trainkit.fit import FitOptions, Fitted, fit, joined
from trainkit.models import build
from trainkit.optim import encoders
from trainkit.plan import TrainOptions, branch_training, frozen_steps, plan_stages
from trainkit.recipe import OptimConfig, StageConfig, TrainingConfig
from trainkit.run import read_run
from trainkit.survey import split_patches, survey
from trainkit.train import Watch, train

OPTIONS = TrainOptions(segx_version="0.1.0")
ONE = FitOptions()
CROP = 256
"""Tiles are no larger than what a step takes of them."""
STILL = 1e-30
"""A learning rate that moves no weight."""

Make = Callable[..., list[BranchTraining]]


@pytest.fixture
def make(dataset: Any, tiny: TrainConfig) -> Make:
    """Function that makes the stages of an aerial branch: `make(StageConfig(), lr=1e-3)`."""
    dataset.side = CROP

    def make(*stages: StageConfig, role: str = "aerial", **changes: Any) -> list[BranchTraining]:
        keys = {"batch": 1, "steps": 2, "checks": 1, "stages": stages, **changes}
        optim = replace(tiny.training.aerial, **keys)
        training = TrainingConfig(aerial=optim, satellite=optim, tune_share=0.5)
        inputs = replace(tiny.input, tile_size=dataset.side)
        config = replace(tiny, input=inputs, training=training)
        torch.manual_seed(config.seed)
        model = build(config)
        sets = split_patches(dataset, config)
        plans = plan_stages(model, role, survey(dataset, sets, 13), OPTIONS)
        return [branch_training(model, plan, sets) for plan in plans]

    return make


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def differing(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    assert one.keys() == two.keys()
    return [name for name in one if not torch.equal(one[name], two[name])]


def test_a_single_stage_that_changes_nothing_is_the_training_itself(
    make: Make, tmp_path: Path
) -> None:
    (plain,), (staged,) = make(), make(StageConfig())
    assert staged.plan == plain.plan
    assert fit(plain, tmp_path / "plain", ONE) == fit(staged, tmp_path / "staged", ONE)
    assert differing(state_of(plain.branch), state_of(staged.branch)) == []


def test_a_stage_begins_with_the_best_weights_of_the_one_before_and_draws_other_patches(
    make: Make, tmp_path: Path
) -> None:
    first, second = make(StageConfig(), StageConfig(lr=STILL, min_lr=0.0, weight_decay=0.0))
    assert first.branch is second.branch
    assert first.draws.seed != second.draws.seed
    fit(first, tmp_path / "1", ONE)
    before = state_of(first.branch)
    fit(second, tmp_path / "2", ONE)
    trained = [name for name, _ in second.branch.named_parameters()]
    assert not set(differing(before, state_of(second.branch))) & set(trained)


def test_stages_are_summed_up_and_the_last_one_s_weights_are_kept() -> None:
    first = Fitted(steps=10, best_step=5, precision="32-true")
    second = Fitted(steps=6, best_step=2, precision="32-true")
    assert joined([first, second]) == Fitted(steps=16, best_step=12, precision="32-true")
    assert joined([first]) == first


@pytest.mark.parametrize("frozen", [1, 2])
def test_a_frozen_encoder_stays_as_it_is_for_so_many_steps(
    make: Make, tmp_path: Path, frozen: int
) -> None:
    (training,) = make(frozen_steps=frozen)
    assert training.plan.frozen == frozen
    (encoder,) = encoders(training.branch)
    before, all_before = state_of(encoder), state_of(training.branch)
    seen: list[list[str]] = []
    fit(training, tmp_path, ONE, lambda *step: seen.append(differing(before, state_of(encoder))))
    assert [bool(changed) for changed in seen] == [step >= frozen for step in range(2)]
    moved = differing(all_before, state_of(training.branch))
    assert any(not name.startswith("encoder.") for name in moved)


def test_an_encoder_is_trained_in_the_stage_after_one_that_froze_it(
    make: Make, tmp_path: Path
) -> None:
    first, second = make(StageConfig(frozen_steps=2), StageConfig(frozen_steps=0))
    (encoder,) = encoders(first.branch)
    before = state_of(encoder)
    fit(first, tmp_path / "1", ONE)
    assert differing(before, state_of(encoder)) == []
    fit(second, tmp_path / "2", ONE)
    assert set(differing(before, state_of(encoder))) == set(before)


def test_frozen_epochs_are_counted_in_steps_of_the_optimizer() -> None:
    optim = OptimConfig(epochs=3, batch=4, accumulate=2, frozen_epochs=2)
    assert frozen_steps(optim, patches=17) == 6
    assert frozen_steps(replace(optim, frozen_epochs=0, frozen_steps=5), patches=17) == 5


def test_a_branch_without_an_encoder_cannot_leave_it_alone(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"training\.satellite leaves the encoder .* has none"):
        make(role="satellite", frozen_steps=1)


class Plain(nn.Module):
    """A network without norms, of which each pixel's gradient is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(5, 13, 3, padding=1)

    def forward(self, aerial: Tensor) -> Tensor:
        logits: Tensor = self.layer(aerial.float() / 255.0)
        return logits

    def forward_train(self, aerial: Tensor) -> tuple[Tensor, None]:
        return self(aerial), None


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_passes_are_one_large_batch(
    make: Make, tmp_path: Path, accumulate: int
) -> None:
    # Dice is taken over a forward pass, so that it does depend on how a batch is split.
    results = []
    for passes in (1, accumulate):
        (training,) = make(dice_weight=0.0, batch=4 // passes, accumulate=passes)
        torch.manual_seed(0)
        training.branch = Plain()
        training.heads.resize = nn.MaxPool2d(4)
        fit(training, tmp_path / str(passes), ONE)
        results.append(state_of(training.branch))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-4, atol=1e-6)


@pytest.fixture
def staged(tiny: TrainConfig) -> TrainConfig:
    """A satellite branch that is trained in two stages of two steps."""
    optim = replace(tiny.training.satellite, batch=1, steps=2, checks=2)
    stages = (StageConfig(), StageConfig(lr=1e-4, loss="focal", schedule="one-cycle", warmup=0.4))
    training = TrainingConfig(satellite=replace(optim, stages=stages), tune_share=0.5)
    return replace(tiny, aerial=(), training=training)


class Killed(Exception):
    """Ends a training from inside."""


def test_a_run_that_was_killed_in_a_stage_ends_as_if_it_had_not_been(
    staged: TrainConfig, small_flair2: Path, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    def on_step(name: str, done: int, total: int, loss: float) -> None:
        seen.append((done, total))
        if len(seen) == 8:
            raise Killed

    watch = Watch(on_step=on_step)
    whole = train(staged, small_flair2, tmp_path / "whole", OPTIONS, watch)
    assert seen == [(done, 4) for done in range(1, 5)]
    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        train(staged, small_flair2, killed, OPTIONS, watch)
    del seen[:]
    train(staged, small_flair2, killed, replace(OPTIONS, resume=True), watch)
    assert seen == [(4, 4)]
    one, other = load_checkpoint(whole), load_checkpoint(killed)
    assert differing(one.model.state_dict(), other.model.state_dict()) == []
    assert one.info.steps == other.info.steps == {"satellite": 4}
    left = sorted(p.name for p in (killed / "branches").rglob("*.safetensors"))
    assert left == ["satellite.safetensors"]


@pytest.fixture
def start(staged: TrainConfig, small_flair2: Path, tmp_path: Path) -> Path:
    """A checkpoint of random weights."""
    options = replace(OPTIONS, steps=0)
    return train(staged, small_flair2, tmp_path / "start", options, Watch())


def test_a_run_begins_with_the_weights_of_a_checkpoint(
    staged: TrainConfig, small_flair2: Path, tmp_path: Path, start: Path
) -> None:
    other = replace(staged, name="again", seed=99)
    options = replace(OPTIONS, steps=0, init=start)
    again = load_checkpoint(train(other, small_flair2, tmp_path / "again", options, Watch()))
    source = load_checkpoint(start)
    assert differing(again.model.state_dict(), source.model.state_dict()) == []
    assert again.info.provenance["init"] == {
        "checkpoint": str(start.resolve()),
        "sha256": source.info.files[WEIGHTS_NAME],
    }


def test_weights_of_another_architecture_or_of_other_bands_are_refused(
    staged: TrainConfig, small_flair2: Path, tmp_path: Path, start: Path
) -> None:
    options = replace(OPTIONS, init=start)
    assert staged.satellite is not None
    wide = replace(staged, satellite=replace(staged.satellite, head="original"))
    with pytest.raises(CheckpointError, match=r"start \(config tiny\) holds .* architecture"):
        train(wide, small_flair2, tmp_path / "wide", options, Watch())
    bands = replace(staged.input, satellite_bands=staged.input.satellite_bands[::-1])
    with pytest.raises(CheckpointError, match=r"has satellite_bands .* expected those of config"):
        train(replace(staged, input=bands), small_flair2, tmp_path / "bands", options, Watch())


def test_a_run_goes_on_with_the_checkpoint_that_it_began_with(
    staged: TrainConfig, small_flair2: Path, tmp_path: Path, start: Path
) -> None:
    def kill(name: str, done: int, total: int, loss: float) -> None:
        raise Killed

    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(staged, small_flair2, out, replace(OPTIONS, init=start), Watch(on_step=kill))
    info = read_run(out)[1]
    assert info.init is not None
    assert info.init.checkpoint == str(start.resolve())
    other = replace(staged, seed=5)
    train(other, small_flair2, tmp_path / "other", replace(OPTIONS, steps=0), Watch())
    for path in (tmp_path / "other").glob("*"):
        if path.is_file():
            path.replace(start / path.name)
    with pytest.raises(CheckpointError, match="holds other weights than when the run"):
        train(staged, small_flair2, out, replace(OPTIONS, resume=True), Watch())
