"""Print how long files and functions are, per folder; exit 1 when one is longer than allowed.

A function counts without its signature and docstring: the options of a command are its parameters.
"""

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("segx", "trainkit", "exporter", "calibration", "runtime", "tests", "tools")
LOOK_FILE, REFUSE_FILE = 300, 400
LOOK_FUNCTION, REFUSE_FUNCTION = 40, 60


@dataclass(frozen=True, slots=True)
class Size:
    what: str
    lines: int
    look: int
    refuse: int


def functions(file: Path, tree: ast.Module) -> Iterator[Size]:
    name = file.relative_to(ROOT).as_posix()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            what = f"{name}:{node.lineno} {node.name}"
            yield Size(what, lines, LOOK_FUNCTION, REFUSE_FUNCTION)


def measure(folder: str) -> tuple[list[Size], list[Size]]:
    """Sizes of the files and of the functions below a folder of the repository."""
    files: list[Size] = []
    inside: list[Size] = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        files.append(Size(file.relative_to(ROOT).as_posix(), lines, LOOK_FILE, REFUSE_FILE))
        inside += functions(file, ast.parse(text))
    return files, inside


def summary(sizes: list[Size]) -> str:
    lines = [size.lines for size in sizes] or [0]
    return f"{len(sizes):6} {statistics.median(lines):8.0f} {max(lines):8}"


def main() -> int:
    print(f"{'folder':12} {'lines':>6} {'files':>6}   median  longest  funcs   median  longest")
    everything: list[Size] = []
    for folder in FOLDERS:
        files, inside = measure(folder)
        total = sum(size.lines for size in files)
        print(f"{folder:12} {total:6} {summary(files)} {summary(inside)}")
        everything += files + inside
    long = sorted((size for size in everything if size.lines > size.look), key=lambda s: -s.lines)
    for size in long:
        verdict = "too long" if size.lines > size.refuse else "look again"
        print(f"{verdict}: {size.what}: {size.lines} lines; aim below {size.look}")
    return int(any(size.lines > size.refuse for size in long))


if __name__ == "__main__":
    sys.exit(main())
