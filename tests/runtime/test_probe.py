"""A machine is looked at without a traceback, whatever is missing or hangs."""

import sys
from pathlib import Path

import pytest

from runtime import probe
from runtime.probe import Probe, in_environment, read_text, run_command, version_of


def test_what_a_command_prints_is_returned() -> None:
    assert run_command([sys.executable, "-c", "print('GPU é')"]).strip() == "GPU é"


@pytest.mark.parametrize(
    "command",
    [
        ["no-such-command-anywhere"],
        [sys.executable, "-c", "print('half'); raise SystemExit(3)"],
        [sys.executable, "-c", "import sys; sys.stdin.read(1) or sys.exit('nobody there')"],
    ],
)
def test_a_command_that_is_missing_or_fails_says_nothing(command: list[str]) -> None:
    assert run_command(command) == ""


def test_a_command_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT_S", 0.2)
    late = "import time; time.sleep(1.5); print('late')"
    assert run_command([sys.executable, "-c", late]) == ""


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"Orin \xe9\n")
    assert read_text(tmp_path / "latin").startswith("Orin ")
    assert read_text(tmp_path / "nowhere") == ""
    assert read_text(tmp_path) == ""


def test_packages_and_environments_are_known() -> None:
    assert version_of("numpy")
    assert version_of("no-such-package") is None
    assert in_environment() == (sys.prefix != sys.base_prefix)
    assert Probe().has_module("numpy")
    assert not Probe().has_module("no_such_module")
