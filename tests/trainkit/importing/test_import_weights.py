"""Weights of a preset's architecture, under the names that trainings give them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from published_hub import with_statistics
from torch import Tensor

from runtime.errors import CheckpointError, ConfigError
from runtime.schema import to_dict
from trainkit.checkpoint import build_empty, load_checkpoint
from trainkit.config import TrainConfig, load
from trainkit.importing import LISTS, ImportOptions, import_weights
from trainkit.importing.importing import with_classes
from trainkit.models import LandCoverModel

OPTIONS = ImportOptions(segx_version="0.1.0")
PRESET = "unet-resnet34-tiny"


@pytest.fixture(scope="module")
def model() -> LandCoverModel:
    torch.manual_seed(3)
    return build_empty(load(PRESET)).eval()


def saved(folder: Path, weights: dict[str, Any], name: str = "weights.pth") -> Path:
    torch.save(weights, folder / name)
    return folder / name


def state(model: LandCoverModel, *, branch: bool = False) -> dict[str, Tensor]:
    start = "branches.aerial."
    whole = {key: value.clone() for key, value in model.state_dict().items()}
    if not branch:
        return whole
    return {k.removeprefix(start): v for k, v in whole.items() if k.startswith(start)}


@pytest.mark.parametrize("prefix", ["", "model.", "net.", "module.", "_orig_mod.", "model.module."])
@pytest.mark.parametrize("branch", [True, False])
def test_weights_are_found_behind_any_prefix(
    prefix: str, branch: bool, model: LandCoverModel, tmp_path: Path
) -> None:
    weights = {prefix + key: value for key, value in state(model, branch=branch).items()}
    file = saved(tmp_path, {"state_dict": weights, "epoch": 1})
    report = import_weights(file, PRESET, tmp_path / "run", OPTIONS)
    assert (report.prefix, report.wrapper, report.matched) == (prefix, "state_dict", len(weights))
    found = load_checkpoint(tmp_path / "run")
    assert all(
        torch.equal(a, b)
        for a, b in zip(found.model.state_dict().values(), model.state_dict().values(), strict=True)
    )
    assert found.config == model.config
    assert found.classes == LISTS["flair13"]
    assert not list(tmp_path.glob(".run*"))


def test_the_report_is_plain_and_stands_in_the_checkpoint(
    model: LandCoverModel, tmp_path: Path
) -> None:
    file = saved(tmp_path, state(model))
    report = import_weights(file, PRESET, tmp_path / "run", OPTIONS)
    assert json.loads(json.dumps(to_dict(report)))["matched"] == report.matched
    kept = load_checkpoint(tmp_path / "run").info.provenance["imported"]
    assert kept == to_dict(replace(report, source=file.name, checkpoint="run"))
    assert str(tmp_path) not in (tmp_path / "run" / "checkpoint.json").read_text()


@torch.no_grad()
def test_a_u_net_of_segmentation_models_pytorch_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=5, classes=19)
    with_statistics(theirs)
    weights = {f"model.seg_model.{key}": value for key, value in theirs.state_dict().items()}
    file = saved(tmp_path, {"state_dict": weights | {"criterion.weight": torch.ones(19)}}, "a.ckpt")
    report = import_weights(file, "flair-inc-unet-resnet34", tmp_path / "run", OPTIONS)
    assert report.layout == "segmentation_models_pytorch"
    assert report.not_read == ("criterion.weight",)
    found = load_checkpoint(tmp_path / "run")
    assert found.classes == LISTS["flair19"]
    image = torch.randint(0, 256, (1, 5, 64, 64), dtype=torch.uint8)
    mean, std = (
        torch.tensor(values).view(1, 5, 1, 1)
        for values in (found.config.input.aerial_mean, found.config.input.aerial_std)
    )
    expected = theirs((image.float() - mean) / std)
    (branch,) = found.model.parts()[:1]
    torch.testing.assert_close(branch.module(image), expected, atol=1e-4, rtol=1e-4)


def test_heads_for_training_alone_may_be_missing_or_too_many(tmp_path: Path) -> None:
    config = load("u-t-and-t-tiny")
    whole = state(build_empty(config))
    extra = {k: v for k, v in whole.items() if k.startswith("satellite_head.")}
    assert extra
    without = saved(tmp_path, {k: v for k, v in whole.items() if k not in extra})
    report = import_weights(without, config.name, tmp_path / "run", OPTIONS)
    assert set(report.left_random) == set(extra)


def test_missing_weights_are_refused_and_nothing_is_written(
    model: LandCoverModel, tmp_path: Path
) -> None:
    weights = state(model)
    del weights["branches.aerial.head.bias"]
    file = saved(tmp_path, weights)
    with pytest.raises(CheckpointError, match=r"lacks branches\.aerial\.head\.bias; expected all"):
        import_weights(file, PRESET, tmp_path / "run", OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_unexpected_weights_are_refused_unless_allowed(
    model: LandCoverModel, tmp_path: Path
) -> None:
    file = saved(tmp_path, state(model) | {"extra.weight": torch.ones(2)})
    with pytest.raises(CheckpointError, match=r"also holds extra\.weight.*--ignore-unexpected"):
        import_weights(file, PRESET, tmp_path / "run", OPTIONS)
    allowed = replace(OPTIONS, ignore_unexpected=True)
    report = import_weights(file, PRESET, tmp_path / "run", allowed)
    assert report.passed_over == ("extra.weight",)


def test_other_classes_take_their_names(tmp_path: Path) -> None:
    config = with_classes(load(PRESET), 6)
    file = saved(tmp_path, state(build_empty(config)))
    with pytest.raises(CheckpointError, match=r"head of 6 classes; .* has 13; .*--classes"):
        import_weights(file, PRESET, tmp_path / "run", OPTIONS)
    import_weights(file, PRESET, tmp_path / "run", replace(OPTIONS, classes="potsdam"))
    found = load_checkpoint(tmp_path / "run")
    assert found.classes == LISTS["potsdam"]
    assert found.config.num_classes == 6


def test_other_bands_take_another_target(tmp_path: Path) -> None:
    config = load(PRESET)
    three = replace(
        config.input,
        aerial_bands=("red", "green", "blue"),
        aerial_mean=(1.0,) * 3,
        aerial_std=(1.0,) * 3,
    )
    file = saved(tmp_path, state(build_empty(replace(config, input=three)), branch=True))
    with pytest.raises(CheckpointError, match=r"reads 3 aerial bands; .* has 5"):
        import_weights(file, PRESET, tmp_path / "run", OPTIONS)


def test_statistics_of_the_file_that_differ_are_refused(
    model: LandCoverModel, tmp_path: Path
) -> None:
    weights = state(model)
    weights["branches.aerial.mean"] = weights["branches.aerial.mean"] + 1.0
    file = saved(tmp_path, weights)
    with pytest.raises(CheckpointError, match=r"mean of 106.1.* has 105.1.*copy of the preset"):
        import_weights(file, PRESET, tmp_path / "run", OPTIONS)


def test_another_architecture_and_broken_numbers_are_refused(
    model: LandCoverModel, tmp_path: Path
) -> None:
    file = saved(tmp_path, state(model))
    with pytest.raises(CheckpointError, match=r"weights of multires-unet-tiny .* lacks"):
        import_weights(file, "multires-unet-tiny", tmp_path / "run", OPTIONS)
    weights = state(model)
    weights["branches.aerial.head.bias"][0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN or infinity in branches"):
        import_weights(saved(tmp_path, weights), PRESET, tmp_path / "run", OPTIONS)


def test_two_whole_sets_of_weights_are_refused(model: LandCoverModel, tmp_path: Path) -> None:
    whole = state(model)
    twice = {f"{name}.{k}": v for name in ("model", "ema") for k, v in whole.items()}
    with pytest.raises(CheckpointError, match=r"all weights twice, under '(model|ema)\.'"):
        import_weights(saved(tmp_path, twice), PRESET, tmp_path / "run", OPTIONS)


def test_a_folder_that_is_there_is_left_alone(model: LandCoverModel, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    with pytest.raises(CheckpointError, match=r"is there already.*--out"):
        import_weights(saved(tmp_path, state(model)), PRESET, tmp_path / "run", OPTIONS)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


CLASSES = """
[[classes]]
name = "water"
color = "#1553ae"
[[classes]]
name = "{second}"
color = "#46e483"
"""


def small(classes: int) -> TrainConfig:
    return with_classes(load(PRESET), classes)


def test_classes_come_from_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "classes.toml"
    listed.write_text(CLASSES.format(second="land"))
    file = saved(tmp_path, state(build_empty(small(2))))
    report = import_weights(file, PRESET, tmp_path / "run", replace(OPTIONS, classes=str(listed)))
    assert report.classes == ("water", "land")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CLASSES.format(second="water"), "2 classes, 1 of them different"),
        ("[[classes]]\nname = 'x'\n", "lacks the key 'color'"),
        ("classes = ", "is not TOML"),
        (None, "no list of classes"),
    ],
)
def test_a_bad_list_of_classes_is_refused(
    text: str | None, message: str, model: LandCoverModel, tmp_path: Path
) -> None:
    listed = tmp_path / "classes.toml"
    if text is not None:
        listed.write_text(text)
    with pytest.raises(ConfigError, match=message):
        import_weights(
            saved(tmp_path, state(model)),
            PRESET,
            tmp_path / "run",
            replace(OPTIONS, classes=str(listed)),
        )


def test_published_lists_have_the_order_of_their_data() -> None:
    hub, flair = LISTS["flair-hub"], LISTS["flair19"]
    assert [item.name for item in hub[:3]] == ["building", "greenhouse", "swimming pool"]
    assert len(hub) == len(flair) == 19
    assert sum(item.scored for item in hub) == 15
    assert flair[:12] == LISTS["flair13"][:12]
    assert {item.color for item in hub} == {item.color for item in flair}
