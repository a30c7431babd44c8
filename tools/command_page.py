"""Write docs/reference/commands.md: every command with its options, from the program itself.

python tools/command_page.py
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from segx.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "commands.md"
HEAD = """# Commands

<!-- written by tools/command_page.py -->

Every command has `--help`. Exit codes: 0 done, 1 an error that the user can mend, 2 wrong usage,
3 finished, but a gate or a damaged input says that the result is not whole.

Commands in this documentation are parsed against the program by a test. Those of the
[tutorial](../tutorial.md) are run by a test as they stand there, but for fewer steps of training;
of each command below a test is named that runs it.
"""
HELD_BY = {
    "segx demo": "segx/test_demo_command.py",
    "segx sample": "segx/sample/test_command.py",
    "segx train": "segx/test_train_command.py",
    "segx import": "segx/test_import_command.py",
    "segx export": "flow/test_sample_train_export_infer.py",
    "segx satellite": "segx/satellite/test_satellite_command.py",
    "segx infer": "segx/test_infer_command.py",
    "segx eval": "segx/test_eval_command.py",
    "segx bench": "segx/test_bench_command.py",
    "segx inspect": "segx/test_inspect_command.py",
    "segx doctor": "segx/test_doctor_command.py",
    "segx cache": "segx/test_cache_command.py",
    "segx data check": "segx/test_data_command.py",
    "segx data split": "segx/test_data_command.py",
}
"""Test, below tests/, that runs each command."""


def commands(group: Any = None, name: str = "segx") -> Iterator[tuple[str, Any]]:
    """Full name and command, groups resolved, in the order of the help."""
    group = get_command(app) if group is None else group
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def page() -> str:
    """The whole page."""
    return HEAD + "".join(section(name, command) for name, command in commands())


def section(name: str, command: Any) -> str:
    """One command: its help, arguments and options."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join((name, *command.collect_usage_pieces(context)))
    records = [param.get_help_record(context) for param in command.params]
    rows = "".join(f"| `{values(what)}` | {cell(text)} |\n" for what, text in filter(None, records))
    text = f"\n## {name}\n\n```text\n{usage}\n```\n\n"
    for paragraph in command.help.split("\n\n"):
        sentence = " ".join(paragraph.split())
        start, colon, shown = sentence.partition(": segx ")
        text += f"{start}: `segx {shown}`\n\n" if colon else f"{sentence}\n\n"
    if rows:
        text += f"| option | meaning |\n|---|---|\n{rows}\n"
    return text + f"Run by `{HELD_BY[name]}`.\n"


def values(option: str) -> str:
    """Name of an option with its values, without the sign that parts cells."""
    return option.replace("|", ", ")


def cell(text: str) -> str:
    """Keep a text in one cell of a table, and brackets from becoming links."""
    plain = " ".join(text.split()).replace("<", "&lt;")
    return re.sub(r"([|\[\]])", r"\\\1", plain)


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
