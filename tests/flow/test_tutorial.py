"""Every block of the tutorial runs, in the order of the page, with few steps of training."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT

from runtime.output.kinds import NODATA

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
NOT_RUN = "<!-- not run: the tests stand in this environment -->\n"
BLOCK = re.compile(rf"^({NOT_RUN})?```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [block for skipped, block in BLOCK.findall(TUTORIAL) if not skipped]
STEPS = re.compile(r"--steps \d+")


def run(block: str, folder: Path) -> str:
    """Run a block in a shell in which the commands of this environment come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", STEPS.sub("--steps 2", block)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return done.stdout


def test_all_blocks_are_run_but_the_install() -> None:
    assert TUTORIAL.count("```") == 2 * (len(BLOCKS) + 1)
    assert TUTORIAL.count(NOT_RUN) == 1
    assert STEPS.search(TUTORIAL)


@pytest.mark.matrix
def test_the_tutorial_leads_to_the_files_that_it_names(tmp_path: Path) -> None:
    printed = [run(block, tmp_path) for block in BLOCKS]
    named = re.findall(r"^\| `([\w./]+)` \|", TUTORIAL, re.MULTILINE)
    assert len(named) >= 4
    for name in named:
        assert (tmp_path / "tutorial" / "maps" / name).is_file(), name
    assert f'"nodata": {NODATA:.1f}' in printed[-1]
