"""Planted faults are refused, and repair finds the nodes."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exporter.attempts
import exporter.repair
from exporter.attempts import Found
from exporter.gate_report import Budgets
from exporter.plan import Plan
from exporter.plan_search import find_plan
from runtime.jsonfile import write_json

SITES = {"aerial": "coarse", "satellite": "total", "fusion": "upsampled"}
"""A node in the middle of each part, which gives about 1000, 10 and 1."""

OVERFLOW = {
    "aerial": (8.0, 2000.0, 1 / 2000, 0.125),
    "satellite": (1000.0, 1000.0, 0.001, 0.001),
    "fusion": (1000.0, 1000.0, 0.001, 0.001),
}
UNDERFLOW = {
    "aerial": (2e-4, 1e-3, 1e-4, 1e4, 1e3, 5e3),
    "satellite": (1e-3, 1e-4, 1e-4, 1e4, 1e4, 1e3),
    "fusion": (0.1, 1e-4, 1e-4, 1e4, 1e4, 10.0),
}
"""FP16 holds all factors, but not all that comes of them."""

SPREAD = np.array([8.0] + [1 / 64] * 12, dtype=np.float32).reshape(1, 13, 1, 1)
"""One channel is so much larger that one INT8 scale leaves the others without steps."""

AERIAL = {"aerial": {"coarse": OVERFLOW["aerial"]}}

MakeBench = Callable[..., Any]


def search(made: Any, plan: Plan, **changes: Any) -> Found:
    return find_plan(made.workshop(), made.trial, plan, replace(made.options, **changes))


def kept(plan: Plan) -> dict[str, set[str]]:
    return {branch: set(recipe.keep) for branch, recipe in plan.items() if recipe.keep}


REST = pytest.mark.matrix
"""Of the table of faults and parts, each row and column is left once in the default run."""


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        pytest.param("aerial", OVERFLOW, id="overflow-aerial"),
        pytest.param("satellite", UNDERFLOW, id="underflow-satellite"),
        pytest.param("fusion", OVERFLOW, id="overflow-fusion"),
        pytest.param("aerial", UNDERFLOW, id="underflow-aerial", marks=REST),
        pytest.param("satellite", OVERFLOW, id="overflow-satellite", marks=REST),
        pytest.param("fusion", UNDERFLOW, id="underflow-fusion", marks=REST),
    ],
)
def test_a_fault_planted_in_a_part_is_refused_and_its_nodes_are_found(
    bench: MakeBench, part: str, fault: dict[str, tuple[float, ...]]
) -> None:
    made = bench(**{part: {SITES[part]: fault[part]}})
    found = search(made, made.plan())
    first, last = found.attempts[0], [item for item in found.attempts if item.passed][-1]
    middle = len(fault[part]) // 2
    faulty = {f"planted{middle}", f"planted{middle + 1}"}
    planted = {f"planted{index + 1}" for index in range(len(fault[part]))}
    assert not first.passed
    assert not first.added
    assert "misses its budgets" in first.result
    assert list(kept(found.plan)) == [part]
    assert faulty <= kept(found.plan)[part] <= planted
    assert {(item.branch, item.node, item.stays) for item in last.added} == {
        (part, node, "fp32") for node in kept(found.plan)[part]
    }
    assert f"node(s) of {part} in FP32 (planted" in found.text


def test_faults_in_two_parts_are_found_together(bench: MakeBench) -> None:
    faults = {part: {SITES[part]: OVERFLOW[part]} for part in ("satellite", "fusion")}
    made = bench(**faults)
    found = search(made, made.plan())
    pair = {"planted2", "planted3"}
    assert kept(found.plan) == {"satellite": pair, "fusion": pair}


def test_a_branch_in_fp32_has_no_fault_to_repair(bench: MakeBench) -> None:
    made = bench(**AERIAL)
    found = search(made, made.plan(aerial="fp32"))
    assert [(item.passed, item.added) for item in found.attempts] == [(True, ())]
    assert found.text == "the plan keeps to its budgets as it is"


def test_the_node_that_int8_breaks_is_left_in_fp16(bench: MakeBench) -> None:
    # The second convolution works on each channel by itself, and so passes the factors on.
    made = bench(aerial={"coarse": (SPREAD,), "aerial_logits": (1 / SPREAD,)})
    plan = made.plan("int8")
    found = search(made, plan, precision="int8", budgets=Budgets(miou_loss=5.0))
    assert not found.attempts[0].passed
    assert found.plan["aerial"].skip == {"aerial_logits"}
    assert kept(found.plan) == {}
    (added,) = next(item.added for item in found.attempts if item.passed)
    assert (added.node, added.stays) == ("aerial_logits", "fp16")
    assert added.reason.startswith("in INT8 its result is off by ")


def test_a_miss_that_no_node_mends_is_told_and_the_plan_stays(
    bench: MakeBench,
) -> None:
    made = bench()
    budgets = replace(made.options.budgets, agreement=100.5)
    plan = made.plan()
    found = search(made, plan, budgets=budgets)
    assert found.plan == plan
    assert not any(item.passed for item in found.attempts)
    assert found.text.startswith("the plan misses its budgets, and no repair was found; ")


class Clock:
    """The time, and what is added to it."""

    added = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.added

    def pass_time(self, *args: Any, **kwargs: Any) -> None:
        self.added += 700.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a search."""
    made = Clock()
    monkeypatch.setattr(exporter.attempts, "time", made)
    return made


def test_the_trial_of_the_plan_asked_for_takes_no_time_from_repair(
    bench: MakeBench, clock: Clock
) -> None:
    made = bench(**AERIAL)
    found = find_plan(made.workshop(), made.trial, made.plan(), made.options, clock.pass_time)
    assert [item.passed for item in found.attempts] == [False, True]
    assert "the plan keeps to its budgets with 3 node(s) of aerial" in found.text
    assert re.search(r"2 plan\(s\) tried in 14.. s, when the 10 min to search in r", found.text)


def test_a_repair_that_there_was_no_time_for_is_not_said_to_be_missing(
    bench: MakeBench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(**AERIAL)
    monkeypatch.setattr(exporter.repair, "which_part", clock.pass_time)
    found = search(made, made.plan())
    assert len(found.attempts) == 1
    assert found.text.startswith("the plan misses its budgets, and no repair was tried; 1 plan(s) ")
    assert re.search(r" tried in 7.. s, when the 10 min to search in ran out$", found.text)


def test_without_time_for_repair_nothing_is_tried(bench: MakeBench) -> None:
    made = bench(**AERIAL)
    found = search(made, made.plan(), repair_s=0.0)
    assert found.attempts == ()
    assert "as asked" in found.text


def test_what_was_found_can_be_written_as_json(bench: MakeBench, tmp_path: Path) -> None:
    made = bench(fusion={"upsampled": OVERFLOW["fusion"]})
    write_json(tmp_path / "found.json", search(made, made.plan()))
    assert "planted3" in (tmp_path / "found.json").read_text()
