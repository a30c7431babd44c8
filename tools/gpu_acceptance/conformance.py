"""The tests that every session passes, on the real device."""

import subprocess
import sys
from typing import Any

from .job import Job
from .runner import ROOT

LAST = 40


def run_tests(job: Job) -> dict[str, Any]:
    """Run the tests marked `gpu`; raises RuntimeError with what pytest says if one fails."""
    job.require_gpu()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = "\n".join(ended.stdout.splitlines()[-LAST:])
    if ended.returncode != 0:
        raise RuntimeError(f"pytest ended with code {ended.returncode}: {said}")
    return {"said": said}
