"""Make the peers' own environment: what they are compared in, apart from segx's.

The versions were resolved for Python 3.11 on Linux; they need 3.11 or newer.
"""

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from runtime.engines.place import default_cache_root

PEERS = ("monai==1.6.1", "conflux-segmentation==0.5.0", "habitat-mapper==0.16.2")
"""Installed without what they ask for: habitat-mapper asks for the GPU build of ONNX Runtime, and
of all else they ask for only what follows is used here."""

NEEDED = (
    "charset-normalizer==3.5.2",
    "cyclopts==5.4.0",
    "datashader==0.19.1",
    "defusedxml==0.7.1",
    "deprecation==2.1.0",
    "docstring_parser==0.18.0",
    "docutils==0.23",
    "humanize==4.17.0",
    "llvmlite==0.50.0",
    "loguru==0.7.3",
    "multipledispatch==1.0.0",
    "numba==0.68.1",
    "opencv-python-headless==5.0.0.93",
    "pandas==3.1.1",
    "platformdirs==4.14.7",
    "pydantic==2.14.3",
    "pyproj==3.7.2",
    "requests==2.34.2",
    "rich==15.0.0",
    "rich-rst==2.2.0",
    "rioxarray==0.19.0",
    "urllib3==2.8.0",
    "xarray==2026.9.0",
    "xarray-spatial==0.5.3",
)

SHARED = ("numpy", "rasterio")
"""Of the versions that segx has here, so that a difference is not theirs."""


def default_folder() -> Path:
    """Where the environment lies unless told otherwise: beside segx's cache."""
    return default_cache_root().with_name("segx-bench-peers")


def make(folder: Path, *, torch: str | None) -> None:
    """Make the environment, or bring one that is there up to date.

    Args:
        folder: Where.
        torch: Version of PyTorch for MONAI; that of segx if None.
    """
    if not python_of(folder).is_file():
        venv.create(folder, with_pip=True)
    install(folder, requirements(torch=torch))
    install(folder, PEERS, "--no-deps")


def requirements(*, torch: str | None) -> tuple[str, ...]:
    """Exact version of everything but the peers."""
    shared = {name: version(name) for name in SHARED}
    shared |= {"onnxruntime": onnxruntime_version(), "torch": torch or version("torch")}
    return (*NEEDED, *(f"{name}=={found}" for name, found in shared.items()))


def onnxruntime_version() -> str:
    """Version of segx's ONNX Runtime, whichever package brought it."""
    import onnxruntime

    return str(onnxruntime.__version__)


def install(folder: Path, packages: tuple[str, ...], *options: str) -> None:
    """Install packages with pip; its messages are shown."""
    command = [str(python_of(folder)), "-m", "pip", "install", "--no-input", "--quiet"]
    print(f"installing {len(packages)} packages into {folder}", flush=True)
    subprocess.run([*command, *options, *packages], check=True)


def python_of(folder: Path) -> Path:
    """Interpreter of the environment."""
    if sys.platform == "win32":
        return folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"
