from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from full_disk import fill_disk
from torch import nn

from runtime.errors import CheckpointError, ConfigError, DataError
from trainkit.aerial_config import UNetFormerConfig
from trainkit.batches import Role
from trainkit.branch import BranchTraining
from trainkit.config import TrainConfig
from trainkit.fit import BEST, LAST, FitOptions, _WholeFiles, choose_precision, fit
from trainkit.heads import thin, thinned
from trainkit.models import build
from trainkit.models.fusion import AerialUpsample, SatelliteUpsample
from trainkit.optim import MovingAverage, learning_rate, parameter_groups
from trainkit.plan import TrainOptions, branch_steps, branch_training, plan_branch
from trainkit.recipe import OptimConfig, TrainingConfig
from trainkit.survey import split_patches, survey

ONE = FitOptions()
CROP = 256
"""Tiles are no larger than what a step takes of them."""
OPTIONS = TrainOptions(segx_version="0")
OPTIM = OptimConfig(lr=1e-2, min_lr=1e-4, warmup=0.2, epochs=0, steps=10)

Make = Callable[..., BranchTraining]


@pytest.fixture
def make(dataset: Any, tiny: TrainConfig) -> Make:
    """Function that makes a branch's training: `make("satellite", ema=0.5)`."""
    dataset.side = CROP

    def make(role: Role, **changes: Any) -> BranchTraining:
        old = tiny.training
        training = TrainingConfig(
            aerial=replace(old.aerial, **changes),
            satellite=replace(old.satellite, **changes),
            augment=old.augment,
            tune_share=0.5,
        )
        inputs = replace(tiny.input, tile_size=dataset.side)
        config = replace(tiny, input=inputs, training=training)
        torch.manual_seed(config.seed)
        model = build(config)
        sets = split_patches(dataset, config)
        plan = plan_branch(model, role, survey(dataset, sets, 13), OPTIONS)
        return branch_training(model, plan, sets)

    return make


def weights_of(training: BranchTraining) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.branch.state_dict().items()}


def assert_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_the_learning_rate_rises_and_then_falls_to_its_minimum() -> None:
    rates = [learning_rate(step, 10, OPTIM) for step in range(11)]
    np.testing.assert_allclose(rates[:3], [5e-3, 1e-2, 1e-2])
    np.testing.assert_allclose(np.diff(rates[2:]), np.full(8, -(1e-2 - 1e-4) / 8))
    assert rates[10] == pytest.approx(1e-4)


def test_a_power_bends_the_decay() -> None:
    optim = replace(OPTIM, warmup=0.0, power=2.0)
    assert learning_rate(5, 10, optim) == pytest.approx(1e-4 + (1e-2 - 1e-4) / 4)


def test_each_trained_weight_is_in_one_group_and_vectors_are_not_decayed(
    tiny: TrainConfig,
) -> None:
    branch = build(tiny).unit("aerial")
    optim = replace(OPTIM, encoder_lr_factor=0.1, weight_decay=0.5)
    groups = parameter_groups(branch, optim)
    grouped = [weight for group in groups for weight in group["params"]]
    assert {id(w) for w in grouped} == {id(w) for w in branch.parameters()}
    assert len(grouped) == len(list(branch.parameters()))
    names = {id(weight): name for name, weight in branch.named_parameters()}
    for group in groups:
        for weight in group["params"]:
            assert group["weight_decay"] == (0.5 if weight.ndim > 1 else 0.0)
            is_encoder = names[id(weight)].startswith("encoder.")
            assert group["lr"] == pytest.approx(1e-3 if is_encoder else 1e-2)


def test_a_frozen_encoder_is_in_no_group(tiny: TrainConfig) -> None:
    (aerial,) = tiny.aerial
    assert isinstance(aerial, UNetFormerConfig)
    config = replace(tiny, aerial=(replace(aerial, freeze_encoder=True),))
    branch = build(config).unit("aerial")
    assert all(group["lr"] == OPTIM.lr for group in parameter_groups(branch, OPTIM))
    count = sum(len(group["params"]) for group in parameter_groups(branch, OPTIM))
    assert count == sum(name.startswith("decoder.") for name, _ in branch.named_parameters())


def test_a_moving_average_follows_weights_and_statistics() -> None:
    module = nn.BatchNorm1d(2)
    average = MovingAverage(module, 0.5)
    with torch.no_grad():
        module.weight.fill_(3.0)
    module.running_mean = torch.full((2,), 8.0)
    module.num_batches_tracked = torch.tensor(7)
    # The first update keeps 2 / 11 of the past, a late one half of it.
    average.update(module, 1)
    weight = average.module.state_dict()["weight"]
    assert weight.tolist() == pytest.approx([3.0 - 2.0 * 2 / 11] * 2)
    before = float(average.module.state_dict()["running_mean"][0])
    average.update(module, 1000)
    after = average.module.state_dict()
    assert float(after["running_mean"][0]) == pytest.approx((before + 8.0) / 2)
    assert int(after["num_batches_tracked"]) == 7
    assert not any(weight.requires_grad for weight in average.module.parameters())


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_thinned_satellite_resize_gives_the_same_logits_at_fewer_pixels(
    tiny: TrainConfig, stride: int
) -> None:
    full = SatelliteUpsample(tiny.input)
    logits = torch.randn(2, 13, 40, 40, generator=torch.Generator().manual_seed(0))
    expected = full(logits)[..., stride // 2 :: stride, stride // 2 :: stride]
    torch.testing.assert_close(thinned(full, stride)(logits), expected)
    assert full.weights_Hh.shape[0] == 512


@pytest.mark.parametrize("coarse", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_aerial_logits_and_labels_meet_at_every_stride(coarse: int, stride: int) -> None:
    resize = thinned(AerialUpsample(coarse), stride)
    # Logits and labels that say how far a pixel lies to the right, in aerial pixels.
    side = 256 // coarse
    right = (torch.arange(float(side)) + 0.5) * coarse
    logits = resize(right.expand(1, 1, side, side))
    labels = thin((torch.arange(256.0) + 0.5).expand(1, 256, 256), stride)
    assert logits.shape[2:] == labels.shape[1:]
    inner = slice(4 // stride, -4 // stride)
    assert (logits[0, 0, :, inner] - labels[0, :, inner]).abs().max() <= 0.5


def test_epochs_are_counted_in_steps_of_the_optimizer() -> None:
    optim = OptimConfig(epochs=3, batch=4, accumulate=2)
    assert branch_steps(optim, patches=16) == 6
    assert branch_steps(optim, patches=17) == 9
    assert branch_steps(OPTIM, patches=17) == 10


def test_stretches_between_checks_cover_all_steps(make: Make) -> None:
    plan = replace(make("satellite").plan, steps=11, optim=replace(OPTIM, checks=4))
    assert [step for i in range(plan.checks) for step in plan.stretch(i)] == list(range(11))
    assert replace(plan, steps=2).checks == 2


@pytest.mark.parametrize("role", ["aerial", "satellite"])
def test_training_ends_after_its_steps_and_repeats_with_its_seed(
    make: Make, tmp_path: Path, role: Role
) -> None:
    seen: list[tuple[int, int, float]] = []
    first, second = make(role), make(role)
    start = weights_of(first)
    fitted = fit(first, tmp_path / "1", ONE, lambda *step: seen.append(step))
    assert fit(second, tmp_path / "2", ONE) == fitted
    assert fitted.steps == 4
    assert fitted.best_step in (2, 4)
    assert [step[:2] for step in seen] == [(done, 4) for done in (1, 2, 3, 4)]
    assert all(np.isfinite(loss) for _, _, loss in seen)
    assert_equal(weights_of(first), weights_of(second))
    changed = weights_of(first)
    assert all((changed[n] != start[n]).any() for n in start if n.endswith("weight"))
    logs = tmp_path / "1" / "version_0"
    header = (logs / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "tune_loss", "tune_miou", "tune_accuracy"} <= set(header)
    assert list(logs.glob("events.*"))


def test_the_loss_falls_on_what_can_be_learned(make: Make, tmp_path: Path) -> None:
    losses: list[float] = []
    training = make("aerial", steps=16, checks=1, lr=5e-3)
    fit(training, tmp_path, ONE, lambda done, total, loss: losses.append(loss))
    assert np.mean(losses[-4:]) < 0.95 * np.mean(losses[:4])


class Killed(Exception):
    """Ends a training from inside."""


@pytest.mark.parametrize("role", ["aerial", "satellite"])
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(
    make: Make, tmp_path: Path, role: Role
) -> None:
    def kill(done: int, total: int, loss: float) -> None:
        if done == 5:
            raise Killed

    whole = make(role, steps=6, checks=3)
    expected = fit(whole, tmp_path / "whole", ONE)
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        fit(make(role, steps=6, checks=3), folder, ONE, kill)
    assert torch.load(folder / LAST, weights_only=True)["global_step"] == 4
    seen: list[int] = []
    resumed = make(role, steps=6, checks=3)
    fitted = fit(resumed, folder, ONE, lambda done, total, loss: seen.append(done))
    assert seen == [5, 6]
    assert fitted == expected
    assert_equal(weights_of(resumed), weights_of(whole))
    ends = [torch.load(path / LAST, weights_only=True) for path in (folder, tmp_path / "whole")]
    assert_equal(ends[0]["state_dict"], ends[1]["state_dict"])
    assert (folder / "version_1" / "metrics.csv").is_file()


def test_accumulated_passes_make_one_step(make: Make, tmp_path: Path) -> None:
    seen: list[int] = []
    training = make("satellite", accumulate=2, batch=1)
    fitted = fit(training, tmp_path, ONE, lambda done, total, loss: seen.append(done))
    assert seen == [1, 2, 3, 4]
    assert fitted.steps == 4


class Worsening(nn.Module):
    """A loss that is higher at every check."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            return logits.mean()
        self.checks += 1
        return torch.tensor(float(self.checks))


def test_training_stops_early_when_the_patches_set_aside_get_worse(
    make: Make, tmp_path: Path
) -> None:
    training = make("satellite", steps=9, checks=9, batch=1, patience=2)
    training.loss = Worsening()  # type: ignore[assignment]
    assert fit(training, tmp_path, ONE).steps == 3


def test_the_weights_of_the_best_check_are_kept(make: Make, tmp_path: Path) -> None:
    training = make("satellite", steps=6, checks=6, lr=0.1, ema=0.0)
    fit(training, tmp_path, ONE)
    best = torch.load(tmp_path / BEST, weights_only=True)
    rows = (tmp_path / "version_0" / "metrics.csv").read_text().splitlines()
    head = rows[0].split(",")
    checks = [dict(zip(head, row.split(","), strict=True)) for row in rows[1:]]
    miou = {int(c["step"]) + 1: float(c["tune_miou"]) for c in checks if c["tune_miou"]}
    assert len(miou) == 6
    assert miou[best["global_step"]] == max(miou.values())
    kept = {n.removeprefix("branch."): v for n, v in best["state_dict"].items() if "branch" in n}
    assert_equal(weights_of(training), kept)


def test_no_steps_leave_the_weights_alone(make: Make, tmp_path: Path) -> None:
    training = make("satellite")
    training.plan = replace(training.plan, steps=0)
    before = weights_of(training)
    assert fit(training, tmp_path / "none", ONE).steps == 0
    assert_equal(weights_of(training), before)
    assert not (tmp_path / "none").exists()


def test_a_state_that_the_disk_does_not_take_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / LAST
    files = _WholeFiles()
    files.save_checkpoint({"global_step": 1}, file)
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(DataError, match="No space left"):
            files.save_checkpoint({"global_step": 2}, file)
    assert torch.load(file, weights_only=True) == {"global_step": 1}
    assert list(tmp_path.iterdir()) == [file]


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_state_that_would_run_code_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Bomb(), tmp_path / LAST)
    with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read .* delete"):
        fit(make("satellite"), tmp_path, ONE)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("devices", "message"),
    [(3, "batch of 2 cannot be shared among 3"), (0, "devices is 0")],
)
def test_devices_that_cannot_share_a_batch_are_refused(
    make: Make, tmp_path: Path, devices: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(make("satellite"), tmp_path, FitOptions(devices=devices))


@dataclass
class Cpu:
    bf16: bool

    def get_capabilities(self) -> dict[str, bool]:
        return {"avx512_bf16": self.bf16}


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_sixteen_bits_are_used_where_the_processor_has_them(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("torch.cpu", Cpu(bf16))
    assert choose_precision("bf16") == expected
    assert choose_precision("off") == "32-true"


def test_bf16_trains(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainkit.fit._cpu_has_bf16", lambda: True)
    losses: list[float] = []
    options = FitOptions(amp="bf16")
    training = make("aerial", steps=2, checks=1, batch=1)
    fitted = fit(training, tmp_path, options, lambda d, t, loss: losses.append(loss))
    assert fitted.precision in ("bf16-mixed", "16-mixed")
    assert len(losses) == 2
    assert np.isfinite(losses).all()


@pytest.mark.matrix
def test_two_processes_share_the_steps(make: Make, tmp_path: Path) -> None:
    seen: list[int] = []
    training = make("satellite")
    start = weights_of(training)
    options = FitOptions(devices=2, strategy="ddp")
    fitted = fit(training, tmp_path, options, lambda done, total, loss: seen.append(done))
    assert fitted.steps == 4
    assert seen == [1, 2, 3, 4]
    changed = weights_of(training)
    assert all((changed[n] != start[n]).any() for n in start if n.endswith("weight"))
