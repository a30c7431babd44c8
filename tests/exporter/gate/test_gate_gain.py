from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.gate import judge_gate
from exporter.gate_measure import measure_gate


def test_few_patches_leave_the_gain_unjudged_and_the_loss_judged(gate: Any) -> None:
    few = gate.data(count=4, misleading=frozenset())
    report, found = gate.judged(data=few)
    assert report.passed
    assert found.gain is not None
    assert not found.gain.measurable
    assert np.isnan(found.gain.kept)
    assert found.gain.text == "gain not measurable on this data (4 patches; about 5 needed)"
    assert found.gain.text in report.text
    assert gate.check(found, "gain from fusion kept").passed is None
    assert gate.missed(gate.judged(gate.model(satellite=np.zeros_like), few)[1]) == [
        "mIoU loss",
        "worst class loss",
    ]


def test_an_uncertain_gain_says_how_many_patches_would_do(gate: Any) -> None:
    _, found = gate.judged(data=gate.data(count=12, misleading=frozenset({0, 2, 4, 6, 11})))
    assert found.gain is not None
    assert found.gain.reference > 0 > found.gain.reference_bounds.lower
    needed = found.gain.reference_bounds.patches_for(found.gain.reference, 12)
    assert 12 < needed < 1000
    assert f"(12 patches; about {needed:.0f} needed)" in found.gain.text or needed > 99


def test_a_model_that_gains_nothing_is_not_judged_by_its_gain(gate: Any) -> None:
    report, found = gate.judged(data=gate.data(misleading=frozenset(range(12))))
    assert found.gain is not None
    assert found.gain.reference < 0
    assert found.gain.text == "gain not measurable on this data (12 patches; no gain at FP32)"
    assert report.passed


def test_a_small_but_certain_gain_is_said_to_be_too_small(gate: Any) -> None:
    def seldom(logits: NDArray[Any]) -> NDArray[Any]:
        logits[:, :, 5:] = logits[..., 3:] = 0
        return logits

    data = gate.data(count=40, misleading=frozenset())
    model = gate.model(satellite=seldom)
    gain = judge_gate(gate.measured(model, data, reference=model), "int8").candidates[0].gain
    assert gain is not None
    assert 0 < gain.reference_bounds.lower < gain.reference < 1
    assert gain.text.endswith(f"(40 patches; {gain.reference:.2f} points at FP32, 1.00 needed)")


def test_a_model_without_satellite_part_has_no_gain_to_keep(gate: Any) -> None:
    alone = gate.aerial_model()
    data, card = gate.data(), replace(gate.card, satellite=None)
    counted = measure_gate(alone, {"it": alone}, card, data, data.ids("val"))
    report = judge_gate(counted, "fp16")
    assert (report.passed, report.single_mious, report.candidates[0].gain) == (True, {}, None)
    assert report.text.endswith("it: mIoU loss 0.000 points (at most 0.1)")
    assert {item.gain for item in report.candidates[0].classes} == {None}
