"""Read JSON files of measurements, which come with bundles and are not to be trusted."""

from pathlib import Path
from typing import TypeVar

from runtime.errors import SegxError
from runtime.jsonfile import read_json
from runtime.schema import parse

T = TypeVar("T")

LARGEST = 1e12
"""Nothing that is measured is beyond this; what is cannot be drawn."""


def read_measurements(path: Path, kind: type[T], *, expected: str, error: type[SegxError]) -> T:
    """Read a JSON file as a dataclass; keys that it lacks are passed over.

    Args:
        path: The file.
        kind: The dataclass.
        expected: What the file is and what to do without it, for messages.
        error: Class of the error raised.

    Raises:
        SegxError: `error`, if it cannot be read, holds a number that is no measurement, or lacks
            something.
    """
    data = read_json(
        path,
        expected=expected,
        error=error,
        parse_float=_number,
        parse_constant=_number,
        parse_int=_whole,
    )
    return parse(kind, data, where=str(path), unknown="ignore", error=error)


def _number(text: str) -> float:
    value = float(text)
    if not abs(value) <= LARGEST:
        raise ValueError(f"{text[:20]} is no measurement")
    return value


def _whole(text: str) -> int:
    _number(text)
    return int(text)
