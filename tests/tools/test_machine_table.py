"""docs/machines.md says what the cards beside it say."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from bench_case import bench_result

from runtime.bundle import open_bundle
from runtime.errors import ConfigError
from runtime.jsonfile import write_json
from runtime.machine import look_at_machine
from runtime.machine_card import MachineCard, make_card

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "machine_table.py"
TEXT = (ROOT / "docs" / "machines.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("machine_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["machine_table"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def card(tiny_bundle: Path) -> MachineCard:
    return make_card(
        look_at_machine(), [(open_bundle(tiny_bundle), bench_result())], segx_version="0.1.0"
    )


def test_the_page_is_what_the_tool_writes(tool: ModuleType) -> None:
    assert tool.page(TEXT, tool.table(tool.read_cards(), tool.read_targets())) == TEXT


def test_every_row_says_whether_it_has_run(tool: ModuleType) -> None:
    rows = [row.split("|") for row in TEXT.splitlines() if row.startswith("|")][2:]
    states = [row[2].strip() for row in rows]
    assert set(states) == {"run", "built only", "never run"}
    assert states == sorted(states, key=["run", "built only", "never run"].index)
    assert {len(row) for row in rows} == {len(tool.COLUMNS) + 2}


def test_a_card_becomes_a_row_as_it_was_written(
    tool: ModuleType, card: MachineCard, tmp_path: Path
) -> None:
    write_json(tmp_path / "a.json", card)
    (read,) = tool.read_cards(tmp_path)
    assert read == card
    (_, _, row) = tool.table([read], []).splitlines()
    assert "| run |" in row
    assert "| `tiny` fp32 | openvino fp32 | 100.00 | 10 |" in row


def test_a_target_with_a_card_has_no_row_of_its_own(tool: ModuleType, card: MachineCard) -> None:
    targets = [
        tool.Target(name="Orin", matches="Orin", state="never run"),
        tool.Target(name="8.6", matches="capability 8.6", state="built only", note="a|b"),
    ]
    rows = tool.table([], targets).splitlines()[2:]
    assert [row.split("|")[1:3] for row in rows] == [
        [" 8.6 ", " built only "],
        [" Orin ", " never run "],
    ]
    assert "a/b" in rows[0]
    machine = dataclasses.replace(card.machine, board="Jetson AGX Orin")
    rows = tool.table([dataclasses.replace(card, machine=machine)], targets).splitlines()[2:]
    assert [row.split("|")[2].strip() for row in rows] == ["run", "built only"]


def test_a_card_of_another_kind_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"card_version": 1}')
    with pytest.raises(ConfigError, match="lacks the key 'made'"):
        tool.read_cards(tmp_path)


def test_a_page_without_its_marks_is_refused(tool: ModuleType) -> None:
    with pytest.raises(SystemExit, match="lacks <!-- machines"):
        tool.page(TEXT.replace(tool.END, ""), "")
