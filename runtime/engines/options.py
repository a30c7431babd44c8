"""How engines are built, and which ready ones are taken."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import ConfigError

Rebuild = Literal["auto", "never"]
"""What to do where no engine fits: build one, or refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How an engine is built; none of this is part of the cache's key."""

    workspace_mib: int = 4096
    """Scratch memory that the builder may use at most; halved when memory runs out."""
    optimization_level: int | None = None
    """0 (fast build) to 5 (fast engine); the builder's default if None."""
    timing_cache: bool = True
    """Keep measured timings of kernels, where the builder has such a cache."""
    time_limit_s: float = 7200.0
    """Seconds after which a build is ended."""


def check_options(options: BuildOptions) -> None:
    """Refuse options that no builder can follow.

    Raises:
        ConfigError: If one is out of its range.
    """
    level = options.optimization_level
    if options.workspace_mib < 1:
        raise ConfigError(
            f"the workspace is {options.workspace_mib} MiB; expected at least 1; give more, such "
            "as 4096"
        )
    if level is not None and not 0 <= level <= 5:
        raise ConfigError(
            f"the optimisation level is {level}; expected 0 (fast build) to 5 (fast engine); "
            "choose one of them"
        )
    if not options.time_limit_s > 0:
        raise ConfigError(
            f"the time limit is {options.time_limit_s:g} s; expected more than 0; give more"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePolicy:
    """Which engines are taken, and whether missing ones are built."""

    rebuild: Rebuild = "auto"
    folder: Path | None = None
    """A folder of engines from elsewhere, looked at before the cache."""
    trust_folder: bool = False
    """Take engines of that folder, and of a cache that others can write to: opening an engine can
    run code that is in it."""
    build: BuildOptions = field(default_factory=BuildOptions)
