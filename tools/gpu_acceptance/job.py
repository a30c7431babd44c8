"""What the acceptance is run on, and the ways in which a step can end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

Status = Literal["done", "no GPU", "failed", "out of time"]


class NoGpu(Exception):
    """There is no GPU to run a step on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is run."""

    bundles: tuple[Path, ...]
    """The FP32 bundle and those converted from it."""
    out: Path
    rounds: int = 50
    """Rounds of the latency table."""
    capabilities: tuple[str, ...] = CAPABILITIES
    """To build for ahead of time."""
    dry_run: bool = False
    """Do what a CPU can do, and look for no GPU."""

    def require_gpu(self) -> None:
        """Raise NoGpu where there is none."""
        from runtime.usable import has_nvidia_driver

        if self.dry_run:
            raise NoGpu("a dry run looks for none")
        if not has_nvidia_driver():
            raise NoGpu("no NVIDIA driver is here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to find out, in a process of its own."""

    name: str
    kind: str
    """Name of a function in `child.KINDS`."""
    limit_s: float = 900.0
    options: Mapping[str, str] = field(default_factory=dict)
    """Its keyword arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step ended."""

    step: str
    status: Status
    seconds: float
    words: str = ""
    """Exactly what was said when it did not get done."""
    result: object = None


Work = Callable[..., Any]
"""Takes the job and the step's options; gives what JSON holds."""
