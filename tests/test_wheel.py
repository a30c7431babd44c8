"""What is shipped: the packages with their data in the wheel, and all that it is made of beside."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from segx import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("segx", "trainkit", "exporter", "calibration", "runtime")
NAME = f"segx-{__version__}"


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a wheel or an sdist, and give its file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=source)
    assert done.returncode == 0, done.stderr
    (made,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def shipped(wheel: Path) -> set[str]:
    """Names of the files in a freshly built wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that a freshly built sdist unpacks into."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        assert {name.split("/")[0] for name in archive.getnames()} == {NAME}
        archive.extractall(folder, filter="data")
    return folder / NAME


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
        "segx/toy.segx/golden.npz",
        *(
            f"trainkit/presets/{file.name}"
            for file in (ROOT / "trainkit" / "presets").glob("*.toml")
        ),
        *(f"{package}/py.typed" for package in PACKAGES),
    ],
)
def test_the_wheel_holds_the_data(shipped: set[str], name: str) -> None:
    assert name in shipped


def test_the_wheel_holds_no_tests_and_nothing_of_a_run(shipped: set[str]) -> None:
    for name in shipped:
        assert not Path(name).name.startswith(("test_", "conftest")), name
        assert "__pycache__" not in name


def test_the_wheel_holds_the_licence_and_the_command(wheel: Path, shipped: set[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in shipped)
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
        metadata = message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))
    assert "segx = segx.cli:main" in entries
    assert metadata["Requires-Python"] == ">=3.10"
    assert {"train", "export", "ort", "tensorrt", "satellite"} <= set(
        metadata.get_all("Provides-Extra", [])
    )


def test_a_wheel_of_the_sdist_is_that_of_the_checkout(
    unpacked: Path, shipped: set[str], tmp_path: Path
) -> None:
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path)) as archive:
        assert set(archive.namelist()) == shipped


@pytest.mark.parametrize(
    "name",
    [
        "Makefile",
        "mkdocs.yml",
        "README.md",
        "CHANGELOG.md",
        "docs/tutorial.md",
        "docker/cpu.Dockerfile",
        ".dockerignore",
        ".github/workflows/ci.yml",
        ".pre-commit-config.yaml",
        "constraints/py310.txt",
        "tests/conftest.py",
        "tools/sizes.py",
    ],
)
def test_the_sdist_holds_what_its_tests_need(unpacked: Path, name: str) -> None:
    assert (unpacked / name).is_file()


def test_the_sdist_holds_nothing_of_a_run(unpacked: Path) -> None:
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}
    assert not {name for name in names if name.split("/")[0] in ("runs", "maps", "bundles", "demo")}
    assert not {name for name in names if name.endswith((".pyc", ".ckpt", ".pt"))}
