"""What stages wait and what they work makes up their life."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.report import Clock
from runtime.stream.stages import Stages
from runtime.stream.timing import Reason, StageTimes

SECONDS = st.floats(0, 1e3)
STAGES = ("read", "prepare", "infer", "write")
BOOKINGS = st.lists(
    st.tuples(st.sampled_from(STAGES), st.sampled_from(("busy", "input", "room")), SECONDS)
)


def book(times: StageTimes, stage: str, kind: str, seconds: float) -> None:
    reasons: dict[str, Reason] = {"input": "input", "room": "room"}
    if kind == "busy":
        times.add_busy(stage, seconds)
    else:
        times.add_waiting(stage, reasons[kind], seconds)


@given(BOOKINGS)
def test_busy_and_waiting_make_up_the_life_of_each_stage(
    bookings: list[tuple[str, str, float]],
) -> None:
    times = StageTimes()
    for booking in bookings:
        book(times, *booking)
    for stage in STAGES:
        expected = sum(seconds for name, _, seconds in bookings if name == stage)
        assert times.life_s(stage) == pytest.approx(expected)
        waited = times.waiting_s.get(stage, {"input": 0.0, "room": 0.0})
        assert set(waited) == {"input", "room"}
        parts = times.stages_s.get(stage, 0.0) + waited["input"] + waited["room"]
        assert parts == pytest.approx(expected)


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4))
def test_of_stages_that_live_as_long_the_one_that_waits_least_bounds_the_run(
    waited: list[int],
) -> None:
    times = StageTimes()
    for stage, seconds in zip(STAGES, waited, strict=True):
        times.add_waiting(stage, "input", seconds)
        times.add_busy(stage, 1000 - seconds)
    assert times.bound_by is not None
    assert waited[STAGES.index(times.bound_by)] == min(waited)


def test_a_stage_that_is_done_early_bounds_nothing() -> None:
    times = StageTimes()
    times.add_busy("read", 0.1)
    times.add_busy("infer", 9.0)
    times.add_waiting("infer", "input", 0.1)
    assert times.bound_by == "infer"
    assert StageTimes().bound_by is None


def test_stages_that_book_at_the_same_time_lose_nothing() -> None:
    times = StageTimes()

    def work(stage: str) -> None:
        for _ in range(2000):
            times.add_busy(stage, 1.0)
            times.add_waiting(stage, "room", 2.0)

    threads = [threading.Thread(target=work, args=(stage,)) for stage in STAGES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [times.life_s(stage) for stage in STAGES] == [6000.0] * 4


def test_running_stages_book_all_of_their_time() -> None:
    lived: dict[str, float] = {}

    def stage(name: str, items: Iterator[int]) -> Iterator[int]:
        began = time.perf_counter()
        for item in items:
            sum(range(1000 * (name == "infer")))
            yield item
        lived[name] = time.perf_counter() - began

    clock = Clock()
    with Stages(clock) as stages:
        items: Iterator[int] = iter(range(50))
        for name in ("read", "infer", "write"):
            made = (item for item in stage(name, items))
            items = stages.start(name, made, depth=2)
        assert list(items) == list(range(50))
    wall = clock.wall_s
    assert set(clock.stages_s) == set(lived)
    for name, seconds in lived.items():
        assert seconds <= clock.life_s(name) <= wall
    assert clock.waiting_s["read"]["input"] == 0.0
    assert clock.waiting_s["write"]["input"] > 0.0
