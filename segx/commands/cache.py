"""`segx cache`: the engines and compiled graphs that are kept on this device."""

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from runtime.engines.cache import CachedEngine, EngineCache


def cache(
    clear: bool = typer.Option(
        False, "--clear", help="Remove all of it: engines, what builders keep beside, graphs."
    ),
    json: Path | None = typer.Option(None, help="Also write what is left to this file."),
) -> None:
    """Show what is kept to open models faster, or remove it; it is made again when needed.

    TensorRT's engines are listed; graphs that OpenVINO compiled in INT8 are counted.

    Example: segx cache --clear
    """
    from runtime.engines.cache import EngineCache

    from ..console import chosen, done, say, write_json

    engines = EngineCache()
    chosen("engine cache", engines.root, "another folder: SEGX_CACHE")
    if clear:
        removed = engines.clear()
        counts = f"engines {removed.engines}, graphs {removed.graphs}"
        say(f"removed: {counts}; {_mib(removed.size_bytes)}")
    entries = engines.entries()
    _print_entries(entries)
    chosen("graphs", engines.graphs(), "in INT8, compiled by OpenVINO for this processor")
    chosen(
        "size",
        f"{_mib(engines.size())} of {_mib(engines.limit_bytes)}",
        "what was used longest ago goes first; another limit: SEGX_CACHE_GIB",
    )
    if json is not None:
        write_json(json, _listed(engines, entries))
        done(json, "segx infer INPUT")
    else:
        say("next: segx infer INPUT")


def _print_entries(entries: "tuple[CachedEngine, ...]") -> None:
    from ..console import say, table

    if not entries:
        say("no engines; each is built when it is first needed")
        return
    table(
        ["bundle", "part", "precision", "builder", "sm", "GPU", "MiB", "last used (UTC)"],
        [
            [
                entry.record.bundle,
                entry.record.part,
                entry.record.precision,
                f"{entry.record.target.builder} {entry.record.target.builder_version}",
                entry.record.target.sm,
                entry.record.target.gpu,
                entry.size_bytes / 2**20,
                _used(entry).strftime("%Y-%m-%d %H:%M"),
            ]
            for entry in entries
        ],
    )


def _listed(engines: "EngineCache", entries: "tuple[CachedEngine, ...]") -> dict[str, Any]:
    return {
        "path": engines.root,
        "size_bytes": engines.size(),
        "limit_bytes": engines.limit_bytes,
        "graphs": engines.graphs(),
        "engines": [
            {
                "used": _used(entry).isoformat(),
                "size_bytes": entry.size_bytes,
                "record": entry.record,
            }
            for entry in entries
        ],
    }


def _used(entry: "CachedEngine") -> datetime:
    return datetime.fromtimestamp(entry.used, timezone.utc)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
