"""Read JSON from elsewhere; write JSON and other files that appear only when complete."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import DataError, SegxError, brief

MOST_BYTES = 512 << 20
"""The centroids of all patches of FLAIR #2 have a hundredth of that."""


def read_json(
    path: Path,
    *,
    expected: str,
    error: type[SegxError] = DataError,
    **numbers: Any,
) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        expected: What it is to be, and what to do if it is not, for the message.
        error: Class of the error raised.
        numbers: `parse_float`, `parse_int` and `parse_constant` of `json.loads`; what they raise
            as ValueError is a reason not to read the file.

    Raises:
        SegxError: `error`, if it cannot be read, is larger than any, or is no JSON.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"), **numbers)
    except (OSError, ValueError, RecursionError) as fault:
        raise error(
            f"{path} cannot be read as JSON ({brief(fault)}); expected {expected}"
        ) from fault


def write_json(path: Path, content: object) -> None:
    """Write a JSON file.

    Dataclasses become objects, NaN and infinity null, NumPy numbers and arrays numbers and lists,
    paths and other values text.

    Raises:
        DataError: If the disk does not take it.
    """
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8.

    Raises:
        DataError: If the disk does not take it.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        DataError: If the disk does not take it.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({brief(error)}); expected room and permission; free some "
            "disk space or choose another place"
        ) from error


def plain(value: Any) -> Any:
    """Turn a value into what JSON holds."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    # NumPy scalars and arrays, without importing NumPy.
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)
