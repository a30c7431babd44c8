"""The four kinds of charts of a page.

scatter   points of two values and a size        dots      several values per row
strips    single measurements per row            stacks    what makes up each row
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .markup import Html, brief, tag
from .svg import (
    LETTER,
    LINE,
    STRONG_LETTER,
    WIDTH,
    Axis,
    drawing,
    horizontal,
    label,
    legend,
    line,
    linear_axis,
    log_axis,
    mark,
    rectangle,
    vertical,
)

MOST_LETTERS = 42
RIGHT = WIDTH - 18
FOOT = 44.0
"""Room for a horizontal axis and its title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every chart has."""

    name: str
    """Identifies it in the page."""
    title: str
    description: str
    """What it shows, for those who do not see it."""
    axis: str
    """What the horizontal axis is, with its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a scatter chart."""

    label: str
    x: float
    y: float
    size: float
    """What its area stands for."""
    series: int
    """Number of its mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a stacked row."""

    kind: str
    """Class of the style sheet."""
    value: float


def scatter(frame: Frame, points: Sequence[Point], *, upward: str, series: Sequence[str]) -> Html:
    """Draw points whose area stands for a third value.

    Args:
        frame: Name, texts and horizontal axis.
        points: At least one.
        upward: What the vertical axis is.
        series: Names of the marks.
    """
    left, top = 62.0, 76.0
    bottom = top + max(296.0, LINE * len(points))
    right = RIGHT - 30 - LETTER * max(min(len(p.label), MOST_LETTERS) for p in points)
    across = linear_axis(0.0, max(p.x for p in points) * 1.05, begin=left, end=right)
    low, high = min(p.y for p in points), max(p.y for p in points)
    room = max((high - low) * 0.35, 0.5)
    upright = linear_axis(low - room, high + room, begin=bottom, end=top)
    largest = max(p.size for p in points) or 1.0
    marks = [
        mark(
            p.series, across.at(p.x), upright.at(p.y), max(15.0 * math.sqrt(p.size / largest), 4.0)
        )
        for p in sorted(points, key=lambda p: -p.size)
    ]
    leaders, names = _named(points, across, upright)
    return drawing(
        frame.name,
        frame.title,
        frame.description,
        bottom + FOOT,
        legend(series, left, 16),
        vertical(upright, left, right, upward),
        horizontal(across, top, bottom, frame.axis),
        *leaders,
        *marks,
        *names,
    )


def _named(points: Sequence[Point], across: Axis, upright: Axis) -> tuple[list[Html], list[Html]]:
    """Name every point on the right, as near to its height as fits, with a line to it."""
    ordered = sorted(points, key=lambda p: (upright.at(p.y), -across.at(p.x)))
    heights = [upright.at(p.y) for p in ordered]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + LINE)
    floor = upright.begin
    for index in reversed(range(len(heights))):
        heights[index] = floor = min(heights[index], floor)
        floor -= LINE
    x = across.end + 22
    leaders = [
        line(across.at(p.x), upright.at(p.y), x - 4, height, kind="leader")
        for p, height in zip(ordered, heights, strict=True)
    ]
    names = [
        label(x, height, brief(p.label, MOST_LETTERS))
        for p, height in zip(ordered, heights, strict=True)
    ]
    return leaders, names


def strips(frame: Frame, rows: Mapping[str, Sequence[float]]) -> Html:
    """Draw single measurements as ticks, their median as a mark, half of them as a bar.

    Args:
        frame: Name, texts and horizontal axis.
        rows: Measurements by the name of the row; at least one each.
    """
    left, top, step = _left(rows), 14.0, 34.0
    bottom = top + step * len(rows)
    highest = max(max(values) for values in rows.values())
    axis = linear_axis(0.0, highest, begin=left, end=RIGHT)
    pieces = []
    for index, (name, values) in enumerate(rows.items()):
        y, ordered = top + step * (index + 0.5), sorted(values)
        quarter, half, most = (axis.at(_quantile(ordered, q)) for q in (0.25, 0.5, 0.75))
        pieces.append(label(left - 12, y, brief(name, MOST_LETTERS), anchor="end"))
        pieces.append(rectangle(quarter, y - 8, max(most - quarter, 1.0), 16, kind="middle"))
        pieces += [line(axis.at(v), y - 10, axis.at(v), y + 10, kind="one") for v in ordered]
        pieces.append(mark(3, half, y, 5.0))
    shown = horizontal(axis, top, bottom, frame.axis)
    return drawing(frame.name, frame.title, frame.description, bottom + FOOT, shown, *pieces)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def dots(
    frame: Frame,
    series: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
    *,
    powers: bool = False,
) -> Html:
    """Draw several values per row, joined by a line.

    Args:
        frame: Name, texts and horizontal axis.
        series: Names of the marks.
        rows: A value per series by the name of the row; None where there is none.
        powers: Whether the values are decimal logarithms, on an axis of powers of ten.
    """
    left, top, step = _left(rows), 44.0, 24.0
    bottom = top + step * len(rows)
    known = [value for values in rows.values() for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if powers:
        axis = log_axis(low, high, begin=left, end=RIGHT)
    else:
        axis = linear_axis(min(low, 0.0), high, begin=left, end=RIGHT)
    pieces = []
    for index, (name, values) in enumerate(rows.items()):
        y = top + step * (index + 0.5)
        there = [(n, axis.at(value)) for n, value in enumerate(values) if value is not None]
        pieces.append(label(left - 12, y, brief(name, MOST_LETTERS), anchor="end"))
        if len(there) > 1:
            places = [x for _, x in there]
            pieces.append(line(min(places), y, max(places), y, kind="join"))
        # Where values meet, the first shows around the others.
        pieces += [mark(n, x, y, 4.4 if n else 7.0) for n, x in there]
    return drawing(
        frame.name,
        frame.title,
        frame.description,
        bottom + FOOT,
        legend(series, left, 16),
        horizontal(axis, top - 6, bottom, frame.axis),
        *pieces,
    )


def stacks(
    frame: Frame,
    kinds: Mapping[str, str],
    rows: Mapping[str, Sequence[Part]],
    marks: Mapping[str, float],
    strong: str,
) -> Html:
    """Draw what makes up each row, one stretch after the other, on a common axis from 0.

    Args:
        frame: Name, texts and horizontal axis.
        kinds: What each kind of stretch is called.
        rows: Stretches by the name of the row.
        marks: Values to mark with a line through all rows, by what is written above it.
        strong: Name of a row that stands out.
    """
    left, top, step = max(_left(rows), 24 + STRONG_LETTER * len(strong)), 64.0, 32.0
    bottom = top + step * len(rows)
    longest = max([sum(p.value for p in parts) for parts in rows.values()] + [*marks.values()])
    axis = linear_axis(0.0, longest, begin=left, end=RIGHT)
    pieces = [_pattern(frame.name), _kinds(frame.name, kinds, left)]
    pieces.append(horizontal(axis, top - 4, bottom, frame.axis))
    for index, (name, parts) in enumerate(rows.items()):
        y, begun = top + step * (index + 0.5), 0.0
        words, kind = brief(name, MOST_LETTERS), "strong" if name == strong else ""
        pieces.append(label(left - 12, y, words, anchor="end", kind=kind))
        for part in parts:
            x = axis.at(begun)
            begun += part.value
            pieces.append(_stretch(frame.name, x, y - 10, axis.at(begun) - x, part.kind))
    for words, value in marks.items():
        x = axis.at(value)
        pieces.append(line(x, top - 8, x, bottom, kind="event"))
        anchor = "end" if x > (axis.begin + axis.end) / 2 else "start"
        pieces.append(label(x, top - 17, words, anchor=anchor, kind="tick"))
    return drawing(frame.name, frame.title, frame.description, bottom + FOOT, *pieces)


def _pattern(name: str) -> Html:
    """Stripes, for what is waiting: told from work without colour."""
    stripe = tag("path", d="M0 6L6 0", class_="stripe")
    size = {"width": 6, "height": 6, "patternUnits": "userSpaceOnUse"}
    return tag("defs", tag("pattern", stripe, id=f"{name}-stripes", **size))


def _stretch(name: str, x: float, y: float, width: float, kind: str) -> Html:
    box = rectangle(x, y, width, 20, kind=kind)
    if kind != "input":
        return box
    sides = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": 20}
    return tag("g", box, tag("rect", **sides, fill=f"url(#{name}-stripes)"))


def _kinds(name: str, kinds: Mapping[str, str], x: float) -> Html:
    pieces = []
    for kind, words in kinds.items():
        pieces += [_stretch(name, x, 6, 22, kind), label(x + 30, 16, words)]
        x += 52 + LETTER * len(words)
    return tag("g", *pieces)


def _left(rows: Mapping[str, object]) -> float:
    """Where the axis begins: behind the longest name."""
    return 24 + LETTER * max(min(len(name), MOST_LETTERS) for name in rows)
