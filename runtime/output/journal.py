"""What of a run is on the disk, line by line, so that the run can go on after any end.

    {"journal": 1, "identity": {...}}                                    the run
    {"map": "a_landcover", "block": 3, "cols": [0, 9000], "crc": 77}     columns of a block row
    {"finished": "a", "files": {"a_landcover.tif": 4711}}                a sheet and its sizes
    {"note": {...}}                                                      for the report of the run

Lines are only added. One that cannot be read, such as the last one of a run that was killed, counts
for nothing; what it told is done again.
"""

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Columns of a block row of a map."""

    map: str
    """Name of the map's file, without ending."""
    block: int
    """Number of the block row."""
    cols: tuple[int, int]
    """First column and the one after the last."""
    crc: int
    """CRC-32 of its bytes."""


@dataclass(slots=True, kw_only=True)
class Recorded:
    """What a journal tells."""

    identity: dict[str, Any] | None = None
    """What the run was made of; None if that line cannot be read."""
    pieces: dict[str, dict[tuple[int, int, int], Piece]] = field(default_factory=dict)
    """By map, then by block row, first and last column."""
    finished: dict[str, dict[str, int]] = field(default_factory=dict)
    """Names and sizes of the files of each finished sheet."""
    notes: list[dict[str, Any]] = field(default_factory=list)
    """What the run wants to know again when it goes on."""
    end: int = 0
    """Bytes of its whole lines."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the run is on the disk."""
        return not self.pieces and not self.finished


class Journal:
    """An open journal; several threads may write to it."""

    def __init__(self, path: Path, recorded: Recorded) -> None:
        """Go on with a journal that was read or begun.

        Raises:
            OSError: If it cannot be written.
        """
        self.recorded = recorded
        self._guard = threading.Lock()
        self._file = path.open("ab", buffering=0)
        try:
            # What a killed run wrote of its last line.
            self._file.truncate(recorded.end)
        except OSError:
            self._file.close()
            raise
        self.is_empty = recorded.is_empty

    @classmethod
    def begin(cls, path: Path, identity: Mapping[str, Any]) -> "Journal":
        """Begin a journal.

        Raises:
            OSError: If it cannot be written.
        """
        journal = cls(path, Recorded(identity=dict(identity)))
        try:
            journal._add([{"journal": VERSION, "identity": identity}])
        except BaseException:
            journal.close()
            path.unlink(missing_ok=True)
            raise
        return journal

    def add_pieces(self, pieces: Iterable[Piece]) -> None:
        """Record pieces that the disk holds.

        Raises:
            OSError: If the disk does not take it.
        """
        self._add(
            {"map": piece.map, "block": piece.block, "cols": list(piece.cols), "crc": piece.crc}
            for piece in pieces
        )
        self.is_empty = False

    def add_finished(self, stem: str, sizes: Mapping[str, int]) -> None:
        """Record a sheet whose files have their final names.

        Raises:
            OSError: If the disk does not take it.
        """
        self._add([{"finished": stem, "files": dict(sizes)}])
        self.is_empty = False

    def sync(self) -> None:
        """Wait until the disk holds all lines.

        Raises:
            OSError: If it does not take them.
        """
        os.fsync(self._file.fileno())

    def add_note(self, note: Mapping[str, Any]) -> None:
        """Record something that the report of the run will need.

        Raises:
            OSError: If the disk does not take it.
        """
        self._add([{"note": dict(note)}])

    def _add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with self._guard:
            written = self._file.write(text)
        if written != len(text):
            raise OSError("the disk is full")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_journal(path: Path) -> Recorded | None:
    """Read a journal; None if there is none.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    recorded = Recorded(end=content.rfind(b"\n") + 1)
    for number, line in enumerate(content[: recorded.end].split(b"\n")[:-1]):
        try:
            _take(recorded, json.loads(line), is_first=number == 0)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return recorded


def _take(recorded: Recorded, line: Any, *, is_first: bool) -> None:
    """Take over one line; raises ValueError, KeyError or TypeError if it is not of a journal."""
    if is_first:
        if line["journal"] == VERSION:
            recorded.identity = dict(line["identity"])
    elif "finished" in line:
        recorded.finished[line["finished"]] = dict(line["files"])
    elif "note" in line:
        recorded.notes.append(dict(line["note"]))
    else:
        start, stop = line["cols"]
        block, crc = line["block"], line["crc"]
        if not all(isinstance(number, int) for number in (start, stop, block, crc)):
            raise TypeError("a piece is told by whole numbers")
        piece = Piece(map=line["map"], block=block, cols=(start, stop), crc=crc)
        recorded.pieces.setdefault(piece.map, {})[block, start, stop] = piece
