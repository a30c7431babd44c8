"""Write JSON and text files that appear under their name only when complete."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import DataError, brief


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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8")
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
