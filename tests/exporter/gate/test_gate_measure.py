import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.gate import judge_gate
from exporter.gate_measure import SingleBranches, measure_gate
from runtime.boundary import boundary_band
from runtime.errors import DataError
from runtime.jsonfile import write_json
from runtime.model import make_feed


def test_branches_run_once_a_patch_and_fusion_once_a_map(gate: Any) -> None:
    reference, data = gate.model(), gate.data(count=3)
    seen: list[tuple[int, int]] = []
    measure_gate(
        reference,
        {},
        gate.card,
        data,
        data.ids("val"),
        on_patch=lambda done, total: seen.append((done, total)),
    )
    assert gate.runs(reference) == [3, 3, 9]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_single_branch_is_the_winner_of_its_own_logits(gate: Any) -> None:
    model, sample = gate.model(), gate.data().read("p001", gate.card.satellite)
    feed = make_feed([sample.aerial], [sample.satellite])
    fused, alone = SingleBranches(model).run(feed)
    logits = {name: array[0] for name, array in model.run(feed).items() if "logits" in name}
    for name, found in alone.items():
        np.testing.assert_array_equal(found, logits[f"{name}_logits"].argmax(axis=0))
    np.testing.assert_array_equal(fused, sum(logits.values()).argmax(axis=0))
    assert len({array.tobytes() for array in (fused, *alone.values())}) == 3


def test_the_boundary_is_counted_apart_and_judged_where_it_has_a_budget(gate: Any) -> None:
    def beside_borders(classes: NDArray[Any]) -> NDArray[Any]:
        near = boundary_band(classes[0], width=1)
        return np.where(near & (classes == 2), 0, classes).astype(np.uint8)

    budgets = replace(gate.wide, gain_kept=0.0)
    _, found = gate.judged(gate.model(fusion=beside_borders), budgets=budgets)
    loss = gate.check(found, "boundary mIoU loss")
    assert (loss.passed, found.passed) == (None, True)
    assert loss.found > found.miou_loss > 0
    strict = replace(budgets, boundary_loss=loss.found / 2)
    _, found = gate.judged(gate.model(fusion=beside_borders), budgets=strict)
    assert gate.missed(found) == ["boundary mIoU loss"]


def test_the_report_becomes_json(gate: Any, tmp_path: Path) -> None:
    report, _ = gate.judged(data=gate.data(count=3))
    write_json(tmp_path / "gate.json", report)
    data = json.loads((tmp_path / "gate.json").read_text())
    assert data["split"] == "val"
    assert (data["patches"], data["ids"]) == (3, ["p000", "p001", "p002"])
    assert data["fingerprint"] == "f" * 64
    assert data["budgets"]["class_loss"] == 2.0
    (candidate,) = data["candidates"]
    assert (candidate["name"], candidate["executed"]) == ("it", "fp32")
    assert candidate["gain"]["kept"] is None, "not measurable on three patches"
    assert candidate["classes"][3]["iou"] is None, "no label and no pixel of it"
    assert set(candidate["checks"][0]) >= {"name", "found", "budget", "passed"}


def test_without_patches_or_scored_labels_there_is_nothing_to_measure(gate: Any) -> None:
    data = gate.data(labelled=(3,))
    with pytest.raises(DataError, match=r"fake-data gives no patches to measure on; expected at"):
        measure_gate(gate.model(), {}, gate.card, data, ())
    with pytest.raises(DataError, match=r"no label of a scored class in 12 patch\(es\); expected"):
        gate.measured(data=data)


def test_a_wrong_call_is_refused(gate: Any) -> None:
    data = gate.data(count=1)
    with pytest.raises(ValueError, match="no candidate to judge"):
        judge_gate(measure_gate(gate.model(), {}, gate.card, data, data.ids("val")), "int8")
    with pytest.raises(ValueError, match="no budgets for fp32"):
        judge_gate(gate.measured(data=data), "fp32")
