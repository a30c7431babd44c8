"""What drawings are made of: frame, axes, marks and legends, in SVG.

Lengths are units of the drawing, which is `WIDTH` wide and scales with the page. Colours come from
the style sheet by class, so that dark mode and print have their own. No mark is told from another
by its colour alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Child, Html, tag

WIDTH = 760.0
LINE = 18.0
"""Height of a line of text."""
LETTER = 7.2
"""Width of a letter, about."""
STRONG_LETTER = 9.0
"""Width of a bold one, about."""
MARKS = 5
"""Shapes of marks, each with its colour; further series begin anew."""


TICKS = 6
"""Of a linear axis, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A horizontal or vertical axis: from values to lengths."""

    low: float
    high: float
    begin: float
    """Where `low` lies."""
    end: float
    ticks: tuple[tuple[float, str], ...]
    """Values and what is written there."""

    def at(self, value: float) -> float:
        """Find where a value lies; one beyond the axis lies at its end."""
        share = (value - self.low) / (self.high - self.low)
        return self.begin + min(max(share, 0.0), 1.0) * (self.end - self.begin)


def linear_axis(low: float, high: float, *, begin: float, end: float) -> Axis:
    """Make an axis that holds two values, with round ticks."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    step = _round_step((high - low) / TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((i * step, f"{i * step:.{digits}f}") for i in range(first, last + 1))
    return Axis(low=first * step, high=last * step, begin=begin, end=end, ticks=ticks)


def log_axis(low: float, high: float, *, begin: float, end: float) -> Axis:
    """Make an axis of powers of ten; its values are decimal logarithms."""
    first, last = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    every = max(1, math.ceil((last - first) / 8))
    ticks = tuple((float(power), f"1e{power}") for power in range(first, last + 1, every))
    return Axis(low=first, high=last, begin=begin, end=end, ticks=ticks)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.999)


def drawing(name: str, title: str, description: str, height: float, *children: Child) -> Html:
    """Frame a drawing for eyes and screen readers.

    Args:
        name: Identifies it in the page.
        title: What it is.
        description: What it shows, for those who do not see it.
        height: Its height.
        children: What is drawn.
    """
    named, told = f"{name}-name", f"{name}-text"
    return tag(
        "svg",
        tag("title", title, id=named),
        tag("desc", description, id=told),
        *children,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_labelledby=named,
        aria_describedby=told,
    )


def label(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> Html:
    """Write a line of text, its middle at a height."""
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
    return tag("text", words, **place, text_anchor=anchor, dy="0.35em", class_=kind or None)


def line(x1: float, y1: float, x2: float, y2: float, *, kind: str) -> Html:
    """Draw a line."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return tag("line", **{key: f"{value:.1f}" for key, value in ends.items()}, class_=kind)


def rectangle(x: float, y: float, width: float, height: float, *, kind: str) -> Html:
    """Draw a rectangle."""
    sides = {"x": x, "y": y, "width": width, "height": height}
    return tag("rect", **{key: f"{value:.1f}" for key, value in sides.items()}, class_=kind)


def mark(number: int, x: float, y: float, size: float = 5.5) -> Html:
    """Draw the mark of a series: disc, square, triangle, diamond, ring.

    Args:
        number: Of the series.
        x: Of its centre.
        y: Of its centre.
        size: Half of its width, about.
    """
    shape = number % MARKS
    kind = f"mark m{shape}"
    if shape in (0, 4):
        return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{size:.1f}", class_=kind)
    corners = {
        1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        2: ((0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        3: ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    }[shape]
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
    return tag("polygon", points=points, class_=kind)


def legend(names: Sequence[str], x: float, y: float) -> Html:
    """Name the marks of all series, in one line."""
    pieces = []
    for number, name in enumerate(names):
        pieces += [mark(number, x + 6, y), label(x + 18, y, name)]
        x += 34 + LETTER * len(name)
    return tag("g", *pieces)


def horizontal(axis: Axis, top: float, bottom: float, title: str) -> Html:
    """Draw a horizontal axis below, with grid lines up from it."""
    pieces = []
    for value, words in axis.ticks:
        x = axis.at(value)
        pieces.append(line(x, top, x, bottom, kind="grid"))
        pieces.append(label(x, bottom + 13, words, anchor="middle", kind="tick"))
    middle = (axis.begin + axis.end) / 2
    return tag("g", *pieces, label(middle, bottom + 33, title, anchor="middle", kind="title"))


def vertical(axis: Axis, left: float, right: float, title: str) -> Html:
    """Draw a vertical axis on the left, its title above it."""
    pieces = []
    for value, words in axis.ticks:
        y = axis.at(value)
        pieces.append(line(left, y, right, y, kind="grid"))
        pieces.append(label(left - 8, y, words, anchor="end", kind="tick"))
    return tag("g", *pieces, label(8, axis.end - 20, title, kind="title"))
