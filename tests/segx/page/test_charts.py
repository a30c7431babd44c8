"""Drawings hold every value that they are given, where it belongs."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_reader import Element, read_page

from segx.page.charts import Frame, Part, Point, dots, scatter, stacks, strips
from segx.page.svg import WIDTH, linear_axis, log_axis

FEW = 25
"""Drawings that are read back take a while."""

FRAME = Frame(name="a", title="A drawing", description="It shows what it is given.", axis="ms")
NUMBERS = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(NUMBERS, NUMBERS)
def test_an_axis_holds_both_ends_between_round_ticks(a: float, b: float) -> None:
    low, high = sorted((a, b))
    axis = linear_axis(low, high, begin=50.0, end=250.0)
    values = [value for value, _ in axis.ticks]
    assert values == sorted(set(values))
    assert 2 <= len(values) <= 9
    slack = 1e-6 * (axis.high - axis.low)
    assert axis.low <= low + slack
    assert high <= axis.high + slack
    assert axis.at(axis.low) == 50.0
    assert axis.at(axis.high) == pytest.approx(250.0)
    assert len({words for _, words in axis.ticks}) == len(values)
    for value, words in axis.ticks:
        assert float(words) == pytest.approx(value, abs=1e-6 * (axis.high - axis.low))


@given(st.floats(0.1, 99.9))
def test_an_axis_is_straight_and_ends_where_it_ends(value: float) -> None:
    axis = linear_axis(0.0, 100.0, begin=300.0, end=100.0)
    assert axis.at(value) == pytest.approx(300.0 - 2.0 * value)
    assert (axis.at(-5.0), axis.at(105.0)) == (300.0, 100.0)


@given(st.floats(-12, 3), st.floats(0, 15))
def test_an_axis_of_powers_has_whole_powers_and_not_too_many(low: float, more: float) -> None:
    axis = log_axis(low, low + more, begin=0.0, end=1.0)
    assert axis.low <= low <= low + more <= axis.high
    assert len(axis.ticks) <= 9
    assert all(float(words) == pytest.approx(10.0**power) for power, words in axis.ticks)


def marks_of(drawing: str) -> list[tuple[float, float]]:
    """Centres of all marks but those of the legend."""
    found = []
    for element in read_page(drawing).elements:
        if "mark" in element.attributes.get("class", "").split():
            x, y = _centre(element)
            if y > 30:
                found.append((x, y))
    return found


def _centre(element: Element) -> tuple[float, float]:
    if element.name == "circle":
        return float(element.attributes["cx"]), float(element.attributes["cy"])
    corners = [
        tuple(map(float, corner.split(","))) for corner in element.attributes["points"].split()
    ]
    xs, ys = zip(*corners, strict=True)
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2


POINTS = st.lists(
    st.builds(
        Point,
        label=st.sampled_from(["a", "b", "ab" * 9, "ba" * 40]),
        x=st.floats(0.1, 1000),
        y=st.floats(0, 100),
        size=st.floats(0.1, 500),
        series=st.integers(0, 4),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=FEW)
@given(POINTS)
def test_a_scatter_names_every_point_and_keeps_the_names_apart(points: list[Point]) -> None:
    drawing = scatter(FRAME, points, upward="%", series=("a", "b"))
    marks = marks_of(drawing)
    assert len(marks) == len(points)
    assert all(0 < x < WIDTH for x, _ in marks)
    names = [e for e in read_page(drawing).all("text") if re.fullmatch(r"[ab]+\u2026?", e.text)]
    names = [e for e in names if float(e.attributes["y"]) > 30]
    assert len(names) == len(points)
    heights = sorted(float(name.attributes["y"]) for name in names)
    assert all(b - a >= 17.9 for a, b in pairwise(heights))
    assert heights[0] >= 30


@settings(max_examples=FEW)
@given(POINTS)
def test_more_accurate_is_higher_and_slower_is_to_the_right(points: list[Point]) -> None:
    marks = marks_of(scatter(FRAME, points, upward="%", series=()))
    # Larger marks are drawn first.
    ordered = sorted(points, key=lambda p: -p.size)
    for one, (x, y) in zip(ordered, marks, strict=True):
        for other, (x2, y2) in zip(ordered, marks, strict=True):
            assert one.x <= other.x or x >= x2 - 1.5
            assert one.y <= other.y or y <= y2 + 1.5


ROWS = st.dictionaries(
    st.text("xyz", min_size=1, max_size=9),
    st.lists(st.floats(0, 1e4), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
)


@settings(max_examples=FEW)
@given(ROWS)
def test_strips_draw_every_measurement_and_the_median(rows: dict[str, list[float]]) -> None:
    drawing = strips(FRAME, rows)
    lines = [e for e in read_page(drawing).all("line") if e.attributes["class"] == "one"]
    assert len(lines) == sum(map(len, rows.values()))
    diamonds = [e for e in read_page(drawing).all("polygon") if "mark" in e.attributes["class"]]
    assert len(diamonds) == len(rows)


@settings(max_examples=FEW)
@given(
    st.dictionaries(st.text("xyz", min_size=1), st.tuples(*[st.none() | NUMBERS] * 2), max_size=4)
)
def test_dots_draw_what_is_there(rows: dict[str, tuple[float | None, float | None]]) -> None:
    rows = rows or {"x": (1.0, None)}
    marks = marks_of(dots(FRAME, ("a", "b"), rows))
    assert len(marks) == sum(value is not None for values in rows.values() for value in values)
    assert all(math.isfinite(x) and 0 < x < WIDTH for x, _ in marks)


@settings(max_examples=FEW)
@given(st.lists(st.floats(0, 100), min_size=3, max_size=3))
def test_stretches_follow_one_another_and_are_as_long_as_their_values(values: list[float]) -> None:
    kinds = ("busy", "input", "room")
    parts = [Part(kind=kind, value=value) for kind, value in zip(kinds, values, strict=True)]
    drawing = stacks(FRAME, dict.fromkeys(kinds, "k"), {"row": parts}, {"end": 100.0}, "row")
    boxes = [e for e in read_page(drawing).all("rect") if e.attributes.get("class") in kinds][3:]
    assert [box.attributes["class"] for box in boxes] == list(kinds)
    for before, after in pairwise(boxes):
        end = float(before.attributes["x"]) + float(before.attributes["width"])
        assert end == pytest.approx(float(after.attributes["x"]), abs=0.11)
    widths = [float(box.attributes["width"]) for box in boxes]
    total = sum(values)
    for width, value in zip(widths, values, strict=True):
        assert width * total == pytest.approx(value * sum(widths), abs=0.2 * (total + 1))
