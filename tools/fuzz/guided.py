"""Fuzz with atheris: damage is chosen by which lines of segx it reaches.

    pip install atheris
    python -m tools.fuzz.guided geotiff --runs 20000
    python -m tools.fuzz.guided vrt --runs 10000000 --seconds 180

Failures go where those of `python -m tools.fuzz` go.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .run import HEAD, Runner, bound_memory, finish


def main() -> None:
    """Run one target; the process ends in it, with 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    atheris: Any = __import__("atheris")
    with atheris.instrument_imports(include=["runtime", "segx", "trainkit"]):
        from .targets import TARGETS
    bound_memory()
    folder = Path(tempfile.mkdtemp())
    runner = Runner(TARGETS[options.target], folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(runner.seeds):
        (corpus / str(number)).write_bytes(seed)

    end = time.monotonic() + options.seconds

    def one(data: bytes) -> None:
        runner.execute(data)
        if runner.outcome.executions >= options.runs or time.monotonic() > end:
            print(HEAD)
            # libFuzzer gives control back to nobody.
            os._exit(finish(options.target, runner.outcome))

    atheris.Setup([sys.argv[0], f"-seed={options.seed}", "-verbosity=0", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
