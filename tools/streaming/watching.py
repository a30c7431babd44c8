"""Watch a process from outside: its memory, open files and threads, every few seconds."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process holds at a moment."""

    at_s: float
    """Since it was started."""
    rss_mib: float
    """Resident memory."""
    files: int
    """Open file descriptors."""
    threads: int


def watch(process: "subprocess.Popen[bytes]", *, every_s: float, limit_s: float) -> list[Sample]:
    """Look at a process until it ends; one that takes too long is killed.

    Args:
        process: One that was just started.
        every_s: Seconds between two looks.
        limit_s: Most seconds that it may take.

    Returns:
        What it held, in order of time.
    """
    begin = time.perf_counter()
    samples: list[Sample] = []
    while True:
        try:
            process.wait(every_s)
        except subprocess.TimeoutExpired:
            passed = time.perf_counter() - begin
            if (sample := look(process.pid, passed)) is not None:
                samples.append(sample)
            if passed > limit_s:
                process.kill()
        else:
            return samples


def look(pid: int, at_s: float) -> Sample | None:
    """See what a process holds; None for one that has just ended.

    Args:
        pid: A process that runs, or was not waited for.
        at_s: Seconds since it was started.
    """
    folder = Path("/proc") / str(pid)
    lines = (folder / "status").read_text().splitlines()
    status = dict(line.partition(":")[::2] for line in lines)
    if "VmRSS" not in status:
        return None
    return Sample(
        at_s=at_s,
        rss_mib=int(status["VmRSS"].split()[0]) * 1024 / MIB,
        files=len(os.listdir(folder / "fd")),
        threads=int(status["Threads"]),
    )
