"""Run segx in a process of its own, do something to it at a moment, and see whether it hangs."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench_peers.contest import ROOT

from .warm import Forked, Warm

HANG_S = 10.0
"""A run hangs that for so long prints nothing and uses no processor: less than `IDLE_S`."""
IDLE_S = 0.05
LIMIT_S = 600.0
"""Seconds after which a run is ended that is busy without an end."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_DROP_FROM_BOUNDING_SET = 24
_CAPABILITIES = 0x20080522
_ROOT_RIGHTS = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
_PAUSE_S = 0.05
_LOOK_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")

_ASIDE = re.compile(r"[\w -]+: \d+/\d+, |segx: warning: |_tiff\w+Proc: ")
"""How lines begin that are progress, warnings, or what libtiff itself prints of a failing disk."""
_BAD_SIGNS = (
    "Traceback (most recent call last)",
    "Exception ignored in",
    "Exception in thread",
    "terminate called",
    "core dumped",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that is done to a run once."""

    at_s: float
    """Seconds from its start."""
    act: Callable[[int], object]
    """Called with the number of its process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How runs are started."""

    logs: Path
    """Folder for what they print, and for their caches and temporary files."""
    program: tuple[str, ...] = (sys.executable, "-m", "segx")
    warm: Warm | None = None
    """Starts runs in place of the program, with the same result sooner."""
    threads: int
    is_bound: bool = False
    """Whether permissions hold for them even where this process is root's."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside that of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run ended."""

    words: tuple[str, ...]
    code: int
    """Below 0: minus the signal."""
    seconds: float
    out: str
    err: str
    is_hung: bool
    acted: bool
    """Whether its moment came before its end."""
    peak_bytes: int
    """Most room that its output took."""

    @property
    def complaints(self) -> list[str]:
        """Lines on standard error but those of progress and warnings."""
        return [line for line in self.err.splitlines() if line.strip() and not _ASIDE.match(line)]

    def faults(self, codes: Sequence[int]) -> list[str]:
        """Say what is wrong about how it ended, where one of these codes was expected."""
        if self.is_hung:
            return [f"hung: idle and silent for {HANG_S:g} s, or not done after {LIMIT_S:g} s"]
        text = self.out + self.err
        found = [f"printed '{sign}'" for sign in _BAD_SIGNS if sign in text]
        if self.code not in codes:
            found.append(f"ended with {self.code}: {' | '.join(self.complaints[-2:])}")
        elif self.code == 1:
            lines = self.complaints
            if len(lines) != 1 or not lines[0].startswith("segx: "):
                found.append(f"{len(lines)} lines of complaint: {' | '.join(lines[-3:])}")
        return found


def run(
    words: Sequence[object], setting: Setting, *, moment: Moment | None = None, out: Path
) -> Ran:
    """Run segx to its end.

    Args:
        words: Arguments.
        setting: How to start it.
        moment: What is done to it while it runs.
        out: Folder whose size is watched.
    """
    setting.logs.mkdir(parents=True, exist_ok=True)
    arguments = tuple(map(str, words))
    number = sum(1 for _ in setting.logs.glob("*.out"))
    logs = [setting.logs / f"{number}.{kind}" for kind in ("out", "err")]
    for path in logs:
        path.touch()
    begin = time.monotonic()
    process = _start(arguments, setting, logs)
    try:
        watched = _watch(process, begin, moment, logs, out)
        seconds = time.monotonic() - begin
    finally:
        # What it started goes on alone where it was killed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in logs]
    return Ran(
        words=arguments,
        code=code,
        seconds=seconds,
        out=texts[0],
        err=texts[1],
        is_hung=watched.is_hung,
        acted=watched.acted,
        peak_bytes=watched.peak_bytes,
    )


@dataclass(slots=True)
class _Watched:
    is_hung: bool = False
    acted: bool = False
    peak_bytes: int = 0


def _watch(
    process: "subprocess.Popen[bytes] | Forked",
    begin: float,
    moment: Moment | None,
    logs: Sequence[Path],
    out: Path,
) -> _Watched:
    """Wait for the end; ends a run that hangs or is out of time."""
    watched = _Watched()
    looked = changed = begin
    before = (0.0, 0)
    while process.poll() is None:
        now = time.monotonic()
        if moment is not None and not watched.acted and now - begin >= moment.at_s:
            watched.acted = True
            with suppress(ProcessLookupError):  # it may have ended since
                moment.act(process.pid)
        if now - looked >= _LOOK_S:
            looked = now
            watched.peak_bytes = max(watched.peak_bytes, room_of(out))
            state = (_cpu_s(process.pid), sum(path.stat().st_size for path in logs))
            if state[0] - before[0] >= IDLE_S or state[1] != before[1]:
                changed, before = now, state
        if now - changed > HANG_S or now - begin > LIMIT_S:
            watched.is_hung = True
            process.kill()
            process.wait()
        time.sleep(_PAUSE_S)
    watched.peak_bytes = max(watched.peak_bytes, room_of(out))
    return watched


def room_of(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk; they may come and go."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += 512 * path.lstat().st_blocks
    return total


def _cpu_s(group: int) -> float:
    """Processor time of all processes of a group, those that ended and were waited for included."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def bind() -> None:
    """Give up what lets root pass over permissions; a program that is started does not get it.

    Raises:
        OSError: If that is refused.
    """
    if os.geteuid() != 0:
        return
    # Version and process; then what is in effect, allowed and inherited, for the first 32 rights.
    head, rights = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    refused = _LIBC.capget(head, rights)
    for right in _ROOT_RIGHTS:
        refused |= _LIBC.prctl(_DROP_FROM_BOUNDING_SET, right, 0, 0, 0)
        for place in range(3):
            rights[place] &= ~(1 << right)
    if refused or _LIBC.capset(head, rights):
        raise OSError(ctypes.get_errno(), "a right of root cannot be given up")


def _start(
    words: tuple[str, ...], setting: Setting, logs: Sequence[Path]
) -> "subprocess.Popen[bytes] | Forked":
    environment = environment_of(setting)
    if setting.warm is not None:
        return setting.warm.start(words, environment, logs, setting.is_bound)
    with logs[0].open("wb") as stdout, logs[1].open("wb") as stderr:
        return subprocess.Popen(
            [*setting.program, *words],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            preexec_fn=bind if setting.is_bound else None,
        )


def environment_of(setting: Setting) -> dict[str, str]:
    home = setting.logs / "home"
    temporary = setting.logs / "tmp"
    for folder in (home, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    places = {"XDG_CACHE_HOME": "cache", "XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config"}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return (
        dict(os.environ)
        | dict.fromkeys(threads, str(setting.threads))
        | {name: str(home / place) for name, place in places.items()}
        | {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
        | {"SEGX_CACHE": str(home / "segx")}
        | dict(setting.environment)
    )
