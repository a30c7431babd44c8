"""Read NumPy's files from elsewhere: what a header says is checked before memory is taken for it.

    .npy   one array, mapped into memory
    .npz   a zip of them, read whole, up to a size

Numbers and truth values alone are read; an array of objects is a pickle, which can run code.
"""

import math
import zlib
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

KINDS = "buif"
"""NumPy's kinds of types that are read: truth values, integers and floats."""

UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    BadZipFile,
    zlib.error,
    NotImplementedError,  # a zip that is compressed in another way, or needs a later version
    RuntimeError,  # a zip with a password
)
"""Errors that the functions of this module raise of a file that they cannot read."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def map_array(path: Path) -> NDArray[Any]:
    """Map an array into memory, which stays on disk until it is used.

    Raises:
        OSError, ValueError: Or another one of `UNREADABLE`, if it is no array of numbers, or of
            another size than its header says.
    """
    with path.open("rb") as stream:
        _check_header(stream, path.stat().st_size)
    return np.lib.format.open_memmap(path, mode="r")


def read_arrays(path: Path, *, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Read all arrays of a `.npz`.

    Args:
        path: The file.
        most_bytes: Size of all arrays together that is still read.

    Raises:
        OSError, ValueError: Or another one of `UNREADABLE`, if it cannot be read, is larger than
            that, or holds something else than arrays of numbers.
    """
    with ZipFile(path) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > most_bytes:
            raise ValueError(f"it unpacks to {size >> 20} MiB")
        for member in members:
            with archive.open(member) as stream:
                _check_header(stream, member.file_size)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _check_header(stream: IO[bytes], size: int) -> None:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"it has version {version} of NumPy's format")
    try:
        shape, _, dtype = _HEADERS[version](stream)
    except Exception as error:  # it is evaluated as an expression, which fails in any way
        raise ValueError(f"its header cannot be understood: {error}") from error
    if dtype.kind not in KINDS:
        raise ValueError(f"it holds values of type {dtype}")
    data = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or data != size - stream.tell():
        raise ValueError(f"it has {size - stream.tell()} bytes for the shape {shape} of {dtype}")
