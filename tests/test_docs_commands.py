"""What the documents tell people to type parses: commands, options, values, tools, targets.

Nothing is run here. Blocks of the tutorial are run by `flow/test_tutorial.py`.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typer
from doc_pages import DOCUMENTS, ROOT, blocks, name_of, prose
from typer.main import get_command

from segx.cli import app

SHELL = ("", "sh", "bash", "console")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LEFT_OUT = re.compile(r"^Missing argument|requires an argument|'[A-Z]+' is not one of")
PROGRAM: Any = get_command(app)
UsageError: Any = typer.BadParameter.__mro__[1]
"""Of the click that typer has inside, or beside it."""


def shell_lines(text: str) -> Iterator[list[str]]:
    """Words of every command in a shell block, without comments and the prompt."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        for command in re.split(r"&&|\|\||;", re.sub(r"^\$ ", "", line)):
            # A program of several lines, or prose in a block without a language, is no command.
            if command.count('"') % 2 == 0 and command.count("'") % 2 == 0:
                words = shlex.split(command, comments=True)
                while words and re.match(r"\w+=", words[0]):
                    words.pop(0)
                if words:
                    yield [Path(words[0]).name, *words[1:]]


def shown(program: str) -> list[tuple[str, tuple[str, ...]]]:
    """Document and words of every command of a program in a shell block."""
    return [
        (name_of(document), tuple(words))
        for document in DOCUMENTS
        for language, text in blocks(document)
        if language in SHELL
        for words in shell_lines(text)
        if words[0] == program
    ]


def inline() -> list[tuple[str, str]]:
    """Document and text of every `segx COMMAND` in prose; what it leaves out is no mistake."""
    return sorted(
        {
            (name_of(document), " ".join(text.split()))
            for document in DOCUMENTS
            for text in re.findall(r"`(segx [^`]+)`", prose(document))
        }
    )


def parse(words: tuple[str, ...]) -> None:
    """Let the program parse words, without running anything.

    Raises:
        UsageError: If the program would refuse them.
    """
    command = PROGRAM
    rest = list(words[1:])
    name = words[0]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            raise typer.BadParameter(f"there is no command {name} {rest[0]}")
        name = f"{name} {rest[0]}"
        command = command.commands[rest.pop(0)]
    if {"--help", "-h", "--version"} & set(rest):
        return
    command.make_context(name, rest)


@pytest.mark.parametrize(("document", "words"), shown("segx"))
def test_a_shown_command_parses(document: str, words: tuple[str, ...]) -> None:
    parse(words)


@pytest.mark.parametrize(("document", "text"), inline())
def test_a_command_named_in_prose_is_there_with_its_options(document: str, text: str) -> None:
    """What such a command works on may be left out; capitals stand for a value."""
    words = [word.split("|") for word in shlex.split(text) if word != "..."]
    for variant in product(*words):
        try:
            parse(variant)
        except UsageError as error:
            told = error.format_message()
            assert LEFT_OUT.search(told), f"{document}: {text}: {told}"


@pytest.mark.parametrize(
    "wrong",
    [
        ("segx", "mop", "scene"),
        ("segx", "data", "mop", "scene"),
        ("segx", "infer"),
        ("segx", "infer", "scene", "--no-such-option"),
        ("segx", "infer", "scene", "--backend", "no-such-backend"),
        ("segx", "infer", "scene", "--batch", "many"),
        ("segx", "export", "run", "--precision", "int4"),
    ],
)
def test_a_wrong_command_does_not_parse(wrong: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        parse(wrong)


@pytest.mark.parametrize(("document", "words"), shown("python"))
def test_a_shown_tool_is_there(document: str, words: tuple[str, ...]) -> None:
    if words[1:2] == ("-m",) and words[2].startswith("tools."):
        tool = ROOT.joinpath(*words[2].split("."))
        assert tool.with_suffix(".py").is_file() or (tool / "__main__.py").is_file(), document
    elif len(words) > 1 and words[1].endswith(".py") and "/" in words[1]:
        assert (ROOT / words[1]).is_file(), document


@pytest.mark.parametrize(("document", "words"), shown("make"))
def test_a_shown_target_is_in_the_makefile(document: str, words: tuple[str, ...]) -> None:
    targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), f"{document}: {target}"


def test_there_is_something_to_parse() -> None:
    assert len(shown("segx")) >= 30
    assert shown("make")
    assert shown("python")
    assert len(inline()) >= 30
