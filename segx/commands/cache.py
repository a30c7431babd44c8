"""`segx cache`: the engines that are kept on this device."""

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from runtime.engines.cache import CachedEngine, EngineCache


def cache(
    clear: bool = typer.Option(
        False, "--clear", help="Remove every engine, and what its builder keeps beside it."
    ),
    json: Path | None = typer.Option(None, help="Also write what is left to this file."),
) -> None:
    """Show the engines in the cache, or remove them; they are built again when needed.

    Example: segx cache --clear
    """
    from runtime.engines.cache import EngineCache

    from ..console import chosen, done, say, write_json

    engines = EngineCache()
    chosen("engine cache", engines.root, "another folder: SEGX_CACHE")
    if clear:
        removed = engines.clear()
        say(f"removed {removed.engines} engines, {_mib(removed.size_bytes)}")
    entries = engines.entries()
    _print_entries(entries)
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
