import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.dataset import open_dataset
from runtime.datasets.flair import CLASSES
from runtime.errors import CheckpointError, ConfigError, DataError
from runtime.evaluate import evaluate
from segx.sample import write_flair2
from trainkit.checkpoint import CHECKPOINT_NAME, load_checkpoint, newest_checkpoint
from trainkit.config import FusionConfig, TrainConfig
from trainkit.fusing import FusionChoice
from trainkit.models import LateFusionModel, build
from trainkit.plan import TrainOptions
from trainkit.run import read_run
from trainkit.score import BranchScores, remarks, score_branches
from trainkit.survey import Survey, is_generated, split_patches
from trainkit.torch_model import TorchModel
from trainkit.train import Watch, train

OPTIONS = TrainOptions(segx_version="0.1.0", steps=2)


class Told:
    """Keeps what a training tells."""

    def __init__(self) -> None:
        self.data: list[Survey] = []
        self.steps: list[tuple[str, int, int]] = []
        self.branches: list[str] = []
        self.fusion: list[FusionChoice] = []
        self.scores: list[BranchScores] = []

    def watch(self, kill_at: tuple[str, int] | None = None) -> Watch:
        def on_step(name: str, done: int, total: int, loss: float) -> None:
            self.steps.append((name, done, total))
            if (name, done) == kill_at:
                raise InterruptedError

        return Watch(
            on_data=self.data.append,
            on_step=on_step,
            on_branch=lambda name, fitted: self.branches.append(name),
            on_fusion=self.fusion.append,
            on_scores=self.scores.append,
        )


@pytest.fixture(scope="module")
def flair2(small_flair2: Path) -> Path:
    return small_flair2


@pytest.fixture(scope="module")
def config(tiny: TrainConfig) -> TrainConfig:
    return replace(tiny, fusion=FusionConfig(weights="auto"))


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def run(
    flair2: Path, config: TrainConfig, told: Told, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run of two steps per branch."""
    out = tmp_path_factory.mktemp("runs") / "first"
    return train(config, flair2, out, OPTIONS, told.watch())


def test_a_run_becomes_a_checkpoint(run: Path, config: TrainConfig, flair2: Path) -> None:
    checkpoint = load_checkpoint(run)
    info = checkpoint.info
    assert checkpoint.config == config
    assert info.steps == {"aerial": 2, "satellite": 2}
    assert info.toy
    data: Any = info.provenance["data"]
    assert data["fingerprint"] == open_dataset(flair2).fingerprint()
    assert data["licence"] == open_dataset(flair2).licence
    assert data["patches"] == {"train": 4, "val": 4}
    assert len(data["tune"]) == 1
    versions: Any = info.provenance["versions"]
    assert {"python", "torch", "lightning", "timm"} <= set(versions)
    assert newest_checkpoint(run.parent) == run


def test_what_is_told_is_what_happened(run: Path, told: Told) -> None:
    (data,) = told.data
    assert data.splits == {"train": 4, "val": 4}
    assert (data.tune, data.areas, data.surveyed) == (1, 2, 3)
    assert data.shares.sum() == pytest.approx(1.0)
    assert len(data.dates) > 10
    assert told.steps == [(name, n, 2) for name in ("aerial", "satellite") for n in (1, 2)]
    assert told.branches == ["aerial", "satellite"]
    assert len(told.fusion) == len(told.scores) == 1


def test_patches_that_scores_are_reported_on_are_never_learned_from(
    flair2: Path, config: TrainConfig
) -> None:
    dataset = open_dataset(flair2)
    sets = split_patches(dataset, config)
    used = [set(patches.ids) for patches in (sets.fit, sets.tune, sets.val)]
    assert [len(ids) for ids in used] == [3, 1, 4]
    assert len(set.union(*used)) == 8
    assert used[2] == set(dataset.ids("val"))


def test_the_reported_scores_are_those_of_the_saved_model(
    run: Path, told: Told, flair2: Path
) -> None:
    checkpoint = load_checkpoint(run)
    (reported,) = told.scores
    dataset = open_dataset(flair2)
    found = evaluate(TorchModel(checkpoint.model), checkpoint.card, dataset, "val")
    # A pixel on the border between two classes may fall on either side.
    assert found.scores.accuracy == pytest.approx(reported.fused.accuracy, abs=1e-4)
    assert found.scores.miou == pytest.approx(reported.fused.miou, abs=1e-4)
    assert set(reported.scores) == {"aerial", "satellite", "fused"}


def test_branches_are_scored_as_models_that_have_no_other(
    run: Path, told: Told, flair2: Path
) -> None:
    checkpoint = load_checkpoint(run)
    sets = split_patches(open_dataset(flair2), checkpoint.config)
    for row, name in enumerate(("aerial", "satellite")):
        weights = np.zeros((2, len(CLASSES)), dtype=np.float32)
        weights[row] = 1.0
        assert isinstance(checkpoint.model, LateFusionModel)
        checkpoint.model.fusion.set_weights(weights)
        alone = score_branches(checkpoint.model, sets.val, CLASSES, split="val")
        assert alone.fused.accuracy == told.scores[0].scores[name].accuracy


def test_tables_are_written_beside_the_weights(run: Path, told: Told) -> None:
    with (run / "metrics.csv").open(newline="") as stream:
        rows = {row["class"]: row for row in csv.DictReader(stream)}
    fused = told.scores[0].fused
    assert list(rows) == [c.name for c in CLASSES] + ["mIoU", "accuracy"]
    assert float(rows["mIoU"]["iou_fused"]) == pytest.approx(fused.miou, abs=1e-6)
    assert int(rows["mIoU"]["scored"]) == fused.scored_classes
    assert json.loads((run / "metrics.json").read_text())["patches"] == 4
    sweep = (run / "fusion_sweep.csv").read_text().splitlines()
    assert len(sweep) == 1 + 21


def test_fusion_weights_add_up(run: Path) -> None:
    weights = np.array(load_checkpoint(run).info.fusion_weights)
    assert weights.shape == (2, len(CLASSES))
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, atol=1e-6)


@pytest.mark.matrix
def test_the_same_seed_gives_the_same_model(
    run: Path, config: TrainConfig, flair2: Path, tmp_path: Path
) -> None:
    again = train(config, flair2, tmp_path / "again", OPTIONS, Watch())
    one, two = (load_checkpoint(path).model.state_dict() for path in (run, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "kill_at",
    [
        pytest.param(("aerial", 2), marks=pytest.mark.matrix),
        pytest.param(("satellite", 1), marks=pytest.mark.matrix),
        ("satellite", 2),
    ],
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    run: Path, config: TrainConfig, flair2: Path, tmp_path: Path, kill_at: tuple[str, int]
) -> None:
    out = tmp_path / "killed"
    with pytest.raises(InterruptedError):
        train(config, flair2, out, OPTIONS, Told().watch(kill_at))
    assert not (out / CHECKPOINT_NAME).exists()
    with pytest.raises(CheckpointError, match="--resume"):
        load_checkpoint(out)
    told = Told()
    resumed, info = read_run(out)
    train(resumed, Path(info.data), out, replace(OPTIONS, resume=True), told.watch())
    name, done = kill_at
    # Finished branches and finished stretches are not trained again.
    assert told.steps[0] == (name, done, 2)
    assert load_checkpoint(out).info.steps == {"aerial": 2, "satellite": 2}
    one, two = (load_checkpoint(path).model.state_dict() for path in (run, out))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_run_cannot_be_resumed(run: Path, config: TrainConfig, flair2: Path) -> None:
    with pytest.raises(CheckpointError, match="is finished; there is nothing to resume"):
        train(config, flair2, run, replace(OPTIONS, resume=True), Watch())


@pytest.fixture(scope="module")
def unfinished(config: TrainConfig, flair2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed; what refuses to resume it does not change it."""
    out = tmp_path_factory.mktemp("runs") / "unfinished"
    with pytest.raises(InterruptedError):
        train(config, flair2, out, OPTIONS, Told().watch(("aerial", 1)))
    return out


def test_a_run_is_not_resumed_with_other_settings(
    unfinished: Path, config: TrainConfig, flair2: Path
) -> None:
    options = replace(OPTIONS, resume=True)
    with pytest.raises(ConfigError, match="was started with another config, seed, number"):
        train(replace(config, seed=8), flair2, unfinished, options, Watch())
    with pytest.raises(ConfigError, match="was started with another config, seed, number"):
        train(config, flair2, unfinished, replace(options, steps=3), Watch())
    with pytest.raises(ConfigError, match="number of steps or satellite offset; expected the same"):
        train(config, flair2, unfinished, replace(options, satellite_offset="1000"), Watch())


def test_a_run_is_not_resumed_with_other_data(
    unfinished: Path, config: TrainConfig, tmp_path: Path
) -> None:
    other = write_flair2(tmp_path / "other", seed=2, areas=2, patches_per_side=2)
    with pytest.raises(DataError, match=r"is not what the run in .* was started with"):
        train(config, other, unfinished, replace(OPTIONS, resume=True), Watch())


def test_a_folder_in_use_is_not_overwritten(run: Path, config: TrainConfig, flair2: Path) -> None:
    with pytest.raises(ConfigError, match="already holds files; expected a new folder"):
        train(config, flair2, run, OPTIONS, Watch())


def test_no_steps_give_the_random_weights_of_the_seed(
    config: TrainConfig, flair2: Path, tmp_path: Path
) -> None:
    fixed = replace(config, fusion=FusionConfig(weights=(0.6, 0.4)))
    out = train(fixed, flair2, tmp_path / "none", replace(OPTIONS, steps=0), Watch())
    checkpoint = load_checkpoint(out)
    assert checkpoint.info.steps == {"aerial": 0, "satellite": 0}
    torch.manual_seed(fixed.seed)
    expected = build(fixed).state_dict()
    found = checkpoint.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_two_aerial_branches_differ_and_one_input_is_enough(
    config: TrainConfig, flair2: Path, tmp_path: Path
) -> None:
    twice = replace(config, aerial=config.aerial * 2, satellite=None)
    out = train(twice, flair2, tmp_path / "twice", replace(OPTIONS, steps=1), Watch())
    model = load_checkpoint(out).model
    one, two = (model.unit(name).state_dict() for name in ("aerial", "aerial_2"))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["scores"]) == {"aerial", "fused"}


def test_only_tagged_rasters_count_as_generated(flair2: Path, tmp_path: Path) -> None:
    import rasterio

    assert is_generated(flair2)
    assert not is_generated(tmp_path)
    file = tmp_path / "photo.tif"
    with rasterio.open(
        file,
        "w",
        driver="GTiff",
        count=1,
        height=2,
        width=2,
        dtype="uint8",
        crs="EPSG:2154",
        transform=rasterio.Affine(0.2, 0.0, 1.0, 0.0, -0.2, 1.0),
    ):
        pass
    assert not is_generated(tmp_path)


def test_disappointing_scores_are_said_so(told: Told, run: Path) -> None:
    (results,) = told.scores
    scores = results.scores
    mious = {"aerial": 0.3, "satellite": 0.4, "fused": 0.35}
    bad = replace(
        results, scores={name: replace(scores[name], miou=miou) for name, miou in mious.items()}
    )
    assert remarks(bad) == [
        "The satellite branch alone (40.00 % mIoU) is not below the aerial branch alone (30.00 %).",
        "The fused map (35.00 % mIoU) is not above the satellite branch alone (40.00 %).",
    ]
    mious = {"aerial": 0.4, "satellite": 0.3, "fused": 0.5}
    good = replace(
        results, scores={name: replace(scores[name], miou=miou) for name, miou in mious.items()}
    )
    assert remarks(good) == []
