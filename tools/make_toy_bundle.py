"""Make the packaged toy bundle anew: generate imagery, train on it, export it into the package.

    python tools/make_toy_bundle.py

Takes some minutes on two processor cores. The toy is trained on generated imagery only (seed 11;
the demo maps a scene of another seed) and is stamped as a toy, so that it maps nothing else by
accident.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "tools" / "toy.toml"
TARGET = ROOT / "segx" / "toy.segx"
SEED = 11
MAX_MIB = 5.0


def segx(*arguments: object) -> None:
    """Run the command, and stop if it fails."""
    words = [sys.executable, "-m", "segx", *map(str, arguments)]
    typer.echo(f"$ segx {' '.join(words[3:])}")
    subprocess.run(words, check=True)


def main() -> None:
    """Make the packaged toy bundle anew."""
    with tempfile.TemporaryDirectory(prefix="segx-toy-") as folder:
        work = Path(folder)
        segx("sample", work / "flair2", "--seed", SEED)
        segx("train", work / "flair2", "--config", CONFIG, "--out", work / "run")
        bundle = work / "toy.segx"
        segx("export", work / "run", "--out", bundle, "--licence", "Apache-2.0")
        size = sum(file.stat().st_size for file in bundle.iterdir()) / 2**20
        if size > MAX_MIB:
            sys.exit(f"the toy has {size:.1f} MiB; expected at most {MAX_MIB}; make it smaller")
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(bundle, TARGET)
        typer.echo(f"wrote {TARGET} ({size:.1f} MiB)")


if __name__ == "__main__":
    typer.run(main)
