"""What goes to the process that builds an engine, and what comes back."""

from dataclasses import dataclass

from ..manifest import PartSpec
from .inspector import EngineSummary
from .profiles import Profile
from .target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An engine to build; all paths are absolute."""

    onnx: str
    part: PartSpec
    target: Target
    profile: Profile
    workspace_mib: int
    optimization_level: int | None
    timing_cache: str | None
    """File to read and write; None where no timings are kept."""
    engine: str
    """File for the engine."""
    outcome: str
    """File for the `Outcome`."""
    log: str
    """File for what TensorRT says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a build went."""

    error: str = ""
    """Why it failed; empty if it did not."""
    kind: str = ""
    """Name of the error's class."""
    notes: tuple[str, ...] = ()
    """What did not go as asked."""
    summary: EngineSummary | None = None
    """The engine's layers; None where it cannot be opened, as without a GPU."""
