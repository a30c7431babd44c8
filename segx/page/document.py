"""Put sections together into one HTML file that stands alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .markup import Child, Html, joined, tag, text

STYLE = Path(__file__).with_name("page.css")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page."""

    name: str
    """Identifies it in the page, in small letters."""
    title: str
    body: tuple[Html, ...]
    lead: str = ""
    """What it shows, in a sentence or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Head of a column of a table."""

    title: str
    number: bool = False
    """Whether it holds numbers, which stand to the right."""


Cell = Child | Sequence[Child]


def data_table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Html:
    """Lay out a table whose first column names the rows.

    Args:
        caption: What it holds.
        columns: Their heads.
        rows: Cells, as many in each as there are columns; None shows a dash.
    """
    head = tag(
        "tr",
        *(
            tag("th", column.title, scope="col", class_="number" if column.number else None)
            for column in columns
        ),
    )
    body = [tag("tr", *map(_cell, range(len(columns)), columns, row)) for row in rows]
    inside = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", joined(body)))
    # What scrolls must be reached with the keyboard.
    return tag("div", inside, class_="scroll", role="group", tabindex="0", aria_label=caption)


def _cell(index: int, column: Column, value: Cell) -> Html:
    shown = "\u2013" if value is None else value
    content = (shown,) if isinstance(shown, str | int | float) else shown
    kind = "number" if column.number else None
    if index == 0:
        return tag("th", *content, scope="row", class_=kind)
    return tag("td", *content, class_=kind)


def figure(drawing: Html, caption: str) -> Html:
    """Set a drawing or picture with a caption below."""
    return tag("figure", drawing, tag("figcaption", caption))


def page(title: str, lead: Sequence[Child], sections: Sequence[Section], foot: str) -> str:
    """Lay out the page.

    Args:
        title: Its heading.
        lead: What it is about, one paragraph each.
        sections: In order.
        foot: What made it.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        # Nothing is fetched, whatever is in the page.
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        tag("title", title),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    links = [tag("li", tag("a", part.title, href=f"#{part.name}")) for part in sections]
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        tag("header", tag("h1", title), *(tag("p", line) for line in lead)),
        tag("nav", tag("ol", *links), aria_label="Sections"),
        tag("main", *map(_section, sections), id="results"),
        tag("footer", tag("p", foot)),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _section(section: Section) -> Html:
    heading = f"{section.name}-title"
    return tag(
        "section",
        tag("h2", section.title, id=heading),
        tag("p", section.lead, class_="lead") if section.lead else None,
        *section.body,
        id=section.name,
        aria_labelledby=heading,
    )


def swatch(color: str, name: str) -> Html:
    """Name a class beside a square of its colour."""
    return tag("span", tag("i", class_="swatch", style=f"background:{color}"), text(name))
