"""Read lists from elsewhere that are text, a line each."""

from pathlib import Path

from .errors import DataError, SegxError, brief

MOST_BYTES = 16 << 20
"""Lists of the products or tiles of one data set have some kilobytes."""


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
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as fault:
        raise error(
            f"{path} cannot be read as text ({brief(fault)}); expected {expected}"
        ) from fault
