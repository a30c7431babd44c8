"""Fuzz the ways in which files from elsewhere get in: what is damaged is read or refused.

    python -m tools.fuzz                                  # all targets, 20 000 damaged files each
    python -m tools.fuzz geotiff vrt --runs 1000 --seed 2
    python -m tools.fuzz.guided onnx --runs 20000         # guided by coverage; pip install atheris

A refusal is a `SegxError` of one line; anything else, no answer within 10 s or no memory left is a
failure. Each target runs in a process of its own, so that a crash of a library is a finding and
no end. What fails is written to tests/corpus/TARGET, where `make test` reads it again.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from .run import HEAD, Runner, bound_memory, finish
from .targets import TARGETS


def main() -> int:
    """Do what the command line asks; gives 1 if something failed."""
    options = _parser().parse_args()
    if options.inside:
        return _inside(*options.targets, runs=options.runs, seed=options.seed)
    failed = False
    print(HEAD, flush=True)
    for name in options.targets or TARGETS:
        arguments = [name, "--runs", str(options.runs), "--seed", str(options.seed), "--inside"]
        code = subprocess.run(
            [sys.executable, "-m", "tools.fuzz", *arguments], check=False
        ).returncode
        if code not in (0, 1):
            print(f"{name:16} died with {code}", flush=True)
        failed |= code != 0
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=20_000, help="damaged files per target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


def _inside(name: str, *, runs: int, seed: int) -> int:
    bound_memory()
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(TARGETS[name], Path(folder))
        runner.run(runs, seed=seed)
    return finish(name, runner.outcome)


if __name__ == "__main__":
    sys.exit(main())
