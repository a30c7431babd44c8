"""Templates of small TensorRT types: loggers, dimensions, host memory, progress monitors."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

Shape = tuple[int, ...]


class ILogger:
    def __init__(self) -> None:
        pass

    def log(self: Any, severity: Any, msg: str) -> None:
        raise RuntimeError("Tried to call pure virtual function ILogger::log")


class Logger:
    def __init__(self: Any, min_severity: Any = None) -> None:
        self._least = min_severity or self.trt.ILogger.Severity.WARNING

    @property
    def min_severity(self: Any) -> Any:
        return self._least

    @min_severity.setter
    def min_severity(self: Any, value: Any) -> None:
        self._least = value

    def log(self: Any, severity: Any, msg: str) -> None:
        if int(severity) <= int(self._least):
            print(f"[TRT] [{severity.name[0]}] {msg}", file=sys.stderr)


class IProgressMonitor:
    def __init__(self) -> None:
        pass

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise RuntimeError("Tried to call pure virtual function IProgressMonitor::phase_start")

    def phase_finish(self, phase_name: str) -> None:
        raise RuntimeError("Tried to call pure virtual function IProgressMonitor::phase_finish")

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise RuntimeError("Tried to call pure virtual function IProgressMonitor::step_complete")


class Dims:
    """A shape: equal to tuples and lists of the same numbers, not hashable."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self: Any, shape: Sequence[int] = ()) -> None:
        self._shape = tuple(int(size) for size in shape)

    def __len__(self: Any) -> int:
        return len(self._shape)

    def __getitem__(self: Any, index: Any) -> Any:
        found = self._shape[index]
        return self.trt.Dims(found) if isinstance(index, slice) else found

    def __iter__(self: Any) -> Iterator[int]:
        return iter(self._shape)

    def __eq__(self: Any, other: object) -> bool:
        return isinstance(other, Sequence | type(self)) and self._shape == tuple(other)

    def __repr__(self: Any) -> str:
        return str(self._shape)


class IHostMemory(bytes):
    """A block of bytes. Its base gives the buffer protocol; the names of `bytes` are hidden."""

    def __getattribute__(self: Any, name: str) -> Any:
        if name.startswith("_") or name in ("nbytes", "dtype", "trt"):
            return object.__getattribute__(self, name)
        raise AttributeError(f"'IHostMemory' object has no attribute '{name}'")

    def __len__(self: Any) -> int:
        raise TypeError("object of type 'IHostMemory' has no len()")

    def __bool__(self: Any) -> bool:
        return True

    @property
    def nbytes(self: Any) -> int:
        return bytes.__len__(self)

    @property
    def dtype(self: Any) -> Any:
        return self.trt.DataType.INT8


ITEM_SIZES = {
    **dict.fromkeys(("FLOAT", "INT32"), 4),
    **dict.fromkeys(("HALF", "BF16"), 2),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FP8"), 1),
    **dict.fromkeys(("INT4", "FP4"), 0.5),
    "INT64": 8,
}
NUMPY_TYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}


class DataType:
    @property
    def itemsize(self: Any) -> float | None:
        return ITEM_SIZES.get(self.name)


def nptype(trt_type: Any) -> Any:
    import numpy as np

    if trt_type.name not in NUMPY_TYPES:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return np.dtype(NUMPY_TYPES[trt_type.name]).type


def volume(iterable: Sequence[int]) -> int:
    result = 1
    for size in iterable:
        result *= size
    return result


TEMPLATES: dict[str, type] = {
    kind.__name__: kind for kind in (ILogger, Logger, IProgressMonitor, Dims, IHostMemory)
}
