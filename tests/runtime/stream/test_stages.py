import threading
import time
from collections.abc import Generator, Iterable, Iterator

import pytest

from runtime.stream.stages import Stages
from runtime.stream.timing import StageTimes


def hold_for(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def numbers(count: int) -> Generator[int, None, None]:
    yield from range(count)


def plus(items: Iterable[int], amount: int) -> Generator[int, None, None]:
    for item in items:
        yield item + amount


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_items_come_in_order_and_none_is_lost(count: int, depth: int) -> None:
    with Stages(StageTimes()) as stages:
        first = stages.start("first", numbers(count), depth=depth)
        second = stages.start("second", plus(first, 10), depth=depth)
        assert list(plus(second, 100)) == [n + 110 for n in range(count)]


def test_a_queue_holds_no_more_than_its_depth() -> None:
    made = []

    def counted() -> Generator[int, None, None]:
        for number in range(100):
            made.append(number)
            yield number

    with Stages(StageTimes()) as stages:
        items = stages.start("count", counted(), depth=3)
        for taken in range(20):
            assert next(items) == taken
            # Three wait, one is in the hands of the stage; the next may just have been begun.
            assert len(made) <= taken + 1 + 3 + 2


def test_time_is_booked_to_the_stage_that_spends_it() -> None:
    clock = StageTimes()

    def slow() -> Generator[int, None, None]:
        for number in range(3):
            hold_for(0.02)
            yield number

    begin = time.perf_counter()
    with Stages(clock) as stages:
        first = stages.start("slow", slow(), depth=1)
        assert list(stages.start("quick", plus(first, 1), depth=1)) == [1, 2, 3]
    wall = time.perf_counter() - begin
    assert clock.stages_s["slow"] >= 0.06 > clock.stages_s["quick"]
    assert clock.waiting_s["quick"]["input"] > 0.03
    for stage in ("slow", "quick"):
        assert clock.life_s(stage) <= wall
    assert clock.bound_by == "slow"


@pytest.mark.parametrize("broken", ["first", "second", "third"])
def test_an_error_stops_all_stages_and_is_raised_once(broken: str) -> None:
    closed = []

    def stage(name: str, items: Iterable[int]) -> Generator[int, None, None]:
        try:
            for number in items:
                if name == broken and number == 5:
                    raise ZeroDivisionError(name)
                yield number
        finally:
            closed.append((name, threading.current_thread().name))

    def run() -> Iterator[int]:
        with Stages(StageTimes()) as stages:
            items: Iterable[int] = range(1000)
            for name in ("first", "second", "third"):
                items = stages.start(name, stage(name, items), depth=2)
            yield from items

    with pytest.raises(ZeroDivisionError, match=broken):
        list(run())
    # Each was closed in the thread that ran it, where it may hold what no other thread may touch.
    assert sorted(closed) == [(name, f"segx {name}") for name in ("first", "second", "third")]


def test_leaving_early_stops_everything() -> None:
    before = threading.active_count()

    def stopped() -> None:
        with Stages(StageTimes()) as stages:
            next(stages.start("first", numbers(10**9), depth=2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert threading.active_count() == before


def test_an_error_after_the_last_item_is_raised() -> None:
    def late() -> Generator[int, None, None]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Stages(StageTimes()) as stages:
        list(stages.start("late", late(), depth=1))
