"""docs/training.md says what the config's classes say, and its example can be trained."""

import json
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from trainkit.config import TrainConfig, load
from trainkit.recipe import AugmentConfig, OptimConfig, StageConfig, TrainingConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"
TABLES = (TrainingConfig, OptimConfig, AugmentConfig)


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


@pytest.fixture
def example(text: str, tmp_path: Path) -> TrainConfig:
    (block,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    file = tmp_path / "deck.toml"
    file.write_text(block)
    return load(file)


def documented(text: str) -> dict[str, str]:
    """Default by key, of every table of keys."""
    return dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", text, flags=re.MULTILINE))


def written(field: "Field[Any]") -> str:
    """A default as TOML has it."""
    if isinstance(field.default, float):
        return repr(field.default)
    return json.dumps(field.default)


def test_every_key_is_in_a_table_with_its_default(text: str) -> None:
    expected = {
        field.name: written(field)
        for table in TABLES
        for field in fields(table)
        if field.default is not MISSING
    }
    assert expected == {name: value for name, value in documented(text).items()}


def test_every_key_of_a_stage_is_named(text: str) -> None:
    section = text[text.index("## Stages") : text.index("```toml")]
    named = set(re.findall(r"`(\w+)`", section[section.index("It may say") :]))
    assert {field.name for field in fields(StageConfig)} <= named


def test_the_example_has_the_phases_of_the_deck(example: TrainConfig) -> None:
    stages = example.training.aerial.trainings
    assert [stage.lr for stage in stages] == [1e-4, 1e-4, 1e-4, 1e-5, 1e-6]
    assert [stage.lr * stage.encoder_lr_factor for stage in stages] == pytest.approx(
        [1e-4, 1e-6, 1e-6, 1e-7, 1e-8]
    )
    assert [stage.dice_weight for stage in stages] == [0.0, 0.0, 1.0, 0.0, 0.5]
    assert [stage.epochs for stage in stages] == [50, 30, 30, 30, 30]
    assert {stage.batch * stage.accumulate for stage in stages} == {16}
