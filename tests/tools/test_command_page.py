"""docs/reference/commands.md is what its generator writes, and names a test of each command."""

import re

import pytest
from doc_pages import ROOT

from tools import command_page


def test_the_page_is_what_the_generator_writes() -> None:
    assert command_page.PAGE.read_text(encoding="utf-8") == command_page.page(), (
        "run: python tools/command_page.py"
    )


def test_every_command_has_its_section_in_the_order_of_the_help() -> None:
    names = [name for name, _ in command_page.commands()]
    assert re.findall(r"^## (.+)$", command_page.page(), re.MULTILINE) == names
    assert list(dict.fromkeys(names)) == names
    assert "segx data check" in names


@pytest.mark.parametrize(("name", "file"), command_page.HELD_BY.items())
def test_the_test_that_a_command_names_runs_it(name: str, file: str) -> None:
    source = (ROOT / "tests" / file).read_text(encoding="utf-8")
    words = r"\",?\s*\"".join(name.split()[1:])
    assert re.search(rf"\"{words}\"|\[\"{words}", source), f"{file} does not run {name}"


def test_what_would_break_a_table_is_kept_apart() -> None:
    assert command_page.cell("a|b\n  [x<=1]") == r"a\|b \[x&lt;=1\]"
    assert command_page.values("--layout <a|b>") == "--layout <a, b>"
