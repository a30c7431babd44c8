import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segx

ROOT = Path(__file__).parents[1]
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("work", "tmp", "root", "home"))
TRACKER = re.compile(r"\bissue\s+#?\d", re.IGNORECASE)


def tracked_texts() -> list[tuple[str, str]]:
    """Name and text of every text file that git tracks or would track."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    names = sorted({name for name in done.stdout.decode().split("\0") if name})
    contents = [(name, (ROOT / name).read_bytes()) for name in names if (ROOT / name).is_file()]
    damaged = "tests/corpus/"  # on purpose, so that it need be no text
    return [
        (name, content.decode())
        for name, content in contents
        if b"\0" not in content and not name.startswith(damaged)
    ]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_the_version_is_that_of_the_top_changelog_entry() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    top = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert top is not None
    assert top[1] == segx.__version__


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    anywhere = "|".join(re.escape(path) for path in MACHINE_PATHS)
    assert lines_with(re.compile(rf"(?<![\w.])(?:{anywhere})")) == []


def test_no_file_refers_to_a_tracker_by_number_alone() -> None:
    assert lines_with(TRACKER) == []


def test_files_and_functions_stay_within_their_sizes() -> None:
    command = [sys.executable, str(ROOT / "tools" / "sizes.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("short", ["310", "311", "312", "313"])
def test_the_archives_are_those_of_the_pinned_versions(short: str) -> None:
    folder = ROOT / "constraints"
    pins = (folder / f"py{short}.txt").read_text(encoding="utf-8").splitlines()[1:]
    text = (folder / f"py{short}.hashes.txt").read_text(encoding="utf-8")
    hashed = re.findall(r"^(\S+==\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == 2 * len(hashed)
    assert {pin for pin in pins if not pin.startswith("tensorrt_rtx")} <= set(hashed)
    more = {pin.partition("==")[0] for pin in set(hashed) - set(pins)}
    assert more == {"cuda-bindings", "cuda-core", "cuda-pathfinder", "cuda-python"}
