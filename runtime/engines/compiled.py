"""Graphs that a library compiled for this processor, kept in the cache for the next process.

    ROOT/openvino/KEY.cache     SHA-256 of the rest, then the graph as the library exported it

Nothing that is wrong with one shows but in the time that opening takes: a graph that cannot be had,
or not be kept, is compiled again.
"""

import hashlib
import logging

from ..errors import ConfigError, EngineError
from .cache import EngineCache
from .place import default_cache_root

_DIGEST = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


class CompiledGraphs:
    """Compiled graphs by key, within the size of the cache that they lie in."""

    def __init__(self, cache: EngineCache) -> None:
        """Look at no file yet."""
        self._cache = cache

    @classmethod
    def of_user(cls) -> "CompiledGraphs | None":
        """Take the user's cache; None where no folder for it is known.

        Raises:
            ConfigError: If the environment names no usable limit.
        """
        try:
            root = default_cache_root()
        except ConfigError as error:
            _log.info("no compiled graph is kept: %s", error)
            return None
        return cls(EngineCache(root))

    def load(self, key: str) -> bytes | None:
        """Read a graph; None if there is none that is whole and that nobody else can have written.

        Args:
            key: 64 hexadecimal digits.
        """
        try:
            self._cache.check(trusted=False)
            content = self._cache.load_compiled(key)
        except EngineError as error:
            _log.info("a compiled graph is not taken: %s", error)
            return None
        if content is None:
            return None
        digest, graph = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(graph).digest() != digest:
            _log.info("the compiled graph %s is damaged, and made again", key)
            return None
        return graph

    def save(self, key: str, graph: bytes) -> None:
        """Keep a graph."""
        try:
            self._cache.check(trusted=False)
            self._cache.save_compiled(key, hashlib.sha256(graph).digest() + graph)
        except EngineError as error:
            _log.info("a compiled graph is not kept: %s", error)
