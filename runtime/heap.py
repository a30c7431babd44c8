"""Keep little of the memory that was freed: glibc's allocator, where that is what runs."""

import ctypes
import os
import sys
from collections.abc import Callable

ARENAS = 2
"""Parts of the heap that all threads share."""

_ARENA_MAX = -8
"""The parameter of mallopt, in glibc's malloc.h."""


def share_arenas() -> None:
    """Let all threads of this process share two parts of the heap; nothing without glibc.

    glibc gives each thread a part of its own, up to eight a core, and keeps the freed end of each:
    for a map that takes 0.5 GiB these ends hold up to 0.2 GiB. To be called before any thread has
    taken memory. What the user asks for (`MALLOC_ARENA_MAX`, `GLIBC_TUNABLES`) comes first.
    """
    asked = "MALLOC_ARENA_MAX" in os.environ or "GLIBC_TUNABLES" in os.environ
    choose = None if asked else _of_glibc("mallopt")
    if choose is not None:
        choose(_ARENA_MAX, ARENAS)


def trim() -> None:
    """Let glibc give back what its allocator keeps of freed memory; nothing elsewhere.

    The stages of a run free large buffers in several threads, which glibc keeps for each of them.
    """
    give_back = _of_glibc("malloc_trim")
    if give_back is not None:
        give_back(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
