"""Keep a cache within its size: what was used longest ago goes first.

All files of one key are one item: record, engine, runtime cache, and what a replaced or interrupted
build left. A timing cache is an item of its own, and so is a graph compiled for the processor.
"""

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..files import PART
from .files import remove

LITTER_S = 3600.0
"""Age from which a file that is being written is taken for left behind."""

_KEYED = re.compile(r"([0-9a-f]{64})(-[0-9a-f]{12}\.engine|\.json|\.cache)")


@dataclass(slots=True)
class Item:
    """Files that are kept or removed together."""

    name: str
    """A key, or the name of a timing cache."""
    paths: list[Path] = field(default_factory=list)
    size: int = 0
    """Bytes."""
    used: float = 0.0
    """When it was used last, in seconds since 1970."""

    def remove(self) -> list[Path]:
        """Remove the files, the record first, so that nobody is sent to an engine that is gone.

        Returns:
            Files that could not be removed.
        """
        ordered = sorted(self.paths, key=lambda path: path.suffix != ".json")
        return [path for path in ordered if not remove(path)]


def find_items(folders: Iterable[Path], timing: Path | None = None) -> list[Item]:
    """Sort a cache's files into items, the one used longest ago first.

    Args:
        folders: Folders of files named by a key; other files are passed over.
        timing: Folder of timing caches, if they are to be found too.
    """
    named = [
        (match[1], path)
        for folder in folders
        for path in _files(folder)
        if (match := _KEYED.fullmatch(path.name))
    ]
    if timing is not None:
        named += [(path.name, path) for path in _files(timing) if path.suffix == ".cache"]
    found: dict[str, Item] = {}
    for name, path in named:
        try:
            status = path.lstat()
        except OSError:  # another process removed it meanwhile
            continue
        item = found.setdefault(name, Item(name))
        item.paths.append(path)
        item.size += status.st_size
        item.used = max(item.used, status.st_mtime)
    return sorted(found.values(), key=lambda item: (item.used, item.name))


def evict(items: Iterable[Item], *, limit: int, keep: Collection[str]) -> list[Item]:
    """Remove items until the rest is within a limit.

    Args:
        items: From `find_items`.
        limit: Bytes that may stay.
        keep: Names of items that stay whatever the limit.

    Returns:
        Items that were removed.
    """
    items = list(items)
    total = sum(item.size for item in items)
    gone = []
    for item in items:
        if total <= limit:
            break
        if item.name not in keep and not item.remove():
            total -= item.size
            gone.append(item)
    return gone


def sweep(folders: Iterable[Path]) -> None:
    """Remove what processes that were killed while writing left behind."""
    before = time.time() - LITTER_S
    for folder in folders:
        for path in _files(folder):
            if path.name.startswith(".") and path.suffix == PART and _older(path, before):
                remove(path)


def _older(path: Path, moment: float) -> bool:
    try:
        return path.lstat().st_mtime < moment
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    """Files of a folder, if it is there and no link to elsewhere."""
    if os.path.islink(folder):
        return
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return
