"""What runs tests elsewhere, checks commits and makes images has the right form.

Whether a workflow passes and an image builds cannot be told here.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
IMAGES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def run(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a tool that was installed beside this Python."""
    program = shutil.which(tool, path=str(Path(sys.executable).parent))
    assert program is not None, f"{tool} is not installed; run: make venv"
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.fixture(scope="module")
def workflow() -> Any:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def test_the_workflow_may_read_only_and_ends(workflow: Any) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


def test_the_runtime_is_tested_on_every_system_and_python(workflow: Any) -> None:
    matrix = workflow["jobs"]["runtime"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.10", "3.12", "3.13"]
    systems = {
        name.split("-")[0] + ("-arm" if name.endswith("-arm") else "") for name in matrix["os"]
    }
    assert systems == {"ubuntu", "ubuntu-arm", "windows", "macos"}


def test_actions_are_pinned_by_their_commit() -> None:
    used = re.findall(r"uses: (\S+)", WORKFLOW.read_text(encoding="utf-8"))
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name) for name in used)


def test_what_the_workflow_calls_is_there(workflow: Any) -> None:
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = "\n".join(step.get("run", "") for step in steps)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (?:\w+=\S+ )*(\S+)", commands):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"'\.\[(\w+)\]'", commands)
    assert extras
    for extra in extras:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_hooks_run_what_make_check_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = {hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]}
    rule = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule is not None
    for line in rule[1].splitlines():
        command = line.strip().replace("$(BIN)", ".venv/bin").removesuffix(" .")
        assert command in entries


def test_an_image_takes_only_what_its_context_holds() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for image in IMAGES:
        copied = re.findall(r"^COPY (?!--from)(\S+)", image.read_text(), re.MULTILINE)
        assert set(copied) - {"."} <= kept, image.name
    assert {"pyproject.toml", "README.md", "LICENSE"} <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_no_image_runs_as_root() -> None:
    assert {image.stem for image in IMAGES} == {"cpu", "cuda", "l4t"}
    for image in IMAGES:
        users = re.findall(r"^USER (\S+)", image.read_text(), re.MULTILINE)
        assert users[-1:] != ["root"], image.name
        assert users[-1:] != ["0"], image.name
        assert users, image.name


@pytest.mark.matrix
@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_an_image_passes_its_linter(image: Path) -> None:
    done = run("hadolint", image)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.matrix
def test_the_workflow_passes_its_linters() -> None:
    schema = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)
    assert schema.returncode == 0, schema.stdout
    audit = run("zizmor", "--offline", WORKFLOW)
    assert audit.returncode == 0, audit.stdout
    hooks = run("pre-commit", "validate-config", ROOT / ".pre-commit-config.yaml")
    assert hooks.returncode == 0, hooks.stdout
