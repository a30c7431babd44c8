"""The folder in which the maps of a run grow, so that a run that was stopped can go on.

    OUT/.segx-run/lock           held while a run writes to OUT
    OUT/.segx-run/journal        what is on the disk
    OUT/.segx-run/NAME.raw       a map on its way
    OUT/NAME.tif                 a finished map

The folder goes when all is done. After an error, Ctrl-C or kill the same command goes on with it;
another command into the same OUT is refused, unless it says that it begins afresh.

A shard has a folder of its own, OUT/.segx-run-2-of-8, which stays until a run of the whole takes
over what all shards left. A run of the whole and one of a shard never write at the same time.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..engines.lock import hold
from ..errors import BusyError, DataError, EngineError
from ..grid import Grid
from ..jsonfile import plain
from .disk import unwritable
from .journal import Journal, Recorded, read_journal
from .kinds import MapKind, MapTags
from .sheet import Place, Remains, Sheet

FOLDER = ".segx-run"
SHARD_WAIT_S = 60.0
"""Seconds that a shard waits for its own folder: a worker that is killed may take some to die."""
_WAIT_S = 2.0
"""Seconds to wait for a folder that somebody may only be looking into. A run of the whole waits
twice as long for shards: one that waits for that run gives up first, and two never stop each other.
"""
_LOCK = "lock"
_JOURNAL = "journal"
_DONE = "done"
"""File in the folder of a shard that has finished its share."""
_SHOWN = 5
"""Differences that are named."""
_SHORT = 40
"""Characters of a value that is shown."""


class Workplace:
    """The folder of a run; use it as a context manager and `finish` it."""

    def __init__(
        self,
        out: Path,
        identity: Mapping[str, object],
        *,
        restart: bool = False,
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Name the folder; nothing is touched before the `with` block.

        Args:
            out: Folder of the finished maps.
            identity: All that the pixels of the maps depend on. A run of an equal identity goes on
                where the one before ended.
            restart: Begin afresh in any case.
            shard: Number of a shard, and of how many; None for a run of the whole.
        """
        self.out = out
        self.resumed = False
        """Whether an earlier run left something that this one goes on with."""
        self._folder = out / FOLDER if shard is None else shard_folder(out, *shard)
        self._shard = shard
        self._remains: list[Remains] = []
        self._identity: dict[str, Any] = json.loads(json.dumps(plain(identity)))
        self._restart = restart
        self._stack = contextlib.ExitStack()
        self._journal: Journal | None = None
        self._sheets: list[Sheet] = []
        self._is_done = False
        self._is_kept = False
        self._taken: list[Path] = []
        self._left: list[Path] = []

    def __enter__(self) -> "Workplace":
        """Lock the folder, and find what an earlier run left.

        Raises:
            BusyError: If another run writes into it.
            DataError: If it holds another run, or the disk does not let this one.
        """
        with contextlib.ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                stack.callback(self._sweep)
                wait_s = _WAIT_S if self._shard is None else SHARD_WAIT_S
                stack.enter_context(_held(self._folder, wait_s))
                stack.callback(self._leave)
                if self._shard is None:
                    self._take_over()
                else:
                    self._look_around(*self._shard)
                self._journal = self._open_journal()
            except EngineError as error:
                raise _busy(self.out) from error
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

    def sheet(
        self,
        stem: str,
        grid: Grid,
        kinds: Mapping[str, MapKind],
        tags: MapTags,
        share: range | None = None,
    ) -> Sheet:
        """Begin the maps of an aerial file, or go on with them.

        Args:
            stem: First part of the names of its files.
            grid: Grid of its maps: exactly that of the aerial file.
            kinds: Its maps, by name of a result.
            tags: Tags of every map.
            share: Block rows of it that this run writes; all if None.

        Raises:
            ValueError: Outside the `with` block.
            DataError: If the disk cannot be read or written.
        """
        if self._journal is None:
            raise ValueError("a workplace hands out sheets inside its `with` block only")
        place = Place(
            out=self.out,
            folder=self._folder,
            journal=self._journal,
            remains=tuple(self._remains),
        )
        sheet = Sheet(place, stem, grid, kinds, tags, share=share)
        self._sheets.append(sheet)
        return sheet

    @property
    def folder(self) -> Path:
        """Where unfinished files are kept."""
        return self._folder

    @property
    def notes(self) -> list[dict[str, Any]]:
        """Notes of this run, before it was interrupted, and of its shards."""
        if self._journal is None:
            return []
        told = [self._journal.recorded, *(item.recorded for item in self._remains)]
        return [note for recorded in told for note in recorded.notes]

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

    @property
    def shards(self) -> int:
        """Shards whose work is taken over."""
        return len(self._remains)

    @property
    def digest(self) -> str:
        """Hash of the identity, by which finished maps are known again."""
        text = json.dumps(self._identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def finish(self) -> None:
        """Remove the folders of the run and its shards; a shard leaves its own.

        Raises:
            ValueError: If a sheet, or the shard's share of it, is not finished.
            DataError: If the disk does not take it.
        """
        unfinished = [sheet.stem for sheet in self._sheets if not sheet.is_complete]
        if unfinished:
            raise ValueError(f"{unfinished[0]} and {len(unfinished) - 1} others are not finished")
        if self._shard is not None:
            try:
                (self._folder / _DONE).touch()
            except OSError as error:
                raise unwritable(self.out, error) from error
        self._is_done = self._shard is None
        self._is_kept = not self._is_done
        self._stack.close()

    def _take_over(self) -> None:
        """Make sure that no shard is at work, and find what they left.

        One that begins later finds the lock of the whole held: theirs need not be, which would be
        an open file for each.
        """
        for folder in sorted(self.out.glob(f"{FOLDER}-*-of-*")):
            with _held(folder, 2 * _WAIT_S):
                recorded = read_journal(folder / _JOURNAL)
                if self._restart:
                    _clear(folder)
            self._taken.append(folder)
            if not self._restart and recorded is not None and self._is_ours(recorded):
                # All inputs are in it, and every shard has its own.
                recorded.identity = None
                self._remains.append(Remains(folder=folder, recorded=recorded))

    def _look_around(self, index: int, count: int) -> None:
        """Refuse a shard beside a run of the whole, of another command, or of other shards."""
        whole = self.out / FOLDER
        if (whole / _LOCK).exists():
            _await_whole(self.out)
            recorded = read_journal(whole / _JOURNAL)
            if recorded is not None and not self._restart:
                self._is_ours(recorded)
        beside = [path.name for path in self.out.glob(f"{FOLDER}-*-of-*")]
        others = sorted(name for name in beside if not name.endswith(f"-of-{count}"))
        if others:
            raise DataError(
                f"{self.out} holds {others[0]} and shard {index}/{count} was asked for; expected "
                "shards of one number; give that number, or finish without --shard"
            )

    def _open_journal(self) -> Journal:
        path = self._folder / _JOURNAL
        recorded = None if self._restart else read_journal(path)
        if recorded is not None and self._is_ours(recorded):
            self.resumed = self.resumed or not recorded.is_empty
            return Journal(path, recorded)
        _clear(self._folder)
        return Journal.begin(path, self._identity)

    def _is_ours(self, recorded: Recorded) -> bool:
        """Whether a journal is of this run; not, if it tells of nothing.

        Raises:
            DataError: If it is of another run, and something of that is on the disk.
        """
        if recorded.identity == self._identity:
            return True
        if recorded.is_empty or recorded.identity is None:
            return False
        different = _differences(recorded.identity, self._identity)
        raise DataError(
            f"{self.out} holds the interrupted run of another command ({different}); expected "
            "the same command, which goes on with it; give that, choose another --out, or give "
            "its maps up with --restart"
        )

    def _leave(self) -> None:
        """Close the journal, and remove a folder that is of no more use."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
            is_empty = journal.is_empty
        else:
            is_empty = not (self._folder / _JOURNAL).exists()
        useless = [*self._taken, self._folder] if self._is_done else []
        if is_empty and not (self._is_done or self._is_kept):
            useless = [self._folder]
        for folder in useless:
            shutil.rmtree(folder, ignore_errors=True)
        self._left = [folder for folder in useless if folder.exists()]

    def _sweep(self) -> None:
        """Remove what could not be removed while the lock was held: Windows keeps open files."""
        for folder in self._left:
            with contextlib.suppress(OSError):
                (folder / _LOCK).unlink(missing_ok=True)
                folder.rmdir()


def shard_folder(out: Path, index: int, count: int) -> Path:
    """Folder in which a shard of a run works."""
    return out / f"{FOLDER}-{index}-of-{count}"


def shard_is_done(out: Path, index: int, count: int) -> bool:
    """Whether a shard has finished its share."""
    return (shard_folder(out, index, count) / _DONE).exists()


def forget_runs(out: Path) -> None:
    """Give up what interrupted runs and shards have left in a folder; finished maps stay.

    Raises:
        BusyError: If one of them is at work.
        DataError: If the disk does not let it go.
    """
    try:
        for folder in sorted(out.glob(f"{FOLDER}*")):
            with _held(folder, 0.0):
                _clear(folder)
            shutil.rmtree(folder)
        (out / "report.json").unlink(missing_ok=True)
    except EngineError as error:
        raise _busy(out) from error
    except OSError as error:
        raise unwritable(out, error) from error


def _busy(out: Path) -> BusyError:
    return BusyError(
        f"{out} is being written by another run; expected one run in a folder; wait for its end or "
        "choose another --out"
    )


def _await_whole(out: Path) -> None:
    """Wait a little for a run of the whole.

    Raises:
        BusyError: If it is at work for longer.
    """
    try:
        with _held(out / FOLDER, _WAIT_S):
            pass
    except EngineError as error:
        raise BusyError(
            f"{out} is being written by a run of the whole, such as the last shard, which puts the "
            "maps together; expected none beside a shard; wait for its end: what is done then is "
            "not done again"
        ) from error


def _held(folder: Path, limit_s: float) -> contextlib.AbstractContextManager[bool]:
    return hold(folder / _LOCK, limit_s=limit_s, on_wait=lambda: None)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()


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
