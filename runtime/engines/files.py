"""Read and remove the files of a cache, which are plain files."""

import os
import stat
from pathlib import Path

from ..errors import EngineError, brief


def read_plain(path: Path, *, most: int) -> bytes:
    """Read a file once, without following a link and without waiting at a pipe.

    Args:
        path: File to read.
        most: Bytes that it may have.

    Raises:
        FileNotFoundError: If there is none.
        EngineError: If it is a link or no plain file, is larger, or cannot be read.
    """
    try:
        return _read(path, most)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EngineError(
            f"{path} cannot be read ({brief(error)}); expected a plain file of at most {most} "
            "bytes, and no link; remove it"
        ) from error


def _read(path: Path, most: int) -> bytes:
    if path.is_symlink():  # where the system has no O_NOFOLLOW
        raise OSError("a symbolic link")
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    with open(os.open(path, flags), "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("no plain file")
        if found.st_size > most:
            raise OSError(f"{found.st_size} bytes")
        return stream.read(found.st_size)


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may write to, whatever the umask; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def remove(path: Path) -> bool:
    """Remove a file; give whether it is gone.

    Elsewhere than on POSIX a file that another process reads cannot be removed; it stays until the
    next time.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
