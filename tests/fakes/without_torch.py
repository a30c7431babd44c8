"""`pytest --without-torch`: the tests of what runs on a device, in an environment without PyTorch.

These are the tests of `runtime`, of `calibration` and of the commands, and the attacks, but for
files that import PyTorch or a package that needs it. PyTorch is hidden where it is there, so that
the selection is the same everywhere.
"""

import ast
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOLDERS = ("attacks", "runtime", "calibration", "segx")
HEAVY = {"torch", "trainkit", "exporter", "published_hub"}
"""What imports PyTorch."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--without-torch", action="store_true", help="only what needs no PyTorch")


def pytest_configure(config: pytest.Config) -> None:
    """Hide PyTorch before any test is collected."""
    if config.getoption("--without-torch"):
        sys.modules["torch"] = None  # type: ignore[assignment]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out other folders, and files that need PyTorch."""
    if not config.getoption("--without-torch") or TESTS not in collection_path.parents:
        return None
    folder = collection_path.relative_to(TESTS).parts[0]
    needs_more = collection_path.suffix == ".py" and imports(collection_path) & HEAVY
    return True if folder not in FOLDERS or needs_more else None


def imports(file: Path) -> set[str]:
    """Packages that a file imports, in its functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found
