from collections.abc import Callable

import pytest

from exporter.accuracy import EvalData, judge
from runtime.manifest import Accuracy


def accuracy(miou: float, reference: float) -> Accuracy:
    return Accuracy(
        dataset="d",
        split="val",
        patches=7,
        miou=miou,
        accuracy=0.5,
        scored_classes=9,
        iou={},
        reference_miou=reference,
    )


TRAINED = {"aerial": 10, "satellite": 5}


@pytest.mark.parametrize(("miou", "verified"), [(0.5, True), (0.4996, True), (0.4994, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_gate_is_half_a_thousandth_either_way(
    miou: float, verified: bool, sign: int, data: Callable[..., EvalData]
) -> None:
    found = judge(TRAINED, data(), accuracy(0.5 + sign * (0.5 - miou), 0.5))
    assert (found.verified, found.missed) == (verified, not verified)
    assert "against 50.00 % of the checkpoint on 7 patches, 9 classes; 0.05 points" in found.text


def test_untrained_weights_are_never_verified(data: Callable[..., EvalData]) -> None:
    found = judge({"aerial": 10, "satellite": 0}, data(), accuracy(0.5, 0.5))
    assert (found.verified, found.missed) == (False, False)
    assert found.text == "untrained weights (satellite)"


def test_without_data_nothing_is_verified() -> None:
    found = judge(TRAINED, None, None)
    assert (found.verified, found.missed) == (False, False)
    assert found.text == "no data to measure on"


def test_labels_without_a_scored_class_verify_nothing(data: Callable[..., EvalData]) -> None:
    found = judge(TRAINED, data(), None)
    assert (found.verified, found.missed) == (False, False)
    assert found.text == "no scored class in fake-data (val)"
