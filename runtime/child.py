"""Run a program that may crash, hang or take all memory, and say in words how it ended."""

import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TAIL = 1 << 16
"""Bytes of what a program says last that are looked at."""

_PATIENCE_S = 0.2
"""How long a program that has ended may leave its output open, as one does that left another
program running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended."""

    reason: str = ""
    """Empty if it succeeded, else what went wrong, with the last line that it said."""
    signal: int | None = None
    """What it was ended with, if by a signal that was not this module's."""


def run_child(
    command: Sequence[str],
    *,
    time_limit_s: float,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        time_limit_s: Seconds after which it is ended.
        folder: Where it runs: beside nothing that could be taken for a library, and where files
            may be left.
        environment: Its environment variables; those of this process if None.
        on_line: Called, in this thread, with every line of its standard output while it runs. If
            that raises, the program is ended.
    """
    deadline = time.monotonic() + time_limit_s
    # What it says on standard error goes to a file, which takes any amount without being read.
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if on_line else subprocess.DEVNULL,
                stderr=said,
                cwd=folder,
                env=None if environment is None else dict(environment),
            )
        except OSError as error:
            return Ended(reason=f"cannot be started ({error.strerror})")
        try:
            if on_line is not None and process.stdout is not None:
                _hand_on(process, process.stdout, deadline, on_line)
            process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            return Ended(reason=f"took more than {time_limit_s:g} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return _ended(process.returncode, _last_line(said))


def _hand_on(
    process: "subprocess.Popen[bytes]",
    stream: IO[bytes],
    deadline: float,
    on_line: Callable[[str], None],
) -> None:
    """Hand lines on until there are no more; raises TimeoutExpired at the deadline."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(stream, lines), daemon=True).start()
    while (left := deadline - time.monotonic()) > 0:
        ended = process.poll() is not None
        try:
            line = lines.get(timeout=min(left, _PATIENCE_S))
        except queue.Empty:
            if ended:
                return
            continue
        if line is None:
            return
        on_line(line)
    raise subprocess.TimeoutExpired(process.args, deadline)


def _read(stream: IO[bytes], lines: "queue.Queue[str | None]") -> None:
    with stream:
        for line in stream:
            lines.put(line.decode("utf-8", errors="replace").rstrip("\r\n"))
    lines.put(None)


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(said.seek(0, os.SEEK_END) - _TAIL, 0))
    text = said.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["no message"])[-1][:200]


def _ended(code: int, last: str) -> Ended:
    if code == 0:
        return Ended()
    cause = f"signal {-code}" if code < 0 else f"code {code}"
    return Ended(reason=f"ended with {cause}: {last}", signal=-code if code < 0 else None)
