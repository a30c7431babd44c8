"""Make HTML and SVG of text that is not to be trusted.

A plain `str` is text and is escaped; what `tag` gives is `Html` and is not escaped again. Nothing
else makes `Html`, so names of bundles and classes cannot become markup.
"""

import html
import re
from collections.abc import Iterable

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that no HTML document may hold."""
_VOID = frozenset(("img", "meta"))


class Html(str):
    """Markup that is complete and safe."""

    __slots__ = ()


Child = str | int | float | None
"""Text, markup or a number; None is nothing."""


def text(value: object) -> Html:
    """Escape a text for use between tags or in an attribute."""
    return Html(html.escape(_UNFIT.sub("\ufffd", str(value)), quote=True))


def tag(element: str, /, *children: Child, **attributes: object) -> Html:
    """Make an element.

    Args:
        element: Its name; a constant of the code, never a text of a bundle.
        children: What is in it, in order. `Html` is taken as it is, all else is escaped.
        attributes: By name, with `_` for `-` and one behind a word of Python (`class_`). None
            leaves one out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{given}>")
    return Html(f"<{element}{given}>{joined(children)}</{element}>")


def joined(parts: Iterable[Child]) -> Html:
    """Put pieces one after the other; `Html` is taken as it is, all else is escaped."""
    return Html("".join(_piece(part) for part in parts if part is not None))


def _piece(part: str | int | float) -> str:
    return part if isinstance(part, Html) else text(part)


def brief(value: str, length: int) -> str:
    """Shorten a text that has to fit into a drawing."""
    return value if len(value) <= length else value[: length - 1] + "\u2026"
