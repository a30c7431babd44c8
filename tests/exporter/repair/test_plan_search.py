"""The fastest plan that keeps to its budgets is found, and INT8 must be worth it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import exporter.plan_auto
import exporter.plan_search
import exporter.speed
from exporter.attempts import Attempts, Found
from exporter.gate_report import Budgets
from exporter.gate_split import GateSplit
from exporter.plan import branch_of, describe_plan
from exporter.plan_search import find_plan
from exporter.speed import BranchLatency, Speeds, time_branches
from exporter.workshop import ConvertedPart
from runtime.errors import DataError

MakeBench = Callable[..., Any]
WIDE = Budgets(miou_loss=100.0)
TIGHT = Budgets(miou_loss=1.0, agreement=99.0)

MS = {"fp32": 10.0, "fp16": 6.0, "int8": 4.0}
"""Time of every branch by precision."""

OVERFLOW = {"coarse": (8.0, 2000.0, 1 / 2000, 0.125)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    """Times to report instead of measuring, by branch and precision."""
    times = {(branch, kind): ms for branch in ("aerial", "satellite") for kind, ms in MS.items()}
    times |= {("fusion", kind): 1.0 for kind in MS}

    def read(parts: Sequence[ConvertedPart], *args: Any) -> tuple[BranchLatency, ...]:
        return tuple(
            BranchLatency(
                branch=branch_of(part.spec),
                precision=part.spec.precision,
                executed=f"{part.spec.precision}+fp32",
                median_ms=times[branch_of(part.spec), part.spec.precision],
                rounds=5,
            )
            for part in parts
            if part.spec.variant != "probabilities"
        )

    for module in (exporter.plan_auto, exporter.plan_search):
        monkeypatch.setattr(module, "time_branches", read)
    return times


def auto(made: Any, precision: Any = "int8", refused: Any = (), **changes: Any) -> Found:
    changes = {"budgets": WIDE, "auto_plan": True, "precision": precision} | changes
    options = replace(made.options, **changes)
    workshop = made.workshop(refused=frozenset(refused))
    plan = made.plan(precision, **(options.plan or {}))
    return find_plan(workshop, made.trial, plan, options)


def tried(found: Found) -> list[str]:
    return [item.plan for item in found.attempts]


def test_the_fastest_plan_that_passes_is_taken(bench: MakeBench, clock: Any) -> None:
    found = auto(bench())
    assert describe_plan(found.plan) == "aerial=int8,satellite=int8,fusion=fp16"
    assert found.precision == "int8"
    # Without INT8 first: what INT8 must beat is a plan that passed.
    assert tried(found) == [
        "aerial=fp16,satellite=fp16,fusion=fp16",
        "aerial=int8,satellite=int8,fusion=fp16",
    ]
    assert [item.latency_ms for item in found.attempts] == [13.0, 9.0]
    assert found.int8 is not None
    assert found.int8.worth
    assert "INT8 is 1.44 times as fast as FP16 on onnxruntime int8+fp32" in found.text


def test_int8_that_is_hardly_faster_is_not_taken(bench: MakeBench, clock: Any) -> None:
    clock["aerial", "int8"] = clock["satellite", "int8"] = 5.5
    found = auto(bench())
    assert describe_plan(found.plan) == "aerial=fp16,satellite=fp16,fusion=fp16"
    assert found.precision == "fp16"
    assert len(found.attempts) == 1
    assert "INT8 is not worth it here (1.08 times as fast as FP16 on onnxruntime" in found.text


def test_a_plan_that_is_nowhere_finer_than_one_that_missed_is_passed_over(
    bench: MakeBench, clock: Any
) -> None:
    clock["fusion", "fp32"] = 0.5
    found = auto(bench(aerial=OVERFLOW), "fp16", budgets=TIGHT)
    assert tried(found)[0] == "aerial=fp16,satellite=fp16,fusion=fp32"
    assert "aerial=fp32,satellite=fp16,fusion=fp32" in tried(found)
    assert "aerial=fp16,satellite=fp16,fusion=fp16" not in tried(found)


def test_the_fastest_plan_is_repaired_and_taken_if_still_the_fastest(
    bench: MakeBench, clock: Any
) -> None:
    found = auto(bench(aerial=OVERFLOW), "fp16", budgets=TIGHT)
    assert describe_plan(found.plan) == "aerial=fp16,satellite=fp16,fusion=fp16"
    assert found.plan["aerial"].keep == {"planted2", "planted3"}
    assert "with 2 node(s) of aerial in FP32 (planted2, planted3)" in found.text


def test_the_fastest_plan_is_not_repaired_when_the_time_is_over(
    bench: MakeBench, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attempts, "over", property(lambda self: len(self.made) >= 3))
    found = auto(bench(aerial=OVERFLOW), "fp16", budgets=TIGHT)
    assert describe_plan(found.plan) == "aerial=fp32,satellite=fp16,fusion=fp16"
    assert all(item.added == () for item in found.attempts)


def test_int8_that_would_be_worth_it_but_misses_is_told(bench: MakeBench, clock: Any) -> None:
    spread = np.array([8.0] + [1 / 64] * 12, dtype=np.float32).reshape(1, 13, 1, 1)
    made = bench(aerial={"coarse": (spread,), "aerial_logits": (1 / spread,)})
    found = auto(made, budgets=Budgets(miou_loss=5.0), repair_s=0.0)
    assert describe_plan(found.plan) == "aerial=fp16,satellite=fp16,fusion=fp16"
    assert found.text.endswith(
        "INT8 is 1.44 times as fast as FP16 on onnxruntime int8+fp32, but misses its budgets"
    )


def test_of_equally_fast_plans_the_one_asked_for_is_taken(bench: MakeBench, clock: Any) -> None:
    clock.update({key: 5.0 for key in clock})
    clock["fusion", "fp32"] = 4.95
    found = auto(bench(), "fp16")
    assert describe_plan(found.plan) == "aerial=fp16,satellite=fp16,fusion=fp16"


def test_a_branch_whose_precision_was_asked_for_keeps_it(bench: MakeBench, clock: Any) -> None:
    found = auto(bench(), plan={"satellite": "fp32"})
    assert describe_plan(found.plan) == "aerial=int8,satellite=fp32,fusion=fp16"


def test_a_precision_that_cannot_be_had_is_told_and_left_out(bench: MakeBench, clock: Any) -> None:
    found = auto(bench(), refused=[("satellite", "int8")])
    assert describe_plan(found.plan) == "aerial=int8,satellite=fp16,fusion=fp16"
    refused = found.attempts[0]
    assert (refused.plan, refused.passed) == ("satellite=int8", False)
    assert refused.result.startswith("cannot be made: satellite has no int8")
    assert "2 plan(s) tried" in found.text


def test_without_a_plan_that_passes_the_one_asked_for_is_given(
    bench: MakeBench, clock: Any
) -> None:
    made = bench()
    found = auto(made, "fp16", budgets=Budgets(miou_loss=1.0, agreement=101.0), repair_s=0.0)
    assert found.plan == made.plan("fp16")
    assert found.text.startswith("no plan that was tried keeps to its budgets; 1 plan(s) tried in")
    assert found.text.endswith(", when the 0 min to search in ran out")


def test_a_fixed_plan_says_when_its_int8_is_not_worth_it(bench: MakeBench, clock: Any) -> None:
    clock["aerial", "int8"] = 7.0
    made = bench()
    options = replace(made.options, precision="int8", budgets=WIDE)
    plan = made.plan("int8")
    found = find_plan(made.workshop(), made.trial, plan, options)
    assert found.plan == plan
    assert found.text == (
        "the plan keeps to its budgets as it is; INT8 is not worth it here (0.93 times as fast as "
        "FP16 on onnxruntime int8+fp32)"
    )
    assert {(item.branch, item.precision) for item in found.latencies} == {
        ("aerial", "int8"),
        ("aerial", "fp16"),
        ("satellite", "fp16"),
        ("fusion", "fp16"),
    }


def test_a_plan_without_int8_is_not_timed(bench: MakeBench, clock: Mapping[Any, Any]) -> None:
    made = bench()
    found = find_plan(made.workshop(), made.trial, made.plan(), made.options)
    assert (found.latencies, found.int8) == ((), None)


def test_without_patches_to_search_on_nothing_is_tried(bench: MakeBench) -> None:
    made = bench()
    plan = made.plan()
    trial = replace(made.trial, split=GateSplit(name="val", ids=("one",), search_ids=()))
    for given, why in ((None, "no patches to measure on"), (trial, "takes all of 'val'")):
        found = find_plan(made.workshop(), given, plan, made.options)
        assert (found.plan, found.attempts) == (plan, ())
        assert why in found.text


def test_a_plan_cannot_be_searched_on_the_patches_of_the_verdict(bench: MakeBench) -> None:
    made = bench()
    trial = replace(made.trial, split=GateSplit(name="val", ids=("one",), search_ids=()))
    options = replace(made.options, auto_plan=True)
    with pytest.raises(DataError, match=r"the verdict takes 'val'; .*; name another --gate-split"):
        find_plan(made.workshop(), trial, made.plan(), options)


def test_time_to_convert_and_measure_branches_is_not_time_to_search(
    bench: MakeBench, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench()
    started: list[int] = []
    real = Attempts.start_search

    def start(self: Attempts) -> None:
        started.append(len(made_by.converted))
        real(self)

    made_by = made.workshop()
    monkeypatch.setattr(Attempts, "start_search", start)
    options = replace(made.options, budgets=WIDE, auto_plan=True)
    find_plan(made_by, made.trial, made.plan(), options)
    assert started == [len(made_by.converted)]


def test_sessions_are_closed_though_one_cannot_be_timed(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench()
    parts = made.workshop().convert(made.plan("fp32"))
    events: list[str] = []

    class Broken:
        def run(self, feed: Any) -> Any:
            raise RuntimeError("interrupted")

        def close(self) -> None:
            events.append("closed")

    monkeypatch.setattr(exporter.speed, "open_session", lambda *args: Broken())
    with pytest.raises(RuntimeError, match="interrupted"):
        time_branches(parts, made.store, made.trial.choice)
    assert events == ["closed"] * 3


def test_parts_are_timed_in_turns(bench: MakeBench) -> None:
    made = bench()
    parts = made.workshop().convert(made.plan("fp32"))
    measured = time_branches(parts, made.store, made.trial.choice)
    assert [item.branch for item in measured] == ["aerial", "satellite", "fusion"]
    assert all(item.median_ms > 0 and item.rounds >= 5 for item in measured)
    speeds = Speeds(measured, made.trial.choice)
    total = speeds.plan_ms(dict.fromkeys(("aerial", "satellite", "fusion"), "fp32"))
    assert total == pytest.approx(sum(item.median_ms for item in measured))
