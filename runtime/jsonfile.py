"""Read JSON from elsewhere; write JSON."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import DataError, SegxError, brief
from .files import read_bounded, write_text

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
        return json.loads(read_bounded(path, most=MOST_BYTES).decode(), **numbers)
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
