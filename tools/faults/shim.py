"""Build the library that makes files fail and clocks jump, and tell it what to do."""

import mmap
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_name("shim.c")
Kind = Literal["reads", "writes"]
_KINDS: tuple[Kind | None, ...] = (None, "reads", "writes")
_COUNTS = struct.Struct("=3q")
_ORDERS = struct.Struct("=5q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Calls of all processes for files below the folders."""

    reads: int
    writes: int
    fired: int
    """Calls that were made to fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What is to go wrong."""

    shift_s: int = 0
    """Seconds that are added to the wall clock."""
    kind: int = 0
    """Place in `_KINDS` of the calls that fail."""
    at: int = 0
    """Number of the call that fails, from 1."""
    stays: bool = False
    """Whether all after it fail too."""
    error: int = 0
    """Its errno."""


def failing(kind: Kind, at: int, error: int, *, stays: bool) -> Orders:
    """Let a call fail."""
    return Orders(kind=_KINDS.index(kind), at=at, error=error, stays=stays)


def build_shim(folder: Path) -> Path:
    """Compile the library into a folder.

    Raises:
        SystemExit: If there is no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("there is no cc; read and write errors and clocks need a C compiler")
    library = folder / "faults.so"
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-O1", "-Wall", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


class Shim:
    """The library in the processes of one run; close it when done."""

    def __init__(self, library: Path, file: Path, below: Sequence[Path]) -> None:
        """Lay out what is shared with it.

        Args:
            library: From `build_shim`.
            file: Where the numbers lie.
            below: Folders whose files fail.
        """
        file.write_bytes(bytes(_COUNTS.size + _ORDERS.size))
        file.chmod(0o666)
        self.environment = {
            "LD_PRELOAD": str(library),
            "SEGX_FAULTS": str(file),
            "SEGX_FAULTS_BELOW": ":".join(str(path.resolve()) for path in below),
        }
        with file.open("r+b") as stream:
            self._shared = mmap.mmap(stream.fileno(), 0)

    def order(self, orders: Orders) -> None:
        """Say what is to go wrong from now on."""
        _ORDERS.pack_into(self._shared, _COUNTS.size, *map(int, astuple(orders)))

    @property
    def counts(self) -> Counts:
        """What was counted."""
        reads, writes, fired = _COUNTS.unpack_from(self._shared)
        return Counts(reads=reads, writes=writes, fired=fired)

    def close(self) -> None:
        """Let go of what is shared."""
        self._shared.close()
