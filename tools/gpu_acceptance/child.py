"""The process of one step: `python -m tools.gpu_acceptance.child TASK.json RESULT.json`."""

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from runtime.jsonfile import write_json

from .job import Job, NoGpu, Status

KINDS = {
    "machine": "machine:look",
    "native": "building:native",
    "ahead": "building:ahead_of_time",
    "parity": "parity:compare",
    "transposed": "probes:transposed",
    "attention": "probes:attention",
    "latency": "latency:table",
    "copies": "starting:copies",
    "start": "starting:start",
    "conformance": "conformance:run_tests",
}
"""Module and function of every kind of step; modules import torch and the like when called."""


def main(task: str, result: str) -> None:
    """Run one step, and write how it ended."""
    given = json.loads(Path(task).read_text(encoding="utf-8"))
    job = _job(given["job"])
    module, _, name = KINDS[given["step"]["kind"]].partition(":")
    work = getattr(importlib.import_module(f".{module}", __package__), name)
    status: Status = "done"
    words, found = "", None
    try:
        found = work(job, **given["step"]["options"])
    except NoGpu as error:
        status, words = "no GPU", str(error)
    except Exception as error:  # whatever goes wrong is what this step was to find out
        traceback.print_exc()
        status, words = "failed", f"{type(error).__name__}: {error}"
    write_json(Path(result), {"status": status, "words": words, "result": found})


def _job(values: dict[str, Any]) -> Job:
    return Job(
        bundles=tuple(map(Path, values["bundles"])),
        out=Path(values["out"]),
        rounds=values["rounds"],
        capabilities=tuple(values["capabilities"]),
        dry_run=values["dry_run"],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
