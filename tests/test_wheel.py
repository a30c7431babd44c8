import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("segx", "trainkit", "exporter", "calibration", "runtime")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_five_packages_and_nothing_beside(shipped: set[str]) -> None:
    roots = {name.split("/")[0] for name in shipped}
    assert {root for root in roots if not root.endswith(".dist-info")} == set(PACKAGES)
    assert len(roots) == len(PACKAGES) + 1


def test_the_wheel_holds_every_file_of_the_packages(shipped: set[str]) -> None:
    files = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert {name for name in shipped if ".dist-info/" not in name} == files


@pytest.mark.parametrize(
    "name",
    [
        "segx/toy.segx/manifest.json",
        "trainkit/presets/lf-dlm.toml",
        "trainkit/presets/lf-dlm-tiny.toml",
        *(f"{package}/py.typed" for package in PACKAGES),
    ],
)
def test_the_wheel_holds_the_data(shipped: set[str], name: str) -> None:
    assert name in shipped


def test_the_wheel_holds_the_licence(shipped: set[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in shipped)
