"""Every small preset trains on a data set that is generated for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainkit.checkpoint import load_checkpoint
from trainkit.config import load, presets
from trainkit.plan import TrainOptions
from trainkit.train import Watch, train


@pytest.mark.matrix
@pytest.mark.parametrize("name", [name for name in presets() if name.endswith("-tiny")])
def test_a_small_preset_trains_on_its_sample(
    name: str, sample_of: Callable[[str], Path], tmp_path: Path
) -> None:
    config = load(name)
    options = TrainOptions(segx_version="0.1.0", steps=2)
    out = train(config, sample_of(name), tmp_path / "run", options, Watch())
    checkpoint = load_checkpoint(out)
    assert checkpoint.config == config
    assert set(checkpoint.info.steps) == set(checkpoint.model.units)
    assert min(checkpoint.info.steps.values()) >= 2
