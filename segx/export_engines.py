"""What `segx export` does for engines: say what will be built, build it, show what was built."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .console import chosen, progress, say, table

if TYPE_CHECKING:
    from exporter.engines import EnginePlan
    from runtime.bundle import Bundle
    from runtime.engines.provide import Prepared

EngineOption = Literal["auto", "none", "tensorrt", "tensorrt-rtx"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFlags:
    """Which engines are asked for, as it was given on the command line."""

    engine: EngineOption
    compute_capability: str | None
    engines: Path | None
    workspace: int | None
    optimization_level: int | None


def plan_engines(flags: EngineFlags) -> "EnginePlan":
    """Find out what can be built here, and say so; see `exporter.engines.plan_engines`."""
    from exporter.engines import EngineRequest
    from exporter.engines import plan_engines as plan
    from runtime.engines.options import BuildOptions

    capabilities = (flags.compute_capability or "").split(",")
    options = BuildOptions(optimization_level=flags.optimization_level)
    if flags.workspace is not None:
        options = BuildOptions(
            workspace_mib=flags.workspace, optimization_level=flags.optimization_level
        )
    found = plan(
        EngineRequest(
            builder=flags.engine,
            compute_capabilities=tuple(c.strip() for c in capabilities if c.strip()),
            folder=flags.engines,
            options=options,
            # Neither is part of an engine's key: one that is there may be built otherwise.
            force=flags.workspace is not None or flags.optimization_level is not None,
        )
    )
    names = dict.fromkeys(f"{t.builder} {t.builder_version}" for t in found.targets)
    targets = ", ".join(target.sm for target in found.targets)
    chosen("engines", f"{', '.join(names)} for {targets}" if targets else "none", found.reason)
    return found


def build_engines(bundle: "Bundle", plan: "EnginePlan") -> "tuple[Prepared, ...]":
    """Build what was planned, with a progress bar; nothing where nothing was."""
    if not plan.targets:
        return ()
    from exporter.engines import build_engines as build

    from . import __version__

    say(f"{bundle.path} is complete; engines are built of it now")
    with progress("engines") as advance:
        return build(bundle, plan, segx_version=__version__, on_progress=advance, note=say)


def show_engines(built: "Sequence[Prepared]") -> None:
    """Show the engines with size and time."""
    if not built:
        return
    for record in (item.record for item in built if item.built):
        for note in record.notes:
            say(f"{record.part} for {record.target.sm}: {note}")
    table(
        ["part", "builder", "target", "GPU", "MiB", "s", ""],
        [
            [
                item.record.part,
                f"{item.record.target.builder} {item.record.target.builder_version}",
                item.record.target.sm,
                item.record.target.gpu,
                item.record.size_bytes / MIB,
                item.record.build_seconds if item.built else None,
                "built" if item.built else "found",
            ]
            for item in built
        ],
        title=f"engines, {total_mib(built):.1f} MiB, {total_seconds(built):.1f} s, "
        f"in {built[0].path.parent}",
    )


def total_mib(built: "Sequence[Prepared]") -> float:
    """Add up their sizes."""
    return sum(item.record.size_bytes for item in built) / MIB


def total_seconds(built: "Sequence[Prepared]") -> float:
    """Add up the seconds of those that were built now."""
    return sum(item.record.build_seconds for item in built if item.built)


def summary(plan: "EnginePlan", built: "Sequence[Prepared]") -> dict[str, object]:
    """Say the same for `--json`."""
    return {
        "reason": plan.reason,
        "size_mib": total_mib(built),
        "seconds": total_seconds(built),
        "items": [
            {"path": item.path, "built": item.built, "record": item.record} for item in built
        ],
    }
