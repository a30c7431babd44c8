from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.progress import Progress

Told = list[tuple[int, str]]


def told(events: Sequence[tuple[object, ...]]) -> Told:
    """What a progress reports of `(phase, parent, steps)`, `(phase, step)` and `(phase,)`."""
    reports: Told = []
    progress = Progress(lambda *report: reports.append(report))
    for event in events:
        {3: progress.start, 2: progress.step, 1: progress.finish}[len(event)](*event)  # type: ignore[operator]
    return reports


def test_steps_of_a_phase_are_shares_of_the_whole() -> None:
    events = [("build", None, 4), ("build", 0), ("build", 1), ("build", 2), ("build", 3)]
    assert told(events) == [
        (0, "build"),
        (25, "build"),
        (50, "build"),
        (75, "build"),
        (99, "build"),
    ]


def test_a_phase_within_another_is_part_of_its_current_step() -> None:
    events = [
        ("build", None, 2),
        ("build", 0),
        ("time kernels", "build", 10),
        ("time kernels", 4),
        ("one kernel", "time kernels", 2),
        ("one kernel", 0),
    ]
    # 1/2 done; 5/10 of the second half; 1/2 of the next tenth of it.
    assert told(events) == [(0, "build"), (50, "build"), (75, "time kernels"), (77, "one kernel")]


def test_the_whole_is_done_only_when_its_engine_is_there() -> None:
    assert max(percent for percent, _ in told([("build", None, 1), ("build", 0)])) == 99


def test_a_second_tree_of_phases_does_not_start_over() -> None:
    events = [("a", None, 2), ("a", 0), ("a",), ("b", None, 4), ("b", 0), ("b", 1), ("b", 2)]
    assert told(events) == [(0, "a"), (50, "a"), (75, "b")]


def test_steps_of_unknown_phases_are_passed_over() -> None:
    assert told([("never started", 3), ("never started",)]) == []


names = st.sampled_from(["a", "b", "c"])
events = st.one_of(
    # Also phases within themselves, and steps that were never announced.
    st.tuples(names, st.none() | names, st.integers(0, 5)),
    st.tuples(names, st.integers(0, 9)),
    st.tuples(names),
)


@given(st.lists(events, max_size=30))
def test_whatever_is_reported_progress_rises_within_the_whole(
    events: list[tuple[object, ...]],
) -> None:
    percents = [percent for percent, _ in told(events)]
    assert percents == sorted(set(percents))
    assert all(0 <= percent <= 99 for percent in percents)
