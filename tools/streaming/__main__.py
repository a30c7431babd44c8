"""Measure what the streaming runtime promises: memory, resuming, efficiency, long runs, plans.

    python -m tools.streaming bundle point.segx --aerial scene/aerial.tif
    python -m tools.streaming memory point.segx --aerial scene/aerial.tif --sides 5000,40000
    python -m tools.streaming kill lf-dlm-tiny.segx scene --times 20 --seed 1
    python -m tools.streaming efficiency lf-dlm-tiny-int8.segx scene --large 10000 --rounds 5
    python -m tools.streaming soak lf-dlm-tiny-int8.segx scene --minutes 60 --sheets 20000
    python -m tools.streaming plan point.segx scene --sheets 5000,20000,50000

Run it from the root of a checkout, in its environment. Every run of segx is a process of its own,
measured from outside.
"""

import argparse
import shlex
import sys
from pathlib import Path

from tools.bench_peers.contest import Rules

from . import efficiency, killing, memory, planning, soak
from .report import Table, write
from .virtual import KINDS


def main() -> int:
    """Do what the command line asks; gives 1 if something is not as it is to be."""
    options = _parser().parse_args()
    if options.command == "bundle":
        # Writing ONNX files needs libraries that `--help` does not.
        from .point import make_bundle

        out = make_bundle(options.out, options.aerial, tile=options.tile, halo=options.halo)
        print(f"wrote {out}")
        return 0
    table = MEASURES[options.command](options)
    text, everything = write(table, options.out.resolve(), options.command)
    print(text.read_text(encoding="utf-8"))
    print(f"wrote {text} and {everything}")
    return int(table.failed)


def _memory(options: argparse.Namespace) -> Table:
    return memory.measure(
        memory.Plan(
            aerial=options.aerial.resolve(),
            sides=tuple(int(side) for side in options.sides.split(",")),
            kind=options.kind,
            cut=options.cut,
            limits=(None, *options.max_memory),
        ),
        options.bundle.resolve(),
        _rules(options),
        backend=options.backend,
        extra=tuple(shlex.split(options.infer)),
    )


def _kill(options: argparse.Namespace) -> Table:
    return killing.measure(
        options.bundle.resolve(),
        options.scene.resolve(),
        _rules(options, rounds=options.times),
        seed=options.seed,
        backend=options.backend,
        extra=tuple(shlex.split(options.infer)),
    )


def _efficiency(options: argparse.Namespace) -> Table:
    return efficiency.measure(
        options.bundle.resolve(),
        options.scene.resolve(),
        _rules(options, rounds=options.rounds),
        backend=options.backend,
        large=options.large,
    )


def _soak(options: argparse.Namespace) -> Table:
    return soak.measure(
        options.bundle.resolve(),
        options.scene.resolve(),
        soak.Plan(
            minutes=options.minutes,
            sheets=options.sheets,
            side=options.side,
            every_s=options.every,
        ),
        _rules(options),
        backend=options.backend,
    )


def _plan(options: argparse.Namespace) -> Table:
    return planning.measure(
        options.bundle.resolve(),
        options.scene.resolve(),
        _rules(options),
        counts=tuple(int(count) for count in options.sheets.split(",")),
        side=options.side,
        backend=options.backend,
        extra=tuple(shlex.split(options.infer)),
    )


MEASURES = {
    "memory": _memory,
    "kill": _kill,
    "efficiency": _efficiency,
    "soak": _soak,
    "plan": _plan,
}


def _rules(options: argparse.Namespace, rounds: int = 1) -> Rules:
    return Rules(
        rounds=rounds, threads=options.threads, out=options.out.resolve(), limit_s=options.limit
    )


def _parser() -> argparse.ArgumentParser:
    doc = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m tools.streaming", description=doc[0])
    commands = parser.add_subparsers(dest="command", required=True)
    cheap = commands.add_parser("bundle", help="write a bundle of one convolution of 1 x 1 px")
    cheap.add_argument("out", type=Path, help="NAME.segx")
    cheap.add_argument("--aerial", type=Path, required=True, help="imagery that it is to map")
    cheap.add_argument("--tile", type=int, default=512, help="side of a tile, in pixels")
    cheap.add_argument("--halo", type=int, default=32, help="pixels on each side; it needs none")
    held = commands.add_parser("memory", help="peak memory by side of the raster")
    held.add_argument("bundle", type=Path)
    held.add_argument("--aerial", type=Path, required=True, help="GeoTIFF that is repeated")
    held.add_argument("--sides", default="5000,40000", help="in pixels")
    held.add_argument("--kind", choices=KINDS, default=KINDS[0], help="one file, or many")
    held.add_argument("--cut", type=int, default=5000, help="side of a file of a mosaic")
    held.add_argument("--max-memory", action="append", default=[], help="run with this limit too")
    killed = commands.add_parser("kill", help="kill at random moments, run again, compare")
    killed.add_argument("bundle", type=Path)
    killed.add_argument("scene", type=Path, help="what `segx infer` takes")
    killed.add_argument("--times", type=int, default=20)
    killed.add_argument("--seed", type=int, default=1)
    speed = commands.add_parser("efficiency", help="end to end over the model alone")
    speed.add_argument("bundle", type=Path)
    speed.add_argument("scene", type=Path, help="folder with aerial.tif, and sentinel2/")
    speed.add_argument("--large", type=int, help="also on a scene of this side made of it")
    speed.add_argument("--rounds", type=int, default=5)
    soaked = commands.add_parser("soak", help="run for long: memory, open files and threads")
    soaked.add_argument("bundle", type=Path)
    soaked.add_argument("scene", type=Path, help="folder with aerial.tif, and sentinel2/")
    soaked.add_argument("--minutes", type=float, default=60.0, help="of a loop in one process")
    soaked.add_argument("--sheets", type=int, default=20000, help="small files of a further run")
    soaked.add_argument("--side", type=int, default=128, help="of a small file, in pixels")
    soaked.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    planned = commands.add_parser("plan", help="time and memory of a dry run over many files")
    planned.add_argument("bundle", type=Path)
    planned.add_argument("scene", type=Path, help="folder with aerial.tif")
    planned.add_argument("--sheets", default="5000,20000,50000", help="numbers of files")
    planned.add_argument("--side", type=int, default=5000, help="of a file, in pixels")
    measures = (held, killed, speed, soaked, planned)
    for name, command in zip(MEASURES, measures, strict=True):
        command.add_argument("--out", type=Path, default=Path(f"streaming-{name}"))
        command.add_argument("--backend", default="auto")
        command.add_argument("--threads", type=int, default=2, help="and cores, of every run")
        command.add_argument("--limit", type=float, default=7200.0, help="seconds for one run")
    maps = "more words for `segx infer`, as --infer='--confidence --blend'"
    held.add_argument("--infer", default="", help=maps)
    killed.add_argument("--infer", default="--confidence --quality", help=maps)
    planned.add_argument("--infer", default="", help=maps)
    return parser


if __name__ == "__main__":
    sys.exit(main())
