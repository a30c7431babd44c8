"""Run one program and measure it: `python -I measure.py RESULT.json LOG LIMIT_S CORES COMMAND...`.

The memory that the kernel counts for a process begins with that of whoever started it. So this is
a process of its own, which imports nothing large.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer


def main(result: str, log: str, limit_s: str, cores: str, *command: str) -> None:
    """Run a program on the first of the cores there are, and write what it took."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    with Path(log).open("wb") as stream:
        began, begin = time.time(), time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timer = Timer(float(limit_s), os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        process_s = time.perf_counter() - begin
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    found = {
        "code": process.returncode,
        "began": began,
        "process_s": process_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_mib": usage.ru_maxrss / 1024,
    }
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
