import csv
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from trainkit.config import load
from trainkit.joint_config import DifdConfig

TOOL = Path(__file__).parents[2] / "tools" / "ablation.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablation"] = module
    spec.loader.exec_module(module)
    return module


def test_variants_change_one_key_each_and_leave_out_what_a_config_already_is(
    tool: ModuleType,
) -> None:
    config = load("difd-tiny")
    made = list(tool.variants(config, ["upsampler", "bands", "context"]))
    assert made[0] == config
    assert [item.name.removeprefix("difd-tiny-") for item in made[1:]] == [
        "bilinear", "nearest", "pixelshuffle", "4b", "10b", "aspp",
    ]  # fmt: skip
    for item in made[1:]:
        assert isinstance(item.joint, DifdConfig)
        changed = [
            name
            for name in ("upsampler", "satellite_channels", "context")
            if getattr(item.joint, name) != getattr(config.joint, name)
        ]
        assert len(changed) == 1
        assert replace(item, name=config.name, joint=config.joint) == config


def test_a_config_without_a_difd_has_no_variants(tool: ModuleType) -> None:
    config = load("deeplabv3plus-tiny")
    assert list(tool.variants(config, ["upsampler", "bands"])) == [config]


@pytest.mark.parametrize("name", ["4b", "10b"])
def test_sets_of_channels_are_those_of_the_presets(tool: ModuleType, name: str) -> None:
    config = load(f"difd-{name}")
    assert isinstance(config.joint, DifdConfig)
    assert config.joint.satellite_channels == tool.BANDS[name]


def test_the_table_has_a_row_per_config_and_a_column_per_class(
    tool: ModuleType, tmp_path: Path
) -> None:
    rows = [
        tool.Row(name="a", parameters=1234, steps=5, miou=0.5, iou={"road": 0.25, "water": None}),
        tool.Row(name="b", parameters=99, steps=5, miou=None, iou={"road": 0.125, "water": 1.0}),
    ]
    tool.write(tmp_path, rows)
    with (tmp_path / "ablation.csv").open(newline="") as stream:
        found = list(csv.reader(stream))
    assert found == [
        ["config", "parameters", "steps", "mIoU", "road", "water"],
        ["a", "1234", "5", "50.00", "25.00", "-"],
        ["b", "99", "5", "-", "12.50", "100.00"],
    ]
    lines = (tmp_path / "ablation.md").read_text().splitlines()
    assert lines[1] == "|" + "---|" * 6
    assert [line.count("|") for line in lines] == [7] * 4
