"""The ways in which a machine is looked at: commands, files, packages, the CUDA driver."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .backends import installed
from .usable import find_gpu, has_nvidia_driver

if TYPE_CHECKING:
    from .gpu.device import DeviceInfo

LIMIT_S = 10.0
"""Seconds after which a command is given up."""


def run_command(command: Sequence[str]) -> str:
    """Run a command and return what it prints; nothing if it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def read_text(path: Path) -> str:
    """Read a small file; nothing if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def version_of(package: str) -> str | None:
    """Version of an installed distribution; None if there is none of this name."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def in_environment() -> bool:
    """Tell whether this Python runs in a virtual environment."""
    return sys.prefix != sys.base_prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is asked of a machine; tests answer in its place."""

    run: Callable[[Sequence[str]], str] = run_command
    read: Callable[[Path], str] = read_text
    exists: Callable[[Path], bool] = Path.exists
    version: Callable[[str], str | None] = version_of
    has_module: Callable[[str], bool] = installed
    """Whether a Python module can be found from here."""
    in_environment: Callable[[], bool] = in_environment
    has_driver: Callable[[], bool] = has_nvidia_driver
    gpu: "Callable[[], DeviceInfo]" = find_gpu
    """Asks the CUDA driver; raises a BackendError where that cannot be."""
