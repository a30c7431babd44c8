"""What is done to a run: each fault starts it, disturbs it, and undoes what it did."""

import errno
import os
import signal
import stat
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from .case import Case, aside, empty, shim_of, shimmed
from .child import Ran
from .shim import Kind, Orders, failing

STARTS = 5
"""Runs that are started at most to stop one: one may end before its moment."""
DONE_OR_REFUSED = (0, 1)
HOUR_S = 3600
LATER_MIB = 4096
"""Room of a disk that was full, once it is not."""


class Fault(Protocol):
    """A way to disturb a run."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def codes(self) -> Sequence[int]:
        """How a run under it may end."""

    @property
    def changes_inputs(self) -> bool:
        """Whether what it reads is not what the next run reads."""

    def inflict(self, case: Case) -> list[Ran]:
        """Run the command under the fault, and undo it; several runs where they run at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A signal."""

    name: str
    signal: signal.Signals
    codes: Sequence[int]
    changes_inputs: bool = False

    def inflict(self, case: Case) -> list[Ran]:
        for _ in range(STARTS):
            case.told = ""
            ran = case.start(case.moment(lambda process: os.kill(process, self.signal)))
            if ran.acted and ran.code:
                return [ran]
            empty(case.out)
        raise SystemExit(f"{case.command.name}: {STARTS} runs ended before they could be stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class FullDisk:
    """A disk of less room than the run needs; it has more for the next run."""

    name: str = "full disk"
    codes: Sequence[int] = DONE_OR_REFUSED
    changes_inputs: bool = False

    def inflict(self, case: Case) -> list[Ran]:
        room = int(case.chance.uniform(0.02, 0.98) * case.reference.peak_bytes)
        case.told = f" of {room >> 10} KiB"
        _mount(case.out, room)
        case.undo.callback(_call, "umount", "--lazy", case.out)
        ran = case.start()
        _call("mount", "-o", f"remount,size={LATER_MIB}m", case.out)
        return [ran]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingCalls:
    """A call that reads inputs or writes output fails, once or from then on."""

    name: str
    kind: Kind
    errors: Sequence[int]
    codes: Sequence[int]
    changes_inputs: bool = False

    def inflict(self, case: Case) -> list[Ran]:
        reads = self.kind == "reads"
        calls = case.reference.reads if reads else case.reference.writes
        at = case.chance.randint(1, max(calls, 1))
        error, stays = case.chance.choice(self.errors), case.chance.random() < 0.5
        with closing(shim_of(case)) as shim:
            shim.order(failing(self.kind, at, error, stays=stays))
            ran = case.start(setting=shimmed(case.setting, shim))
            fired = shim.counts.fired
        how = "and all after it" if stays else "alone"
        case.told = f" {errno.errorcode[error]} at call {at} of {calls}, {how}; {fired} failed"
        return [ran]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Permissions that are taken away at a moment: of the output's folder, or of an input."""

    name: str
    of_output: bool
    codes: Sequence[int]
    changes_inputs: bool = False

    def inflict(self, case: Case) -> list[Ran]:
        case.setting = replace(case.setting, is_bound=True)
        modes: dict[Path, int] = {}
        where = case.out if self.of_output else case.victim()
        deny = partial(_deny, where, modes, of_output=self.of_output)
        try:
            return [case.start(case.moment(deny))]
        finally:
            for path, mode in modes.items():
                if path.exists():
                    path.chmod(mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncated:
    """An input that is cut off somewhere before the start."""

    name: str = "truncated input"
    codes: Sequence[int] = (0, 1, 3)
    changes_inputs: bool = True

    def inflict(self, case: Case) -> list[Ran]:
        path = case.victim()
        size = path.stat().st_size
        length = case.chance.randrange(max(size, 1))
        case.told += f" to {length} of {size} bytes"
        kept = path.rename(aside(case, path))
        try:
            with kept.open("rb") as stream:
                path.write_bytes(stream.read(length))
            return [case.start()]
        finally:
            kept.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """An input that is removed at a moment."""

    name: str = "vanished input"
    codes: Sequence[int] = (0, 1, 3)
    changes_inputs: bool = True

    def inflict(self, case: Case) -> list[Ran]:
        path = case.victim()
        case.gone, kept = path, aside(case, path)
        try:
            return [case.start(case.moment(lambda process: path.rename(kept)))]
        finally:
            if kept.exists():
                kept.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Twice:
    """A second run of the same command into the same place, a little later."""

    name: str = "two at once"
    codes: Sequence[int] = DONE_OR_REFUSED
    changes_inputs: bool = False

    def inflict(self, case: Case) -> list[Ran]:
        other = replace(case.setting, logs=case.setting.logs / "second")
        later: list[Future[Ran]] = []
        with ThreadPoolExecutor(1) as pool:
            start = partial(pool.submit, case.start, setting=other)
            first = case.start(case.moment(lambda process: later.append(start())))
            return [first, *(item.result() for item in later)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A wall clock that jumps by hours at a moment."""

    name: str = "clock jumps"
    codes: Sequence[int] = (0,)
    changes_inputs: bool = False

    def inflict(self, case: Case) -> list[Ran]:
        hours = case.chance.choice((-1, 1)) * case.chance.uniform(0.5, 30.0)
        case.told = f" by {hours:+.1f} h"
        with closing(shim_of(case)) as shim:
            orders = Orders(shift_s=int(HOUR_S * hours))
            moment = case.moment(lambda process: shim.order(orders))
            return [case.start(moment, shimmed(case.setting, shim))]


FAULTS: tuple[Fault, ...] = (
    Stop(name="kill -9", signal=signal.SIGKILL, codes=(-signal.SIGKILL,)),
    Stop(name="SIGTERM", signal=signal.SIGTERM, codes=(-signal.SIGTERM, 130)),
    FullDisk(),
    FailingCalls(
        name="write errors",
        kind="writes",
        errors=(errno.ENOSPC, errno.EIO),
        codes=DONE_OR_REFUSED,
    ),
    FailingCalls(
        name="read errors",
        kind="reads",
        errors=(errno.EIO,),
        codes=(0, 1, 3),
        changes_inputs=True,
    ),
    Denied(name="output denied", of_output=True, codes=DONE_OR_REFUSED),
    Denied(name="input denied", of_output=False, codes=(0, 1, 3), changes_inputs=True),
    Truncated(),
    Vanished(),
    Twice(),
    Clock(),
)


def can_mount(folder: Path) -> bool:
    """Whether a small disk can be made here."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _mount(folder, 1 << 20)
    except (OSError, subprocess.CalledProcessError):
        return False
    _call("umount", folder)
    return True


def _mount(folder: Path, room: int) -> None:
    _call("mount", "-t", "tmpfs", "-o", f"size={max(room, 4096)}", "tmpfs", folder)


def _call(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def _deny(where: Path, modes: dict[Path, int], process: int, *, of_output: bool) -> None:
    """Take permissions away and remember them."""
    paths = [where, *(path for path in where.rglob("*") if path.is_dir())] if of_output else [where]
    for path in paths:
        if path.exists():
            modes[path] = stat.S_IMODE(path.stat().st_mode)
            path.chmod(0o555 if of_output else 0o000)
