"""Read confusion matrices that `segx eval --json` wrote."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime.errors import DataError

from .classes import Confusion
from .measurements import read_measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalClass:
    """Part of what `segx eval --json` writes."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalScores:
    """Part of what `segx eval --json` writes."""

    miou: float | None
    classes: tuple[EvalClass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """Part of what `segx eval --json` writes."""

    scores: EvalScores
    matrix: tuple[tuple[int, ...], ...]
    patches: int

    def __post_init__(self) -> None:
        """Refuse a matrix that is not square, or not of these classes."""
        if any(len(row) != len(self.scores.classes) for row in (self.matrix, *self.matrix)):
            raise ValueError(f"matrix is not one of {len(self.scores.classes)} classes")
        if any(count < 0 for row in self.matrix for count in row):
            raise ValueError("matrix has counts below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalFile:
    """What `segx eval --json` writes."""

    model: str
    results: dict[str, EvalResult] = field(default_factory=dict)


def read_eval(path: Path) -> list[Confusion]:
    """Read the confusion matrices that `segx eval --json` wrote.

    Raises:
        DataError: If it cannot be read or is nothing of the kind.
    """
    expected = "a file of `segx eval --json`; write one"
    found = read_measurements(path, EvalFile, expected=expected, error=DataError)
    return [
        Confusion(
            label=f"{found.model}, {where} ({result.patches} patches)",
            names=tuple(item.name for item in result.scores.classes),
            counts=np.array(result.matrix, dtype=np.int64),
            miou=result.scores.miou,
        )
        for where, result in found.results.items()
    ]
