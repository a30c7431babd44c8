"""A folder of engines: of each a record, and beside it the engine that the record names.

    KEY.json                     what is known of the engine; written last
    KEY-0123456789ab.engine      the engine, with the start of its own hash

A record is replaced in one step and names a file that is complete by then and never changed, so
whoever reads it finds that engine whole, or none, whatever others write meanwhile.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError
from ..files import write_bytes
from .files import remove
from .preflight import verify_file
from .record import SUFFIX, EngineRecord, read_record, record_text

_KEY = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An engine that was read and checked."""

    record: EngineRecord
    data: bytes
    """The engine, as hashed."""


@dataclass(frozen=True, slots=True)
class EngineFolder:
    """Engines in one folder, which need not exist."""

    path: Path

    def find(self, key: str) -> Found | None:
        """Read the engine of a key; None if there is none.

        Raises:
            EngineError: If its record or the engine is damaged, a link, or cannot be read.
        """
        record = self._record(key)
        while record is not None:
            try:
                return Found(record=record, data=verify_file(record, self.path))
            except EngineError:
                # Another process may have replaced or removed it since the record was read.
                again = self._record(key)
                if again == record:
                    raise
                record = again
        return None

    def _record(self, key: str) -> EngineRecord | None:
        return read_record(self.record_path(key))

    def record_path(self, key: str) -> Path:
        """Where the record of a key lies."""
        return self.path / (key + SUFFIX)

    def store(self, record: EngineRecord, data: bytes) -> None:
        """Write an engine, then its record.

        Raises:
            EngineError: If the disk does not take them; what was there stays as it was.
        """
        before = self._file_of(record.key)
        write_bytes(self.path / record.file, data, error=EngineError)
        try:
            write_bytes(self.record_path(record.key), record_text(record), error=EngineError)
        except EngineError:
            if before != record.file:
                remove(self.path / record.file)
            raise
        if before is not None and before != record.file:
            remove(self.path / before)

    def _file_of(self, key: str) -> str | None:
        """Name the engine that lies here for a key."""
        try:
            record = self._record(key)
        except EngineError:  # damaged, and about to be replaced
            return None
        return None if record is None else record.file

    def records(self) -> tuple[EngineRecord, ...]:
        """Read all records, in the order of their keys; damaged ones are passed over."""
        return tuple(self._records())

    def _records(self) -> Iterator[EngineRecord]:
        for path in sorted(self.path.glob("*" + SUFFIX)):
            if _KEY.fullmatch(path.stem) is None:
                continue
            try:
                record = read_record(path)
            except EngineError as error:
                _log.info("passed over: %s", error)
                continue
            if record is not None:
                yield record
