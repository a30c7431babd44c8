"""Scenes to map, and what the command printed before, to compare with."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from run_command import Result

TRANSCRIPTS = Path(__file__).with_name("transcripts")


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
