"""Find out, on a machine with a GPU, all that a machine without one cannot tell.

    python -m tools.gpu_acceptance lf-dlm-fp32.segx lf-dlm-fp16.segx lf-dlm-int8.segx --out gpu
    python -m tools.gpu_acceptance --dry-run       what a CPU can do, with the packaged toy

Run it from the root of a checkout, in its environment. The first bundle is the FP32 one, the
others are conversions of it. Every step runs in a process of its own with a time limit; one that
fails is written down with its exact words, and the rest goes on.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from .job import CAPABILITIES, Job, Step
from .report import where, write
from .runner import ROOT, run_step

TOY = ROOT / "segx" / "toy.segx"
BACKENDS = ("tensorrt-rtx", "tensorrt", "onnxruntime-cuda", "openvino")


def main() -> int:
    """Run the steps; gives 1 if one of them failed or ran out of time."""
    options = _parser().parse_args()
    job = Job(
        bundles=tuple(path.resolve() for path in options.bundles or [TOY]),
        out=options.out.resolve(),
        rounds=options.rounds,
        capabilities=tuple(options.capabilities.split(",")),
        dry_run=options.dry_run,
    )
    outcomes = []
    for step in steps(job):
        if options.only and not step.name.startswith(tuple(options.only)):
            continue
        outcome = run_step(step, job)
        print(f"{outcome.status:12} {outcome.seconds:7.1f} s  {step.name}  {outcome.words[:200]}")
        outcomes.append(outcome)
        write(job, outcomes)
    print(where(job.out))
    return int(any(outcome.status in ("failed", "out of time") for outcome in outcomes))


def steps(job: Job) -> Iterator[Step]:
    """Name everything that is to be found out; engines are built before they are timed."""
    yield Step(name="machine", kind="machine")
    yield Step(name="built for this GPU", kind="native", limit_s=1800)
    for capability in job.capabilities:
        options = {"capability": capability}
        yield Step(
            name=f"built ahead for {capability}", kind="ahead", options=options, limit_s=1800
        )
    numbers = {str(number): path.stem for number, path in enumerate(job.bundles)}
    pairs = [(number, name, backend) for number, name in numbers.items() for backend in BACKENDS]
    for number, name, backend in pairs:
        options = {"bundle": number, "backend": backend}
        yield Step(
            name=f"parity of {name}, {backend}", kind="parity", options=options, limit_s=1800
        )
    for scales in ("tensor", "input channel", "output channel"):
        name = f"INT8 ConvTranspose, scales by {scales}"
        yield Step(name=name, kind="transposed", options={"scales": scales})
    for softmax in ("fp16", "fp32"):
        name = f"masked attention in FP16, softmax in {softmax}"
        yield Step(name=name, kind="attention", options={"softmax": softmax})
    for batch in ("1", "8"):
        yield Step(
            name=f"latency, batch {batch}", kind="latency", options={"batch": batch}, limit_s=3600
        )
    for number, name, backend in pairs:
        options = {"bundle": number, "backend": backend}
        yield Step(name=f"start of {name}, {backend}", kind="start", options=options)
        if backend.startswith("tensorrt"):
            yield Step(name=f"copies of {name}, {backend}", kind="copies", options=options)
    yield Step(name="conformance of the session", kind="conformance", limit_s=1800)


def _parser() -> argparse.ArgumentParser:
    doc = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_acceptance", description=doc[0])
    parser.add_argument("bundles", type=Path, nargs="*", help="FP32 first; default: the toy")
    parser.add_argument("--out", type=Path, default=Path("gpu-acceptance"))
    parser.add_argument("--rounds", type=int, default=50, help="of the latency table")
    parser.add_argument("--capabilities", default=",".join(CAPABILITIES))
    parser.add_argument("--only", action="append", help="first words of a step; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="what a CPU can do")
    return parser


if __name__ == "__main__":
    sys.exit(main())
