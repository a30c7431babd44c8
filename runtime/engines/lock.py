"""One builder at a time, over threads and processes.

The operating system holds the lock, not the file: it ends with the process, so the file that a
killed one left behind stops nobody.
"""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import EngineError

_PAUSE_S = 0.05
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


@contextmanager
def hold(path: Path, *, limit_s: float, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Hold a lock inside the `with` block.

    Args:
        path: The lock's file; it is made where it is missing, but not its folder.
        limit_s: Seconds to wait for another holder.
        on_wait: Called once, before waiting.

    Yields:
        Whether the lock is held: False where no file can be made or the disk has no locks.

    Raises:
        EngineError: If another one holds it all that time.
    """
    number = _acquire(path, limit_s, on_wait)
    try:
        yield number is not None
    finally:
        if number is not None:
            _unlock(number)
            os.close(number)


def _acquire(path: Path, limit_s: float, on_wait: Callable[[], None]) -> int | None:
    """Give the descriptor of the locked file, or None where nothing can be locked."""
    until = time.monotonic() + limit_s
    waited = False
    while True:
        try:
            number = _try(path)
        except OSError:
            return None
        if number is not None:
            return number
        if not waited:
            waited = True
            on_wait()
        if time.monotonic() > until:
            raise EngineError(
                f"{path} has been held by another process for {limit_s:g} s; expected its engine "
                "to be built by now; end that process and run again"
            )
        time.sleep(_PAUSE_S)


def _try(path: Path) -> int | None:
    """Lock the file, or give None if another one has; raises OSError where that cannot be done."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        # Clearing the cache removes the file: a lock on a removed one locks nobody out.
        if _lock(number) and _is_still(path, number):
            return number
    except OSError:
        os.close(number)
        raise
    os.close(number)
    return None


def _is_still(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(number))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(number: int) -> bool:
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def _unlock(number: int) -> None:
        os.lseek(number, 0, os.SEEK_SET)
        msvcrt.locking(number, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(number: int) -> bool:
        # `flock` belongs to the opened file, so threads of one process exclude each other too.
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def _unlock(number: int) -> None:
        fcntl.flock(number, fcntl.LOCK_UN)
