"""Run a step in a process of its own, which may crash, hang or take the GPU down with it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from runtime.jsonfile import write_json

from .job import Job, Outcome, Step

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "tools.gpu_acceptance.child")
LAST_LINES = 15


def run_step(step: Step, job: Job, *, command: tuple[str, ...] = COMMAND) -> Outcome:
    """Run a step to its end or to its time limit; nothing that it does ends this process.

    Args:
        step: What to run.
        job: What to run it on.
        command: Program that is called with the path of the task and that of the result.
    """
    folder = job.out / "steps"
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(letter if letter.isalnum() else "-" for letter in step.name)
    task, result, log = (folder / f"{stem}.{kind}" for kind in ("task.json", "json", "log"))
    result.unlink(missing_ok=True)
    write_json(task, {"step": asdict(step), "job": asdict(job)})
    begin = time.perf_counter()
    with log.open("wb") as stream:
        ended = _wait([*command, str(task), str(result)], stream.fileno(), step.limit_s, job)
    seconds = time.perf_counter() - begin
    if ended is None:
        words = f"more than {step.limit_s:g} s; {_tail(log)}"
        return Outcome(step=step.name, status="out of time", seconds=seconds, words=words)
    if not result.is_file():
        how = f"signal {-ended}" if ended < 0 else f"code {ended}"
        words = f"ended with {how}; {_tail(log)}"
        return Outcome(step=step.name, status="failed", seconds=seconds, words=words)
    found = json.loads(result.read_text(encoding="utf-8"))
    return Outcome(
        step=step.name,
        status=found["status"],
        seconds=seconds,
        words=found["words"],
        result=found["result"],
    )


def _wait(command: list[str], log: int, limit_s: float, job: Job) -> int | None:
    """Give the exit code; None if it was ended for taking too long, with all that it started."""
    environment = os.environ | {
        "SEGX_CACHE": str((job.out / "cache").resolve()),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # What it started may hold the GPU, whether it is ended itself or not.
        _end_group(process.pid)
        process.wait()


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
