"""A joint model from patches to a checkpoint, killed on the way and not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainkit.checkpoint import load_checkpoint
from trainkit.config import InputConfig, TrainConfig
from trainkit.heads import heads_of, role_of
from trainkit.joint_config import DifdConfig
from trainkit.models import build
from trainkit.plan import TrainOptions
from trainkit.recipe import AugmentConfig, OptimConfig, TrainingConfig
from trainkit.run import read_run
from trainkit.score import BranchScores
from trainkit.torch_model import TorchModel
from trainkit.train import Watch, train

OPTIONS = TrainOptions(segx_version="0.1.0")


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return TrainConfig(
        name="joint",
        seed=7,
        input=InputConfig(
            satellite_bands=("B03", "B04", "B08"),
            satellite_window=32,
            satellite_resolution_m=3.2,
        ),
        joint=DifdConfig(
            encoder="resnet18",
            encoder_widths=(8, 12, 16, 24),
            encoder_depths=(1, 1, 1, 1),
            width=16,
            low_width=8,
            upsampler="bilinear",
            satellite_channels=("NDVI", "NDWI", "B08E"),
            satellite_widths=(8, 12),
        ),
        training=TrainingConfig(
            joint=OptimConfig(lr=1e-3, batch=2, epochs=0, steps=2, checks=2, loss_stride=4),
            augment=AugmentConfig(modality_dropout=0.5),
        ),
    )


@pytest.fixture(scope="module")
def run(
    small_flair2: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BranchScores]:
    """A finished run of two steps, and its scores."""
    scores: list[BranchScores] = []
    out = tmp_path_factory.mktemp("runs") / "joint"
    train(config, small_flair2, out, OPTIONS, Watch(on_fusion=_fail, on_scores=scores.append))
    return out, scores[0]


def _fail(*_: object) -> None:
    raise AssertionError("a joint model has no fusion weights to choose")


def test_a_run_becomes_a_checkpoint_of_one_unit(
    run: tuple[Path, BranchScores], config: TrainConfig
) -> None:
    checkpoint = load_checkpoint(run[0])
    info = checkpoint.info
    assert checkpoint.config == config
    assert info.branches == ("aerial", "satellite")
    assert info.fusion_weights == ()
    assert info.steps == {"joint": 2}
    assert info.provenance["percentiles"] == checkpoint.model.facts()["percentiles"]
    assert checkpoint.card.satellite is not None
    assert checkpoint.card.satellite.cell_m == 3.2


def test_only_the_model_as_a_whole_is_scored(run: tuple[Path, BranchScores]) -> None:
    assert set(run[1].scores) == {"fused"}
    assert run[1].patches == 4


def test_training_moved_weights_of_both_inputs_and_kept_the_percentiles(
    run: tuple[Path, BranchScores], config: TrainConfig
) -> None:
    torch.manual_seed(config.seed)
    before = build(config).state_dict()
    after = load_checkpoint(run[0]).model.state_dict()
    for part in ("aerial.maps.encoder.", "satellite.project.", "decoder.head."):
        assert any(
            not torch.equal(after[name], before[name])
            for name in after
            if name.startswith(part) and "num_batches" not in name
        )
    assert 0.0 < float(after["satellite.channels.low"]) < float(after["satellite.channels.high"])


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    run: tuple[Path, BranchScores], config: TrainConfig, small_flair2: Path, tmp_path: Path
) -> None:
    def kill(name: str, done: int, total: int, loss: float) -> None:
        if done == 2:
            raise InterruptedError

    out = tmp_path / "killed"
    with pytest.raises(InterruptedError):
        train(config, small_flair2, out, OPTIONS, Watch(on_step=kill))
    steps: list[tuple[str, int]] = []
    resumed, info = read_run(out)
    train(
        resumed,
        Path(info.data),
        out,
        replace(OPTIONS, resume=True),
        Watch(on_step=lambda name, done, *_: steps.append((name, done))),
    )
    assert steps == [("joint", 2)]
    one, two = (load_checkpoint(path).model.state_dict() for path in (run[0], out))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_checkpoint_runs_as_a_bundle_does(run: tuple[Path, BranchScores]) -> None:
    model = load_checkpoint(run[0]).model
    tensors: dict[str, Any] = {}
    for part in model.parts()[:2]:
        tensors.update(part.example(batch=1))
    feed = {name: value.numpy() for name, value in tensors.items()}
    result = TorchModel(model, device=torch.device("cpu")).run(feed)
    assert set(result) == {
        "aerial_high", "aerial_low", "satellite_low", "classes", "confidence",
    }  # fmt: skip
    with torch.no_grad():
        logits = model(tensors)
    assert (result["classes"] == logits.argmax(dim=1).numpy()).all()
    soft = TorchModel(model, variant="probabilities", device=torch.device("cpu")).run(feed)
    expected = torch.softmax(logits, dim=1)
    torch.testing.assert_close(torch.from_numpy(soft["probabilities"]), expected)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_loss_that_looks_at_fewer_pixels_looks_at_those_of_the_model(
    config: TrainConfig, stride: Any
) -> None:
    model = build(config).eval()
    feed = {}
    for part in model.parts()[:2]:
        feed.update(part.example(batch=1))
    heads = heads_of(model, "joint", OptimConfig(loss_stride=stride))
    assert role_of(model, "joint") == "joint"
    with torch.no_grad():
        logits, full = heads.logits(model, feed), model(feed)
    assert torch.equal(logits, full[..., stride // 2 :: stride, stride // 2 :: stride])
