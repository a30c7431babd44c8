"""The documentation site builds, and files of the project are pages of it."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import pytest
from doc_pages import ROOT

from runtime.report import Latency, PlanSummary, Report, SatelliteUse

pytestmark = pytest.mark.matrix


class Loads(HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loads = tag in ("script", "img") or (tag == "link" and given.get("rel") == "stylesheet")
        target = given.get("src") or given.get("href")
        if loads and target:
            self.found.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_readme_is_the_first_page_and_leads_to_the_others(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="inference.html"' in text
    assert 'href="docs/' not in text
    for page in ("tutorial", "changelog", "contributing", "reference/commands"):
        assert (site / f"{page}.html").is_file()


def test_pages_of_the_api_hold_what_the_code_says(site: Path) -> None:
    report = (site / "reference" / "report.html").read_text(encoding="utf-8")
    for kind in (Report, Latency, SatelliteUse, PlanSummary):
        for item in fields(kind):
            assert f'id="runtime.report.{kind.__name__}.{item.name}"' in report
    errors = (site / "reference" / "api-runtime.html").read_text(encoding="utf-8")
    assert 'id="runtime.errors.SegxError"' in errors


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        parser = Loads()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found
        assert [target for target in parser.found if "//" in target] == [], page


def test_the_search_finds_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].split("#")[0] for entry in index["docs"]}
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    assert pages - {"404.html"} <= found | {"index.html"}
