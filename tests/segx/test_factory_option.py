"""`--factory`: code is run where the user names it, and a bundle takes none."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from segx.models import open_any
from segx.options import RunFlags
from trainkit.importing import ImportOptions, import_weights
from trainkit.models.declared import call_factory

DOCUMENT = Path(__file__).parents[2] / "docs" / "import.md"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoint of the documented module, and the working directory with its code."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    (code,) = (item for item in blocks if "DeclaredModel" in item)
    Path("mine.py").write_text(code)
    sys.modules.pop("mine", None)
    torch.save(call_factory("mine:build").module.state_dict(), "w.pth")
    import_weights(Path("w.pth"), "mine:build", Path("run"), ImportOptions(segx_version="0.1.0"))
    yield tmp_path / "run"
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("command", ["export", "eval"])
def test_a_checkpoint_whose_code_is_not_named_is_refused(
    command: str, run: Path, segx: Callable[..., Any]
) -> None:
    extra = [str(run)] if command == "export" else [str(run), str(run)]
    result = segx(command, *extra)
    (message,) = result.complaints
    assert result.code == 1
    assert "no file runs code by itself" in message
    assert message.endswith("add --factory mine:build")


def test_it_is_not_trained_here(run: Path, small_flair2: Path, segx: Callable[..., Any]) -> None:
    Path("mine.toml").write_text(
        'name = "mine"\n[joint]\narchitecture = "factory"\nfactory = "mine:build"\n'
    )
    Path("mine.py").write_text("raise SystemExit('run')")
    for option in (["--config", "mine:build"], ["--config", "mine.toml"], ["--init", str(run)]):
        result = segx("train", str(small_flair2), *option, "--out", "trained")
        (message,) = result.complaints
        assert result.code == 1
        assert "a module of your own code, which segx does not train; expected a pre" in message
        assert message.endswith("then `segx import WEIGHTS --as mine:build`")
        assert not Path("trained").exists()


def test_it_opens_where_its_code_is_named(run: Path) -> None:
    opened = open_any(run, RunFlags(), factory="mine:build")
    assert opened.card.name == "mine"
    assert opened.origin == "checkpoint, PyTorch, fp32"


@pytest.mark.parametrize("command", ["export", "eval"])
def test_a_bundle_takes_no_code(command: str, run: Path, segx: Callable[..., Any]) -> None:
    folder = run.with_name("a.segx")
    folder.mkdir()
    extra = [str(folder)] if command == "export" else [str(folder), str(run)]
    result = segx(command, *extra, "--factory", "mine:build")
    (message,) = result.complaints
    assert result.code == 1
    assert "a.segx is a bundle, which needs no code" in message
