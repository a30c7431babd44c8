"""One process at a time where something is made, by a lock that leaves nothing behind."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .engines.lock import hold
from .errors import BusyError, EngineError


@contextmanager
def alone(lock: Path, *, making: Path) -> Iterator[bool]:
    """Keep other processes out, inside the `with` block.

    Args:
        lock: The lock's file, whose folder is there; removed at the end.
        making: What is made, for the message.

    Yields:
        Whether the others are kept out: not where the disk has no locks.

    Raises:
        BusyError: If another process is in.
    """
    with ExitStack() as stack:
        try:
            held = stack.enter_context(hold(lock, limit_s=0.0, on_wait=lambda: None))
        except EngineError as error:
            raise BusyError(
                f"{making} is being written by another process; expected one at a time; wait for "
                "its end, or choose another --out"
            ) from error
        if held:
            stack.callback(_forget, lock)
        yield held


def _forget(lock: Path) -> None:
    with suppress(OSError):  # Windows keeps open files
        lock.unlink()
