"""Read an HTML page strictly: what is open must be closed, in order."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = ("img", "meta")


@dataclass
class Element:
    """An element of a page."""

    name: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    """Names of the elements around it, the outermost first."""
    text: str = ""
    """All text in it."""


@dataclass
class PageReader(HTMLParser):
    """All elements of a page, in order."""

    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin."""
        super().__init__()
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        given = {name: value or "" for name, value in attrs}
        element = Element(tag, given, tuple(item.name for item in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which must be of this name."""
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop().name == tag

    def handle_data(self, data: str) -> None:
        """Take text."""
        for element in self._open:
            element.text += data

    def all(self, *names: str) -> list[Element]:
        """Elements of these names."""
        return [element for element in self.elements if element.name in names]


def read_page(page: str) -> PageReader:
    """Read a page, or a piece of one, to its end."""
    reader = PageReader()
    reader.feed(page)
    reader.close()
    assert not reader._open, f"{reader._open[-1].name} is never closed"
    return reader
