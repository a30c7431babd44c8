"""Put bytes on the disk, and say why it does not take them."""

import os
from io import FileIO
from pathlib import Path

from ..errors import DataError, brief


def put(file: FileIO, data: memoryview, position: int) -> None:
    """Write bytes at a place of an unbuffered file, all of them.

    Raises:
        OSError: If the disk does not take them.
    """
    file.seek(position)
    while data:
        data = data[file.write(data) :]


def get(file: FileIO, data: memoryview, position: int) -> None:
    """Fill a buffer with the bytes at a place of an unbuffered file.

    Raises:
        OSError: If the file cannot be read or ends before.
    """
    file.seek(position)
    while data:
        count = file.readinto(data)
        if not count:
            raise OSError(f"{file.name} ends early")
        data = data[count:]


def sync(path: Path) -> None:
    """Wait until the disk holds a file's bytes, so that a power cut does not lose them.

    Raises:
        OSError: If the disk does not take them.
    """
    # macOS and Windows have no `fdatasync`.
    flush = getattr(os, "fdatasync", os.fsync)
    with path.open("r+b", buffering=0) as file:
        flush(file.fileno())


def unwritable(path: Path, error: BaseException) -> DataError:
    """Make the error of a disk that is full or closed to writing."""
    return DataError(
        f"{path} cannot be written ({brief(error)}); expected room and permission; free some "
        "disk space or choose another --out, then run the same command again: it goes on"
    )
