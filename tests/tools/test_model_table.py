"""docs/models.md says what its generator counts and what docs/models.toml holds."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from trainkit.config import presets

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "model_table.py"
TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
FEW = ("cse-unet", "u-tae", "unet-resnet34-tiny")
"""Presets that are counted quickly."""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_table"] = module
    spec.loader.exec_module(module)
    return module


def test_every_preset_has_its_row_in_every_table() -> None:
    rows = [row.split("|")[1].strip() for row in TEXT.splitlines() if row.startswith("| `")]
    assert list(dict.fromkeys(rows)) == [f"`{name}`" for name in presets()]
    assert min(map(rows.count, rows)) >= 3


def test_the_page_has_the_figures_of_the_file(tool: ModuleType) -> None:
    figures = tool.read_figures()
    assert tool.measured(figures) in TEXT
    assert tool.bundled(figures) in TEXT
    for name, preset in figures.presets.items():
        said = preset.published
        assert said is None or f"{said.figure} ({said.source})" in TEXT, name


@pytest.mark.parametrize("name", FEW)
def test_a_row_has_what_is_counted(name: str, tool: ModuleType) -> None:
    assert tool.line(tool.counted_row(name, tool.read_figures())) in TEXT


@pytest.mark.matrix
def test_the_page_is_what_the_generator_writes(tool: ModuleType) -> None:
    assert tool.page(TEXT, tool.read_figures()) == TEXT


def test_a_page_without_its_marks_is_refused(tool: ModuleType) -> None:
    without = TEXT.replace("<!-- end of measured -->\n", "")
    with pytest.raises(SystemExit, match="lacks <!-- measured"):
        tool.put(without, "measured", "")
    assert "| new |" in tool.put(TEXT, "measured", "| new |\n")
