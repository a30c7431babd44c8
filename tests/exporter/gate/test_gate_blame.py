from typing import Any

import numpy as np
import pytest

from exporter.gate_blame import mixed, which_part


@pytest.mark.parametrize(
    ("broken", "change"),
    [("satellite", np.zeros_like), ("aerial", lambda logits: logits[:, ::-1]), ("fusion", None)],
)
def test_the_part_that_is_broken_is_blamed(gate: Any, broken: str, change: Any) -> None:
    data, candidate = gate.data(), gate.model(**{broken: change or gate.swap})
    report, found = gate.judged(candidate, data)
    blame = which_part(report, "it", (gate.model(), candidate), gate.card, data)
    assert blame is not None
    assert [twin.part for twin in blame.twins if twin.passed] == [broken]
    assert (blame.twins[0].part, blame.twins[0].miou_loss) == (broken, 0.0)
    assert blame.text == (
        f"with {broken} in FP32 it keeps to its budgets "
        f"(mIoU loss 0.00 instead of {found.miou_loss:.2f} points)"
    )


def test_two_broken_parts_are_not_mended_by_one(gate: Any) -> None:
    data, candidate = gate.data(), gate.model(satellite=np.zeros_like, fusion=gate.swap)
    report, _ = gate.judged(candidate, data)
    blame = which_part(report, "it", (gate.model(), candidate), gate.card, data)
    assert blame is not None
    assert not any(twin.passed for twin in blame.twins)
    assert blame.text.startswith(f"no single part in FP32 brings it back; {blame.twins[0].part} do")


def test_nothing_is_run_again_for_a_candidate_that_passed(gate: Any) -> None:
    data, candidate = gate.data(), gate.model()
    report, _ = gate.judged(candidate, data)
    before = gate.runs(candidate)
    assert which_part(report, "it", (gate.model(), candidate), gate.card, data) is None
    assert gate.runs(candidate) == before
    with pytest.raises(ValueError, match="no candidate 'else'"):
        which_part(report, "else", (gate.model(), candidate), gate.card, data)


def test_models_of_other_parts_cannot_be_mixed(gate: Any) -> None:
    with pytest.raises(ValueError, match="parts are not aerial, satellite, fusion"):
        mixed(gate.model(), gate.aerial_model())
