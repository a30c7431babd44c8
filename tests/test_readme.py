"""The README names every command and shows the flow; tests that documents name are there."""

import re
from pathlib import Path

import pytest
from doc_pages import DOCUMENTS, ROOT, name_of

from segx.cli import COMMANDS, GROUPS

README = (ROOT / "README.md").read_text(encoding="utf-8")
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_the_readme_shows_the_commands_of_the_flow() -> None:
    shown = set(re.findall(r"^segx (\w+)", README, re.MULTILINE))
    assert {"train", "export", "infer", "bench"} <= shown


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_named_test_exists(document: Path) -> None:
    for file, name in TEST.findall(document.read_text(encoding="utf-8")):
        source = ROOT / "tests" / file
        assert source.is_file(), file
        found = re.search(rf"^def {name}\(", source.read_text(encoding="utf-8"), re.MULTILINE)
        assert found, f"{file}::{name}"


@pytest.mark.parametrize("name", [name for name, _ in (*COMMANDS, *GROUPS)])
def test_every_command_is_named_in_the_readme(name: str) -> None:
    assert f"segx {name}" in README


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_of_the_readme_are_targets_of_the_makefile(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
