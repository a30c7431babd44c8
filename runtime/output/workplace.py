"""The folder in which the maps of a run grow, so that a run that was stopped can go on.

    OUT/.segx-run/lock           held while a run writes to OUT
    OUT/.segx-run/journal        what is on the disk
    OUT/.segx-run/NAME.raw       a map on its way
    OUT/NAME.tif                 a finished map

The folder goes when all is done. After an error, Ctrl-C or kill the same command goes on with it;
another command into the same OUT is refused, unless it says that it begins afresh.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..engines.lock import hold
from ..errors import DataError, EngineError
from ..grid import Grid
from ..jsonfile import plain
from .disk import unwritable
from .journal import Journal, read_journal
from .kinds import MapKind, MapTags
from .sheet import Place, Sheet

FOLDER = ".segx-run"
_LOCK = "lock"
_JOURNAL = "journal"
_SHOWN = 5
"""Differences that are named."""
_SHORT = 40
"""Characters of a value that is shown."""


class Workplace:
    """The folder of a run; use it as a context manager and `finish` it."""

    def __init__(self, out: Path, identity: Mapping[str, object], *, restart: bool = False) -> None:
        """Name the folder; nothing is touched before the `with` block.

        Args:
            out: Folder of the finished maps.
            identity: All that the pixels of the maps depend on. A run of an equal identity goes on
                where the one before ended.
            restart: Begin afresh in any case.
        """
        self.out = out
        self.resumed = False
        """Whether an earlier run left something that this one goes on with."""
        self._folder = out / FOLDER
        self._identity: dict[str, Any] = json.loads(json.dumps(plain(identity)))
        self._restart = restart
        self._stack = contextlib.ExitStack()
        self._journal: Journal | None = None
        self._sheets: list[Sheet] = []
        self._is_done = False
        self._remains = False

    def __enter__(self) -> "Workplace":
        """Lock the folder, and find what an earlier run left.

        Raises:
            DataError: If another run writes into it, or the disk does not let this one.
        """
        with contextlib.ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                stack.callback(self._sweep)
                stack.enter_context(hold(self._folder / _LOCK, limit_s=0, on_wait=lambda: None))
                stack.callback(self._leave)
                self._journal = self._open_journal()
            except EngineError as error:
                raise DataError(
                    f"{self.out} is being written by another run; expected one run in a folder; "
                    "wait for its end or choose another --out"
                ) from error
            except OSError as error:
                raise unwritable(self.out, error) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the folder to the next run, if there is anything in it."""
        self._stack.close()

    def sheet(self, stem: str, grid: Grid, kinds: Mapping[str, MapKind], tags: MapTags) -> Sheet:
        """Begin the maps of an aerial file, or go on with them.

        Args:
            stem: First part of the names of its files.
            grid: Grid of its maps: exactly that of the aerial file.
            kinds: Its maps, by name of a result.
            tags: Tags of every map.

        Raises:
            ValueError: Outside the `with` block.
            DataError: If the disk cannot be read or written.
        """
        if self._journal is None:
            raise ValueError("a workplace hands out sheets inside its `with` block only")
        place = Place(out=self.out, folder=self._folder, journal=self._journal)
        sheet = Sheet(place, stem, grid, kinds, tags)
        self._sheets.append(sheet)
        return sheet

    @property
    def notes(self) -> list[dict[str, Any]]:
        """Notes of this run, before it was interrupted."""
        return [] if self._journal is None else self._journal.recorded.notes

    def note(self, note: Mapping[str, Any]) -> None:
        """Keep something for the report, should the run be interrupted.

        Raises:
            ValueError: Outside the `with` block.
            DataError: If the disk does not take it.
        """
        if self._journal is None:
            raise ValueError("a workplace takes notes inside its `with` block only")
        try:
            self._journal.add_note(note)
        except OSError as error:
            raise unwritable(self.out, error) from error

    def finish(self) -> None:
        """Remove the folder; all sheets are finished.

        Raises:
            ValueError: If one is not.
        """
        unfinished = [sheet.stem for sheet in self._sheets if not sheet.finished]
        if unfinished:
            raise ValueError(f"{unfinished[0]} and {len(unfinished) - 1} others are not finished")
        self._is_done = True
        self._stack.close()

    def _open_journal(self) -> Journal:
        path = self._folder / _JOURNAL
        recorded = None if self._restart else read_journal(path)
        if recorded is not None and recorded.identity == self._identity:
            self.resumed = not recorded.is_empty
            return Journal(path, recorded)
        if recorded is not None and not recorded.is_empty and recorded.identity is not None:
            different = _differences(recorded.identity, self._identity)
            raise DataError(
                f"{self.out} holds the interrupted run of another command ({different}); expected "
                "the same command, which goes on with it; give that, choose another --out, or give "
                "its maps up with --restart"
            )
        self._clear()
        return Journal.begin(path, self._identity)

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.name != _LOCK:
                path.unlink()

    def _leave(self) -> None:
        """Close the journal, and remove a folder that is of no more use."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
            is_empty = journal.is_empty
        else:
            is_empty = not (self._folder / _JOURNAL).exists()
        if self._is_done or is_empty:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._remains = self._folder.exists()

    def _sweep(self) -> None:
        """Remove what could not be removed while the lock was held: Windows keeps open files."""
        if self._remains:
            with contextlib.suppress(OSError):
                (self._folder / _LOCK).unlink(missing_ok=True)
                self._folder.rmdir()


def _differences(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    """Say in which entries two identities differ."""
    if old is None:
        return "the journal of the run before cannot be read"
    before, now = dict(_entries(old)), dict(_entries(new))
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    texts = [_difference(key, before.get(key), now.get(key)) for key in keys[:_SHOWN]]
    if len(keys) > _SHOWN:
        texts.append(f"{len(keys) - _SHOWN} more")
    return "; ".join(texts)


def _difference(key: str, before: object, now: object) -> str:
    texts = [json.dumps(value, ensure_ascii=False) for value in (before, now)]
    if max(map(len, texts)) > _SHORT:
        return f"{key} differs"
    return f"{key} was {texts[0]} and is {texts[1]}"


def _entries(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the entries of nested objects under names with dots."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _entries(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
