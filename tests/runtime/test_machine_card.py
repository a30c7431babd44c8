"""A card says what bundles did on a machine, and nothing of the bundles' or the scene's owners."""

import dataclasses
import json
from pathlib import Path

import pytest
from bench_case import bench_result

from runtime.bundle import open_bundle
from runtime.energy import Energy
from runtime.jsonfile import write_json
from runtime.machine import look_at_machine
from runtime.machine_card import SHEET_PX, make_card, sheet_cost


def test_a_sheet_takes_as_many_times_as_long_as_it_is_larger() -> None:
    run = bench_result(wall_s=30.0, pixels=25_000_000).end_to_end
    assert run is not None
    cost = sheet_cost(run, start_s=60.0)
    assert 25 * run.pixels == SHEET_PX**2
    assert cost.minutes == pytest.approx(1.0 + 25 * 0.5)
    assert (cost.joules, cost.energy_source, cost.measured_px) == (None, None, 25_000_000)
    used = Energy(joules=8.0, mean_watts=2.0, source="RAPL", joules_by_source={"RAPL": 8.0})
    cost = sheet_cost(dataclasses.replace(run, energy=used), start_s=60.0)
    assert (cost.joules, cost.energy_source) == (200.0, "RAPL")


def test_a_card_has_every_figure_and_no_name_of_anybody(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    result = bench_result(bundle="secret-project", outputs=("secret/map.tif",), load_s=2.0)
    card = make_card(look_at_machine(), [(bundle, result)], segx_version="0.1.0")
    write_json(tmp_path / "card.json", card)
    text = (tmp_path / "card.json").read_text()
    assert "secret" not in text
    assert str(tiny_bundle.parent) not in text
    (run,) = json.loads(text)["runs"]
    assert run["cold_start_s"] == 2.0 + result.first_tile_s
    assert (run["config"], run["precision"], run["executed"]) == ("tiny", "fp32", result.precision)
    assert (run["golden_agreement"], run["latency_p50_ms"]) == (1.0, result.latency_ms.p50)
    assert run["sheet"]["minutes"] > 0
    assert run["miou"] is None


def test_without_a_scene_there_is_no_sheet(tiny_bundle: Path) -> None:
    result = dataclasses.replace(bench_result(), end_to_end=None)
    card = make_card(look_at_machine(), [(open_bundle(tiny_bundle), result)], segx_version="")
    assert (card.runs[0].sheet, card.runs[0].mpx_per_s) == (None, None)
