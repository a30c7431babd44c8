import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.bundle import sha256_of
from runtime.datasets.flair import CLASSES
from runtime.errors import CheckpointError, FeedError, SegxError
from runtime.satellite import SatelliteSpec
from trainkit.aerial_config import IMAGENET_HUB, UNetFormerConfig
from trainkit.checkpoint import (
    CHECKPOINT_NAME,
    CONFIG_NAME,
    WEIGHTS_NAME,
    Origin,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from trainkit.config import TrainConfig
from trainkit.models import LandCoverModel, LateFusionModel, build
from trainkit.torch_model import TorchModel

ORIGIN = Origin(
    segx_version="0.1.0",
    classes=CLASSES,
    steps={"aerial": 3, "satellite": 4},
    toy=True,
    provenance={"seed": 7},
    metrics={"split": "val"},
)
REQUIRED = (
    "created",
    "segx_version",
    "config",
    "classes",
    "branches",
    "fusion_weights",
    "steps",
    "parameters",
    "files",
    "toy",
    "provenance",
    "metrics",
)

Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def model(tiny: TrainConfig) -> LateFusionModel:
    torch.manual_seed(0)
    model = LateFusionModel(tiny)
    model.fusion.set_weights(np.linspace(0, 1, 26, dtype=np.float32).reshape(2, 13))
    return model.eval()


@pytest.fixture
def saved(model: LandCoverModel, tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "run", model, ORIGIN)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / CHECKPOINT_NAME
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def test_a_model_comes_back_as_it_was_saved(
    saved: Path, model: LandCoverModel, tiny: TrainConfig
) -> None:
    checkpoint = load_checkpoint(saved)
    assert checkpoint.config == tiny
    assert checkpoint.classes == CLASSES
    assert not checkpoint.model.training
    theirs = checkpoint.model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(theirs[name], value), name


def test_a_checkpoint_says_where_it_comes_from(saved: Path, model: LateFusionModel) -> None:
    info = load_checkpoint(saved).info
    assert info.steps == {"aerial": 3, "satellite": 4}
    assert info.toy
    assert info.provenance == {"seed": 7}
    assert info.parameters == sum(weight.numel() for weight in model.parameters())
    np.testing.assert_allclose(info.fusion_weights, model.fusion.weights.numpy(), atol=1e-6)
    assert set(info.files) == {WEIGHTS_NAME, CONFIG_NAME}


def test_inference_is_told_what_the_model_takes(saved: Path, tiny: TrainConfig) -> None:
    card = load_checkpoint(saved).card
    assert card.name == "tiny"
    assert card.aerial.bands == tiny.input.aerial_bands
    assert card.aerial.tile_size == 512
    assert card.satellite == SatelliteSpec(dates=tiny.dates)
    assert not card.verified


def test_pretrained_weights_are_not_fetched_again(tiny: TrainConfig, tmp_path: Path) -> None:
    (aerial,) = tiny.aerial
    assert isinstance(aerial, UNetFormerConfig)
    config = replace(tiny, aerial=(replace(aerial, pretrained=IMAGENET_HUB),))
    model = LateFusionModel(tiny)
    model.config = config
    checkpoint = load_checkpoint(save_checkpoint(tmp_path, model, ORIGIN))
    assert checkpoint.config == config
    assert torch.equal(checkpoint.model.state_dict()["fusion.weights"], model.fusion.weights)


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(saved: Path, key: str) -> None:
    edit(saved, lambda data: data.pop(key))
    with pytest.raises(CheckpointError, match=f"lacks the key '{key}'"):
        load_checkpoint(saved)


def test_keys_of_later_versions_are_passed_over(saved: Path) -> None:
    edit(saved, lambda data: data.update(format_version="1.7", later="?"))
    assert load_checkpoint(saved).info.format_version == "1.7"


BREAKS: dict[str, tuple[Break, str]] = {
    "unfinished": (
        lambda run: (run / CHECKPOINT_NAME).unlink(),
        r"has no checkpoint\.json; .* --resume",
    ),
    "no JSON": (
        lambda run: (run / CHECKPOINT_NAME).write_text("{"),
        "cannot be read as JSON",
    ),
    "another major version": (
        lambda run: edit(run, lambda data: data.update(format_version="2.0")),
        r"format_version '2\.0'; this segx reads 1\.x",
    ),
    "changed weights": (
        lambda run: (run / WEIGHTS_NAME).write_bytes((run / WEIGHTS_NAME).read_bytes()[:-1] + b"!"),
        r"model\.safetensors has sha256 .* copy it again",
    ),
    "changed config": (
        lambda run: (run / CONFIG_NAME).write_text("{}"),
        r"config\.json has sha256",
    ),
    "no weights": (
        lambda run: (run / WEIGHTS_NAME).unlink(),
        r"model\.safetensors is missing",
    ),
    "a hash less": (
        lambda run: edit(run, lambda data: data["files"].pop(CONFIG_NAME)),
        r"the sha256 of config\.json in .* is missing",
    ),
    "an archive of pickles": (
        lambda run: torch.save({}, run / WEIGHTS_NAME),
        "is a pickle, which can run code",
    ),
    "a bare pickle": (
        lambda run: (run / WEIGHTS_NAME).write_bytes(b"\x80\x04N."),
        "is a pickle, which can run code",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_damaged_checkpoint_is_refused_with_a_remedy(saved: Path, name: str) -> None:
    damage, message = BREAKS[name]
    damage(saved)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_a_pickle_in_place_of_a_folder_is_refused_unopened(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    torch.save({}, file)
    with pytest.raises(CheckpointError, match="is a pickle, which can run code"):
        load_checkpoint(file)


def test_weights_of_another_config_are_refused(
    saved: Path, tiny: TrainConfig, tmp_path: Path
) -> None:
    other = save_checkpoint(tmp_path / "o", build(replace(tiny, satellite=None)), ORIGIN)
    (saved / WEIGHTS_NAME).write_bytes((other / WEIGHTS_NAME).read_bytes())
    theirs = json.loads((other / CHECKPOINT_NAME).read_text())["files"][WEIGHTS_NAME]
    edit(saved, lambda data: data["files"].update({WEIGHTS_NAME: theirs}))
    with pytest.raises(CheckpointError, match="weights and config do not belong together"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("decoder_width", 16 << 20, "weights and config do not belong together"),
        ("decoder_width", 16 << 56, "is of no model that can be built"),
        ("encoder_depths", [1, 1, 1, 10**9], "expected 1 to 1000 blocks in each stage"),
    ],
)
def test_a_config_that_claims_more_than_there_is_takes_no_memory(
    saved: Path, key: str, value: object, message: str
) -> None:
    file = saved / CONFIG_NAME
    config = json.loads(file.read_text())
    config["aerial"][0][key] = value
    file.write_text(json.dumps(config))
    edit(saved, lambda data: data["files"].update({CONFIG_NAME: sha256_of(file)}))
    with pytest.raises(SegxError, match=message):
        load_checkpoint(saved)


def test_the_newest_checkpoint_is_found_by_its_own_time(
    model: LandCoverModel, tmp_path: Path
) -> None:
    assert newest_checkpoint(tmp_path) is None
    runs = [save_checkpoint(tmp_path / "runs" / name, model, ORIGIN) for name in ("b", "a", "c")]
    edit(runs[1], lambda data: data.update(created="2999-01-01T00:00:00+00:00"))
    (runs[2] / CHECKPOINT_NAME).write_text("{}")
    assert newest_checkpoint(tmp_path) == runs[1]


def test_a_torch_model_runs_as_a_bundle_does(model: LandCoverModel) -> None:
    tensors = {
        name: value for part in model.parts()[:2] for name, value in part.example(batch=2).items()
    }
    feed = {name: value.numpy() for name, value in tensors.items()}
    result = TorchModel(model, device=torch.device("cpu")).run(feed)
    assert set(result) == {"aerial_logits", "satellite_logits", "classes", "confidence"}
    with torch.no_grad():
        fused = model(tensors)
    assert result["classes"].dtype == np.uint8
    assert (result["classes"] == fused.argmax(dim=1).numpy()).all()
    soft = TorchModel(model, variant="probabilities", device=torch.device("cpu")).run(feed)
    np.testing.assert_allclose(soft["probabilities"], torch.softmax(fused, dim=1), atol=1e-6)
    np.testing.assert_allclose(
        result["confidence"], np.rint(254 * soft["probabilities"].max(axis=1)), atol=1
    )


def test_a_feed_that_does_not_match_is_refused(model: LandCoverModel) -> None:
    runnable = TorchModel(model, device=torch.device("cpu"))
    with pytest.raises(FeedError, match="the model also takes 'satellite'"):
        runnable.run({"aerial": np.zeros((1, 5, 512, 512), dtype=np.uint8)})
    with pytest.raises(FeedError, match="each side must be a multiple of 256"):
        runnable.run({"aerial": np.zeros((1, 5, 500, 512), dtype=np.uint8)})
