"""Time segx beside the tools that users would take instead.

    python -m tools.bench_peers setup
    python -m tools.bench_peers single --aerial scene/aerial.tif --rounds 5
    python -m tools.bench_peers dual runs/lf-dlm lf-dlm-int8.segx --scene scene --rounds 5

Run it from the root of a checkout, in its environment. Every run is a process of its own; rounds
take turns, so that what else the machine does slows each of them alike, and only ratios of one
round are compared.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import dual, single
from .contest import Rules
from .environment import default_folder, make, python_of
from .report import Contest, write

SIZE = 4032
"""Nine steps of 448 px: at this side all tools start their tiles at multiples of 32 px, so that
networks with strides see the same pixels and maps can be compared."""


def main() -> int:
    """Do what the command line asks; gives 1 if a contender failed."""
    options = _parser().parse_args()
    if options.command == "setup":
        make(options.env.resolve(), torch=options.torch)
        return 0
    rules = Rules(
        rounds=options.rounds,
        threads=options.threads,
        out=options.out.resolve(),
        limit_s=options.limit,
    )
    contest = _single(options, rules) if options.command == "single" else _dual(options, rules)
    table, everything = write(contest, options.command)
    print(table.read_text(encoding="utf-8"))
    print(f"wrote {table} and {everything}")
    return int(any(turn.failed for turn in contest.turns))


def _single(options: argparse.Namespace, rules: Rules) -> Contest:
    env = options.env.resolve()
    if not python_of(env).is_file():
        raise SystemExit(f"{env} is not there; make it with `setup --env {env}`")
    # Exporting needs torch and onnx, which `--help` does not.
    from .prepare import prepare

    peers = _known(options.peers, single.PEERS)
    aerial = None if options.aerial is None else options.aerial.resolve()
    prepared = prepare(options.model, aerial, options.size, rules.out, peers)
    return single.compete(prepared, env, rules, peers)


def _dual(options: argparse.Namespace, rules: Rules) -> Contest:
    return dual.compete(
        options.checkpoint.resolve(),
        {path.stem: path.resolve() for path in options.bundles},
        options.scene.resolve(),
        backends=options.backends.split(","),
        ways=_known(options.ways, dual.WAYS),
        rules=rules,
    )


def _known(text: str, names: Sequence[str]) -> list[str]:
    found = text.split(",")
    if not set(found) <= set(names):
        raise SystemExit(f"'{text}' names others than {', '.join(names)}")
    return found


def _parser() -> argparse.ArgumentParser:
    doc = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m tools.bench_peers", description=doc[0])
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="make the peers' environment")
    setup.add_argument("--torch", help="version of PyTorch for MONAI; default: that of segx")
    alone = commands.add_parser("single", help="one ONNX file beside MONAI, conflux and habitat")
    alone.add_argument("--model", default="cnn", help="cnn, or a preset or checkpoint, aerial only")
    alone.add_argument("--aerial", type=Path, help="imagery to repeat; default: generated")
    alone.add_argument("--size", type=int, default=SIZE, help="side of the raster, in pixels")
    alone.add_argument("--peers", default=",".join(single.PEERS), help="whom to run")
    both = commands.add_parser("dual", help="both inputs, beside PyTorch")
    both.add_argument("checkpoint", type=Path)
    both.add_argument("bundles", type=Path, nargs="+", help="made of the checkpoint")
    both.add_argument("--scene", type=Path, required=True, help="aerial.tif and sentinel2/")
    both.add_argument("--backends", default="openvino", help="of segx, such as openvino")
    both.add_argument("--ways", default=",".join(dual.WAYS), help="of PyTorch")
    for command in (setup, alone):
        command.add_argument("--env", type=Path, default=default_folder(), help="of the peers")
    for name, command in (("single", alone), ("dual", both)):
        command.add_argument("--out", type=Path, default=Path(f"bench-peers-{name}"))
        command.add_argument("--rounds", type=int, default=5)
        command.add_argument("--threads", type=int, default=2, help="and cores, of every run")
        command.add_argument("--limit", type=float, default=3600.0, help="seconds for one run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
