from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.gate import judge_gate
from exporter.gate_measure import measure_gate
from exporter.gate_report import BUDGETS
from runtime.evaluate import evaluate


def test_a_model_compared_with_itself_keeps_all_of_its_gain(gate: Any) -> None:
    for precision in BUDGETS:
        report, found = gate.judged(precision=precision)
        assert report.passed
        assert gate.missed(found) == []
        assert found.gain is not None
        assert (found.gain.measurable, found.gain.kept) == (True, 100.0)
        assert found.gain.single == "aerial"
        assert found.gain.bounds == found.gain.reference_bounds
        assert found.gain.reference > found.gain.bounds.lower > 0
        assert (found.agreement, found.miou_loss) == (100.0, 0.0)
        assert report.text.startswith(
            f"{precision} keeps to its budgets on 12 patches of fake-data (val), 3 classes, against"
        )
        assert "100 % of the gain from fusion kept" in report.text


def test_scores_are_those_of_segx_eval(gate: Any) -> None:
    data = gate.data()
    report, found = gate.judged(gate.model(fusion=gate.swap), data)
    reference = evaluate(gate.model(), gate.card, data, "val").scores
    expected = evaluate(gate.model(fusion=gate.swap), gate.card, data, "val").scores
    assert (report.reference_miou, found.miou) == (reference.miou, expected.miou)
    assert [item.iou for item in found.classes[:3]] == [c.iou for c in expected.classes[:3]]
    assert expected.miou < reference.miou


def test_every_class_is_told_with_its_loss_and_the_sign_of_its_gain(gate: Any) -> None:
    _, found = gate.judged(gate.model(fusion=gate.swap))
    by_name = {item.name: item for item in found.classes}
    assert list(by_name) == list(gate.names)
    for item in found.classes[:3]:
        assert item.change == pytest.approx(100 * (item.iou - item.reference_iou))
        assert item.gain is not None
        assert item.gain_fp32 is not None
        assert item.gain - item.gain_fp32 == pytest.approx(item.change)
    assert by_name["water"].gain_fp32 == 0.0
    assert by_name["water"].gain is not None
    assert by_name["water"].gain < 0
    assert not by_name["other"].scored


def test_a_satellite_branch_of_zeros_fails_by_the_gain_alone(gate: Any) -> None:
    report, found = gate.judged(gate.model(satellite=np.zeros_like), budgets=gate.wide)
    assert not report.passed
    assert found.gain is not None
    assert found.gain.kept == 0.0
    assert found.gain.bounds.lower == 0.0
    assert gate.missed(found) == ["gain from fusion kept", "lower bound of the gain from fusion"]
    assert report.text.count("gain from fusion kept 0.000 % (at least 80)") == 1


@pytest.mark.parametrize(("wrong", "passed"), [(1, True), (4, False)])
def test_four_fifths_of_the_gain_must_be_kept(gate: Any, wrong: int, passed: bool) -> None:
    seen = []

    def sometimes(logits: NDArray[Any]) -> NDArray[Any]:
        seen.append(1)
        return logits * (len(seen) > wrong)

    _, found = gate.judged(gate.model(satellite=sometimes), budgets=gate.wide)
    assert found.gain is not None
    assert (found.gain.kept >= 80, found.passed) == (passed, passed)
    assert found.gain.bounds.lower > 0, "the bound alone would pass"


def test_noise_fails_and_the_classes_that_lost_most_are_named(gate: Any) -> None:
    report, found = gate.judged(gate.model(fusion=gate.swap))
    assert not report.passed
    assert {"mIoU loss", "worst class loss"} <= set(gate.missed(found))
    worst = gate.check(found, "worst class loss")
    assert worst.note == min(found.classes[:3], key=lambda item: item.change).name == "orchard"
    assert "worst class loss of orchard" in report.text
    assert "most lost by orchard (-" in report.text
    assert "water (-" in report.text
    assert report.text.startswith("int8 misses its budgets")


@pytest.mark.parametrize("drawn", [0, 3, 255])
def test_a_map_of_one_value_fails_and_what_vanished_counts_as_nothing(
    gate: Any, drawn: int
) -> None:
    report, found = gate.judged(gate.model(fusion=lambda classes: np.full_like(classes, drawn)))
    assert not report.passed
    assert {"mIoU loss", "worst class loss", "gain from fusion kept"} <= set(gate.missed(found))
    vanished = [item for item in found.classes[:3] if item.name != gate.names[min(drawn, 3)]]
    assert [item.iou for item in vanished] == [0.0] * len(vanished)
    expected = 100 * (report.reference_miou - np.mean([item.iou for item in found.classes[:3]]))
    assert found.miou_loss == pytest.approx(expected)
    assert report.scored_classes == 3


def test_fp16_must_agree_where_there_are_no_labels_too(gate: Any) -> None:
    def noisy_top(classes: NDArray[Any]) -> NDArray[Any]:
        classes[:, 0, :9] = 3
        return classes

    report, found = gate.judged(gate.model(fusion=noisy_top), precision="fp16")
    assert found.miou_loss == 0.0
    assert gate.missed(found) == ["agreement"]
    assert found.agreement == pytest.approx(100 * (1 - 9 / (24 * 31)))
    assert "agreement 98.790 % (at least 99.5)" in report.text
    report, _ = gate.judged(gate.model(fusion=noisy_top), precision="int8")
    assert report.passed, "INT8 has no such budget"


def test_one_candidate_that_fails_fails_the_bundle(gate: Any) -> None:
    data = gate.data()
    found = {"emulation": gate.model(), "OpenVINO": gate.model(fusion=gate.swap)}
    counted = measure_gate(gate.model(), found, gate.card, data, data.ids("val"))
    report = judge_gate(counted, "int8")
    assert [candidate.passed for candidate in report.candidates] == [True, False]
    assert not report.passed
    assert "OpenVINO: mIoU loss" in report.text
    assert "emulation" not in report.text
