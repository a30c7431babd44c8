"""Run the command as a user does, in an empty folder, and compare what it prints."""

import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from segx import cli

TRANSCRIPTS = Path(__file__).with_name("transcripts")


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


@pytest.fixture
def scene(tiny_scene: Path, tmp_path: Path) -> Path:
    """A copy of the tiny scene, to be changed."""
    return Path(shutil.copytree(tiny_scene, tmp_path / "scene"))


@pytest.fixture
def infer(segx: Callable[..., Result], scene: Path, tiny_bundle: Path) -> Callable[..., Result]:
    """Function that maps the scene with the tiny bundle and some options."""

    def run(*options: object) -> Result:
        return segx("infer", scene, "--bundle", tiny_bundle, *options)

    return run


@pytest.fixture
def transcript(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str, str], None]:
    """Function that compares a text with the one stored under a name, numbers and paths apart.

    `pytest --update-transcripts` stores what is printed now; read the difference before keeping it.
    """

    def check(name: str, text: str) -> None:
        text = text.replace(str(tmp_path_factory.getbasetemp()), "")
        text = re.sub(r"/[\w./-]*/([\w.-]+)", r"PATH/\1", text)
        text = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", text)
        text = re.sub(r"(?<![\w.#-])\d+(\.\d+)?(?!\w)", "#", text)
        text = re.sub(r"-{2,}", "--", re.sub(r" {2,}", "  ", text))
        text = "\n".join(line.strip() for line in text.splitlines()) + "\n"
        if request.config.getoption("--update-transcripts"):
            (TRANSCRIPTS / f"{name}.txt").write_text(text, encoding="utf-8")
        assert text == (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8")

    return check
