"""A converter that has ModelOpt loaded, which takes longer than to convert a small graph.

Every job runs in a fork of it, which is as apart from other jobs as the process that `quantize`
starts; test_quantize.py runs that one.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.quantize import COMMAND
from runtime.child import Ended, run_child


class WarmConverter:
    """Stands for `run_child` in `exporter.quantize`; other programs, and failures, go there."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, command: Sequence[str], *, folder: Path, **options: Any) -> Ended:
        """Do the job that the command names."""
        *program, job = command
        if tuple(program) == COMMAND and hasattr(os, "fork") and self._does(job):
            return Ended()
        return run_child(command, folder=folder, **options)

    def _does(self, job: str) -> bool:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=_environment(os.environ),
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{job}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() == "0\n"

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """One thread: what forks must have none beside its own."""
    return {**own, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def serve() -> None:
    """Read paths of jobs, one a line; answer each with the exit code of its fork."""
    import modelopt.onnx.autocast.convert
    import modelopt.onnx.quantization  # noqa: F401

    from exporter.quantize_worker import main

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                main(line.rstrip("\n"))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
