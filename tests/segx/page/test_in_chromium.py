"""A browser shows pages without a complaint, fetches nothing, and nothing is cut off or covered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headless import Headless, find_chromium

KINDS = ("bench", "export", "infer")
WIDTHS = (1280, 390)

FIGURES = """[...document.querySelectorAll('figure > svg, figure > img')].map(e => {
  const box = e.getBoundingClientRect();
  const there = e.tagName == 'svg' ? e.querySelectorAll('text').length > 2 : e.naturalWidth > 0;
  return [there, box.width, box.height];
})"""
CUT_OFF = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const whole = svg.viewBox.baseVal;
  return [...svg.querySelectorAll('text')].filter(e => {
    const box = e.getBBox();
    return box.x < -1 || box.y < -1 || box.x + box.width > whole.width + 1
      || box.y + box.height > whole.height + 1;
  }).map(e => e.textContent);
})"""
COVERED = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(e => [e.textContent, e.getBBox()]);
  return boxes.flatMap(([name, a], i) => boxes.slice(i + 1).filter(([_, b]) =>
    Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x) > 1
    && Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y) > 3
  ).map(([other, _]) => name + ' / ' + other));
})"""
CONTRAST = """(() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = c => (Math.max(light(c), paper) + 0.05) / (Math.min(light(c), paper) + 0.05);
  const texts = [...document.querySelectorAll('h1,h2,h3,p,td,th,caption,figcaption,li,a')]
    .map(e => ratio(getComputedStyle(e).color));
  const drawn = [...document.querySelectorAll('svg text')]
    .map(e => ratio(getComputedStyle(e).fill));
  const marks = [...document.querySelectorAll('svg .mark:not(.m4), svg .busy')]
    .map(e => ratio(getComputedStyle(e).fill));
  return [Math.min(...texts, ...drawn), Math.min(...marks, 99)];
})()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headless]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on the path")
    with Headless(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module", params=KINDS)
def opened(request: pytest.FixtureRequest, tab: Headless, pages: dict[str, Path]) -> Headless:
    tab.resize(WIDTHS[0])
    tab.prefer()
    tab.open(pages[request.param])
    return tab


def happened(tab: Headless, *methods: str) -> list[Any]:
    return [event["params"] for event in tab.events if event["method"] in methods]


def test_the_browser_complains_of_nothing_and_fetches_nothing(opened: Headless) -> None:
    said = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert happened(opened, *said, "Page.javascriptDialogOpening", "Network.loadingFailed") == []
    urls = [event["request"]["url"] for event in happened(opened, "Network.requestWillBeSent")]
    assert urls[0].endswith(".html")
    assert all(url.startswith("data:image/png;") for url in urls[1:])
    assert opened.ask("document.scripts.length") == 0


def test_every_figure_is_drawn(opened: Headless) -> None:
    figures = opened.ask(FIGURES)
    assert len(figures) == opened.ask("document.querySelectorAll('figure').length")
    assert all(there and width > 100 and height > 60 for there, width, height in figures)


def test_no_text_of_a_drawing_is_cut_off_or_covered_by_another(opened: Headless) -> None:
    assert opened.ask(CUT_OFF) == []
    assert opened.ask(COVERED) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_as_wide_as_the_window(opened: Headless, width: int) -> None:
    opened.resize(width)
    found = opened.ask("document.documentElement.scrollWidth")
    opened.resize(WIDTHS[0])
    assert found <= width


@pytest.mark.parametrize(
    ("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("light", "print")]
)
def test_text_and_marks_stand_out_from_the_paper(opened: Headless, scheme: str, media: str) -> None:
    opened.prefer(scheme=scheme, media=media)
    text, marks = opened.ask(CONTRAST)
    opened.prefer()
    assert text >= 4.5  # WCAG 2.2, 1.4.3
    assert marks >= 3.0  # WCAG 2.2, 1.4.11


def test_screen_readers_find_landmarks_and_names(opened: Headless) -> None:
    tree = opened.call("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in tree:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            roles.setdefault(node["role"]["value"], []).append(name)
    assert {"banner", "navigation", "main", "contentinfo", "table"} <= set(roles)
    pictures = roles.get("image", []) + roles.get("img", []) + roles.get("SvgRoot", [])
    assert len(pictures) == opened.ask("document.querySelectorAll('figure').length")
    assert all(pictures)
    assert all(roles["region"])
