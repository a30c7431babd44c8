"""Run the command as a user does, in an empty folder."""

import logging
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Result:
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """Lines on stderr but those of the progress."""
        return [line for line in self.err.splitlines() if not re.match(r"[\w-]+: \d+/\d+, ", line)]


@pytest.fixture
def segx(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Result]]:
    """Function that runs `segx ARGUMENTS` in `tmp_path`."""
    from segx import cli

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["segx", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        code = stop.value.code or 0
        assert isinstance(code, int)
        return Result(code, *capfd.readouterr())

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print the same with and without a GPU."""
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: False)
