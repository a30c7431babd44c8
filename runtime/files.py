"""Read files of a bounded size; write files that appear only when they are complete."""

import secrets
from pathlib import Path

from .errors import DataError, SegxError, brief

MOST_TEXT_BYTES = 16 << 20
"""Lists of the products or tiles of one data set have some kilobytes."""
PART = ".part"
"""Suffix of files that are being written."""


def read_bounded(path: Path, *, most: int) -> bytes:
    """Read a file that is not larger than files of its kind are.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is larger.
    """
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"it has {size >> 20} MiB, {most >> 20} MiB at most are read")
    return path.read_bytes()


def read_text(path: Path, *, expected: str, error: type[SegxError] = DataError) -> str:
    """Read a text file in UTF-8.

    Args:
        path: The file.
        expected: What it is to be, and what to do if it is not, for the message.
        error: Class of the error raised.

    Raises:
        SegxError: `error`, if it cannot be read, is larger than any, or is no text.
    """
    try:
        return read_bounded(path, most=MOST_TEXT_BYTES).decode()
    except (OSError, ValueError) as fault:
        raise error(
            f"{path} cannot be read as text ({brief(fault)}); expected {expected}"
        ) from fault


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8.

    Raises:
        DataError: If the disk does not take it.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes, *, error: type[SegxError] = DataError) -> None:
    """Write a file.

    Args:
        path: The file; its folder is made.
        content: What it is to hold.
        error: Class of the error raised.

    Raises:
        SegxError: `error`, if the disk does not take it; what was there is left as it was.
    """
    # Named at random: several threads and processes may write one file at once.
    part = path.with_name(f".{secrets.token_hex(8)}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as stream:
                stream.write(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as fault:
        raise error(
            f"{path} cannot be written ({brief(fault)}); expected room and permission; free some "
            "disk space or choose another place"
        ) from fault
