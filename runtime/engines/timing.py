"""Timings of kernels from builds before, which make a build shorter; a bad file is a warning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..files import write_bytes
from .files import read_plain

_MOST = 1 << 30
"""Bytes that a timing cache may have."""


def load_timings(config: Any, path: Path, said: Callable[[], str]) -> str:
    """Give a builder's configuration the timings of a file, or an empty cache.

    Args:
        config: Of a builder with the ability `timing_cache`.
        path: The file; it need not be there.
        said: Gives what TensorRT warned of since it was asked last.

    Returns:
        A note on a file that is not used; empty if all is well.
    """
    try:
        data = read_plain(path, most=_MOST)
    except FileNotFoundError:
        data = b""
    except EngineError as error:
        _attach(config, b"")
        return f"timings are started anew: {error}"
    said()
    fits = _attach(config, data)
    # TensorRT 10 gives no cache for a damaged file, TensorRT 11 an empty one and a warning.
    warned = said()
    if data and (warned or not fits):
        if not fits:
            _attach(config, b"")
        return (
            f"timings are started anew: {path} cannot be used ({warned or 'no reason given'}); "
            "expected one that this TensorRT made on this GPU; nothing needs to be done"
        )
    return ""


def _attach(config: Any, data: bytes) -> bool:
    try:
        cache = config.create_timing_cache(data)
    except (TypeError, RuntimeError):  # a null pointer, as some bindings say it
        return False
    return cache is not None and bool(config.set_timing_cache(cache, ignore_mismatch=False))


def save_timings(config: Any, path: Path) -> str:
    """Keep a builder's timings for the next build.

    Returns:
        A note if that fails; empty if all is well.
    """
    cache = config.get_timing_cache()
    content = None if cache is None else cache.serialize()
    if content is None:
        return f"timings are not kept: TensorRT gave none for {path}"
    try:
        write_bytes(path, bytes(content), error=EngineError)
    except EngineError as error:
        return f"timings are not kept: {error}"
    return ""
