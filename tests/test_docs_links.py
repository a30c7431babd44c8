"""Links between the documents lead somewhere, and every page has its place on the site."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import DOCUMENTS, ROOT, name_of, prose

DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)")
"""Target of a link that is not to another site."""
HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)
GENERATED = {"index.md", "changelog.md", "contributing.md", "security.md"}
"""Pages that the site makes of files above docs/."""


def anchors(document: Path) -> set[str]:
    """Names of the headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    names = set()
    for heading in HEADING.findall(prose(document)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def broken(document: Path) -> list[str]:
    """Links of a document that lead nowhere."""
    found = []
    for link in LINK.findall(prose(document)):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            found.append(link)
    return found


def pages(nav: Any) -> list[str]:
    """Pages in the navigation of the site."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [page for part in inner for page in pages(part)]


@pytest.fixture(scope="module")
def navigation() -> list[str]:
    return pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings_that_are_there(document: Path) -> None:
    assert broken(document) == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c.d\n[1](#a-b-cd) [2](#a) [3](page.md#a-b-cd) [4](none.md) [5](x:y)\n")
    assert broken(page) == ["#a", "none.md"]


def test_every_page_is_in_the_navigation_once(navigation: list[str]) -> None:
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(navigation) == there | GENERATED
    assert len(navigation) == len(set(navigation))
