"""Say in what the results of two runs differ, but for times and the like."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from runtime.numpy_files import read_arrays

APART = frozenset({"created", "started", "options", "golden.npz"})
"""Keys of our JSON files that differ from run to run: times, `--resume`, and the hash of an archive
that holds the time at which it was written."""
MOST_BYTES = 1 << 30
LOGS = "version_"
"""Folders with the logs of an attempt to train, one more for every attempt."""


def visible(folder: Path) -> list[Path]:
    """Files below a folder that have final names, relative to it; logs of trainings are none."""
    return sorted(_visible(folder, folder))


def trees_differ(reference: Path, other: Path) -> str:
    """Compare two folders of a checkpoint or bundle; empty if nothing differs.

    JSON is compared without the keys of `APART`, arrays value by value, all else byte by byte.
    """
    names, found = visible(reference), visible(other)
    if names != found:
        odd = sorted(map(str, set(names) ^ set(found)))
        return f"files {odd} are in one folder only"
    for name in names:
        if difference := _difference(reference / name, other / name):
            return f"{name}: {difference}"
    return ""


def _visible(root: Path, folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith((".", LOGS)):
            continue
        if path.is_dir():
            yield from _visible(root, path)
        else:
            yield path.relative_to(root)


def _difference(one: Path, other: Path) -> str:
    if one.suffix == ".json":
        first, second = (_plain(json.loads(path.read_bytes())) for path in (one, other))
        keys = sorted(
            key for key in first.keys() | second.keys() if first.get(key) != second.get(key)
        )
        return f"keys {keys} differ" if keys else ""
    if one.suffix == ".npz":
        arrays, others = (read_arrays(path, most_bytes=MOST_BYTES) for path in (one, other))
        if arrays.keys() != others.keys():
            return "it holds other arrays"
        unequal = [name for name in arrays if not np.array_equal(arrays[name], others[name])]
        return f"arrays {unequal} differ" if unequal else ""
    return "" if one.read_bytes() == other.read_bytes() else "its bytes differ"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in APART}
    return [_plain(item) for item in value] if isinstance(value, list) else value
