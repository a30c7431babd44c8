"""The cache of engines on this device; every process of a user shares it.

ROOT/engines/   records and engines, see `folder`
ROOT/runtime/   KEY.cache: what TensorRT-RTX compiled of an engine on this device
ROOT/openvino/  KEY.cache: a graph that OpenVINO compiled for this processor, see `compiled`
ROOT/timing/    measured timings of kernels, which make the next build shorter
ROOT/locks/     KEY.lock: held while an engine is built
"""

import logging
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError, brief
from ..files import write_bytes
from .evict import Item, evict, find_items, sweep
from .files import make_folder, read_plain, remove
from .folder import EngineFolder, Found
from .lock import hold
from .place import cache_limit, default_cache_root
from .record import EngineRecord
from .target import Target
from .trust import check_own

_MOST = 1 << 30
"""Bytes that a runtime cache or a compiled graph may have."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedEngine:
    """An engine in the cache."""

    record: EngineRecord
    size_bytes: int
    """With all that belongs to it."""
    used: float
    """When it was used last, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What was removed."""

    engines: int
    graphs: int
    """Graphs compiled for the processor."""
    size_bytes: int


class EngineCache:
    """Engines by key, within a size."""

    def __init__(self, root: Path | None = None, *, limit_bytes: int | None = None) -> None:
        """Look at no file yet.

        Args:
            root: Folder; `default_cache_root()` if None. It is made when something is stored.
            limit_bytes: Size to keep to; `cache_limit()` if None.

        Raises:
            ConfigError: If the environment names no usable folder or limit.
        """
        self.root = default_cache_root() if root is None else root
        self.limit_bytes = cache_limit() if limit_bytes is None else limit_bytes
        self.engines = EngineFolder(self.root / "engines")
        self._runtime = self.root / "runtime"
        self._compiled = self.root / "openvino"
        self._timing = self.root / "timing"
        self._locks = self.root / "locks"

    def check(self, *, trusted: bool) -> None:
        """Refuse a cache that others can write to; see `trust.check_own`."""
        folders = (self.engines.path, self._runtime, self._compiled, self._timing, self._locks)
        check_own(self.root, folders, trusted=trusted)

    def find(self, key: str) -> Found | None:
        """Read the engine of a key, and note that it was used; None if there is none.

        Raises:
            EngineError: If its record or the engine is damaged, a link, or cannot be read.
        """
        found = self.engines.find(key)
        if found is not None:
            self._touch(self.engines.record_path(key))
        return found

    def _touch(self, path: Path) -> None:
        try:
            os.utime(path)
        except OSError as error:  # a cache that can only be read serves as well
            _log.info("use of %s not noted: %s", path.stem, brief(error))

    def store(self, record: EngineRecord, data: bytes) -> None:
        """Keep an engine, and remove those used longest ago beyond the limit.

        Raises:
            EngineError: If the disk does not take it; nothing of it is left then.
        """
        self._make(self.engines.path)
        self.engines.store(record, data)
        self._shrink({record.key, _timing_name(record.target)})

    def _make(self, folder: Path) -> None:
        """Make a folder of the cache that only its owner can write to.

        Raises:
            EngineError: If it cannot be made.
        """
        try:
            make_folder(self.root)
            make_folder(folder)
        except OSError as error:
            raise EngineError(
                f"{folder} cannot be made ({brief(error)}); expected room and permission for the "
                "engine cache; set SEGX_CACHE to another folder"
            ) from error

    def _shrink(self, keep: Collection[str]) -> None:
        sweep((self.engines.path, self._runtime, self._compiled, self._timing))
        gone = evict(self._items(), limit=self.limit_bytes, keep=keep)
        if gone:
            self._drop_timings()
            _log.info("removed from the engine cache: %s", ", ".join(item.name for item in gone))

    def _drop_timings(self) -> None:
        """Remove timing caches that serve no engine any more."""
        needed = {_timing_name(record.target) for record in self.records()}
        for path in self._timing.glob("*.cache"):
            if path.name not in needed:
                remove(path)

    def records(self) -> tuple[EngineRecord, ...]:
        """Read all records; damaged ones are passed over."""
        return self.engines.records()

    def entries(self) -> tuple[CachedEngine, ...]:
        """List the engines, the one used last first."""
        known = {record.key: record for record in self.records()}
        return tuple(
            CachedEngine(record=known[item.name], size_bytes=item.size, used=item.used)
            for item in reversed(self._items())
            if item.name in known
        )

    def graphs(self) -> int:
        """Count the graphs compiled for the processor."""
        return len(find_items((self._compiled,)))

    def size(self) -> int:
        """Add up the bytes of engines, of what belongs to them, and of compiled graphs."""
        return sum(item.size for item in self._items())

    def _items(self) -> list[Item]:
        return find_items((self.engines.path, self._runtime, self._compiled), self._timing)

    def clear(self) -> Cleared:
        """Remove everything; files that are not of the cache stay.

        Raises:
            EngineError: If a folder of it is a link, or a file cannot be removed.
        """
        self.check(trusted=True)
        engines, graphs, items = len(self.records()), self.graphs(), self._items()
        left = [path for item in items for path in item.remove()]
        left += [path for path in self._locks.glob("*.lock") if not remove(path)]
        if left:
            raise EngineError(
                f"{left[0]} cannot be removed; expected permission, and that no process has it "
                "open; end other runs of segx and clear the cache again"
            )
        size = sum(item.size for item in items)
        return Cleared(engines=engines, graphs=graphs, size_bytes=size)

    @contextmanager
    def hold(self, key: str, *, limit_s: float, on_wait: Callable[[], None]) -> Iterator[bool]:
        """Keep other builders of an engine out; see `lock.hold`."""
        # Where the folder cannot be made, nobody can store the engine either, and none is held.
        with suppress(EngineError):
            self._make(self._locks)
        with hold(self._locks / f"{key}.lock", limit_s=limit_s, on_wait=on_wait) as held:
            yield held

    def timing_file(self, target: Target) -> Path | None:
        """Where a builder keeps its timings of a device; None if nothing can be kept."""
        try:
            self._make(self._timing)
        except EngineError:
            return None
        return self._timing / _timing_name(target)

    def load_runtime(self, key: str) -> bytes | None:
        """Read what TensorRT-RTX compiled of an engine; None if there is nothing to use."""
        try:
            return _read(self._runtime, key)
        except EngineError as error:
            _log.warning("%s", error)
            return None

    def save_runtime(self, key: str, data: bytes) -> None:
        """Keep what TensorRT-RTX compiled of an engine; a disk that is full is a warning."""
        try:
            self._write(self._runtime, key, data)
        except EngineError as error:
            _log.warning("%s", error)

    def load_compiled(self, key: str) -> bytes | None:
        """Read a graph compiled for the processor, and note its use; None if there is none.

        Raises:
            EngineError: If it is a link, or cannot be read.
        """
        found = _read(self._compiled, key)
        if found is not None:
            self._touch(_keyed(self._compiled, key))
        return found

    def save_compiled(self, key: str, data: bytes) -> None:
        """Keep a graph compiled for the processor, and remove what was used longest ago.

        Raises:
            EngineError: If it is larger than any, or the disk does not take it.
        """
        if len(data) > _MOST:
            raise EngineError(f"it has {len(data) >> 20} MiB; expected at most {_MOST >> 20}")
        self._write(self._compiled, key, data)

    def _write(self, folder: Path, key: str, data: bytes) -> None:
        self._make(folder)
        write_bytes(_keyed(folder, key), data, error=EngineError)
        self._shrink({key})


def _read(folder: Path, key: str) -> bytes | None:
    try:
        return read_plain(_keyed(folder, key), most=_MOST)
    except FileNotFoundError:
        return None


def _keyed(folder: Path, key: str) -> Path:
    return folder / f"{key}.cache"


def _timing_name(target: Target) -> str:
    """Name the timing cache of a target; a GPU's name may hold blanks and slashes."""
    name = f"{target.builder}-{target.builder_version}-{target.sm}-{target.gpu}"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name) + ".cache"
