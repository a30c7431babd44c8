"""What a recipe refuses, and how it is written in TOML."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError
from trainkit.config import InputConfig, TrainConfig, load
from trainkit.joint_config import DifdConfig
from trainkit.recipe import AugmentConfig, OptimConfig, StageConfig, TrainingConfig

HEAD = 'name = "x"\nnum_classes = 5\n[[aerial]]\nencoder = "resnet18"\n'


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Function that reads a config that ends in this text."""

    def read(text: str) -> TrainConfig:
        file = tmp_path / "x.toml"
        file.write_text(HEAD + text)
        return load(file)

    return read


def test_rules_and_lists_are_read_from_toml(read: Any) -> None:
    config = read(
        '[training.augment]\ndate_dropout = "uniform"\n'
        "[training.aerial]\nclass_weights = [0.008, 0.58, 0.015, 0.082, 0.31]\n"
        "dice_class_weights = true\n"
        '[[training.aerial.stages]]\nlr = 1e-5\n[[training.aerial.stages]]\nclass_weights = "none"'
        "\ndice_class_weights = false\nsteps = 7\n"
    )
    assert config.training.augment.date_dropout == "uniform"
    first, second = config.training.aerial.trainings
    assert first.class_weights == (0.008, 0.58, 0.015, 0.082, 0.31)
    assert (first.lr, first.dice_class_weights, first.epochs) == (1e-5, True, 30)
    assert (second.lr, second.class_weights, second.epochs, second.steps) == (1e-4, "none", 0, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class_weights = [1.0, 2.0]", r"training\.aerial\.class_weights has 2 values for 5"),
        (
            "[[training.aerial.stages]]\nclass_weights = [1.0]",
            r"training\.aerial\.class_weights has 1 values for 5",
        ),
        ('class_weights = "inverted"', "expected one of none, inverse-sqrt, inverse"),
        ("[[training.aerial.stages]]\nbatch = 3", "unknown key 'batch'"),
        ("[[training.aerial.stages]]\nsteps = 3\nepochs = 2", "stage 1: epochs is 2 and steps is"),
        ("frozen_epochs = 1\nfrozen_steps = 2", "frozen_epochs is 1 and frozen_steps is 2"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(read: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(f"[training.aerial]\n{text}\n")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ce_weight": 0.0, "dice_weight": 0.0}, "none below 0 and one above"),
        ({"dice_weight": -1.0}, "none below 0 and one above"),
        ({"class_weights": (0.0, 0.0)}, "one per class, none below 0 and one above"),
        ({"dice_class_weights": True}, "dice_class_weights needs class_weights"),
        ({"focal_gamma": -1.0}, "focal_gamma is -1.0; expected 0 or above"),
        ({"lr": 0.0, "min_lr": 0.0}, r"lr is 0\.0 and min_lr is 0\.0"),
    ],
)
def test_losses_and_rates_that_teach_nothing_are_refused(
    keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        OptimConfig(**keys)


@pytest.mark.parametrize("keys", [{"zoom": 0.1}, {"rotate": 5.0}])
def test_a_joint_model_s_window_cannot_follow_zoom_and_turn(keys: dict[str, float]) -> None:
    training = TrainingConfig(augment=AugmentConfig(**keys))  # type: ignore[arg-type]
    inputs = InputConfig(satellite_window=32)
    with pytest.raises(ValueError, match="joint model's satellite window cannot follow"):
        TrainConfig(name="x", joint=DifdConfig(), input=inputs, training=training)


def test_hue_needs_colours(tiny: TrainConfig) -> None:
    inputs = InputConfig(aerial_bands=("nir", "red"), aerial_mean=(1.0, 1.0), aerial_std=(1.0, 1.0))
    training = TrainingConfig(augment=AugmentConfig(hue_saturation=0.1))
    with pytest.raises(
        ValueError, match="the aerial bands are nir, red; expected red, green, blue"
    ):
        replace(tiny, input=inputs, training=training)


def test_an_empty_stage_says_nothing() -> None:
    assert StageConfig().changes() == {}
