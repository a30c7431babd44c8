"""Run `protocol_flair2` for the command and print how everybody did."""

from pathlib import Path
from typing import TYPE_CHECKING

from .console import chosen, done, progress, say, table, write_json

if TYPE_CHECKING:
    from .protocol_flair2 import Contest, Rules
    from .protocol_worker import Task


def compete_and_say(models: str | None, rules: "Rules", task: "Task", json: Path | None) -> None:
    """Run everybody and print a table.

    Args:
        models: Names of contenders, separated by commas; the paper's if None.
        rules: Data, patches, rounds, threads.
        task: How bundles are opened.
        json: File for the figures; None for none.

    Raises:
        SegxError: If the data does not fit, or a contender fails.
    """
    from .protocol_flair2 import USUAL, compete

    if models is None:
        chosen("models", ", ".join(USUAL), "no --models was given")
    names = USUAL if models is None else [name.strip() for name in models.split(",") if name]
    with progress("patches") as advance:
        contest = compete(names, rules, task, advance)
    _print(contest)
    bundles = [item.source for item in contest.results if item.kind == "bundle"]
    following = f"segx inspect {bundles[0]}" if bundles else "segx export"
    if json is not None:
        write_json(json, contest)
        done(json, following)
    else:
        say(f"next: {following}")


def _print(contest: "Contest") -> None:
    results, rounds = contest.results, contest.rounds
    chosen("data", contest.data, f"{contest.patches} patches of {contest.areas} area(s)")
    chosen("threads", contest.threads, "of every contender")
    if rounds > 1:
        chosen("rounds", rounds, "medians")
    head = ["executed", "ms/patch", "patches/s", "ratio", "within limit", "paper's", "peak MiB"]
    table(
        ["model", *head],
        [
            [
                r.name,
                f"{r.backend} {r.precision} on {r.device}",
                r.ms_per_patch,
                r.patches_per_s,
                r.ratio,
                "yes" if r.within_limit else "no",
                r.paper_ratio,
                r.peak_rss_mib,
            ]
            for r in results
        ],
        title=f"FLAIR #2, one patch per call; {contest.baseline} in PyTorch is 1.00, the limit "
        f"{contest.limit:.2f}",
    )
    stages = list(results[0].stages_ms)
    table(
        ["model", *stages],
        [[r.name, *(r.stages_ms[stage] for stage in stages)] for r in results],
        title="busy ms per patch, side by side",
    )
    say("paper's: ratios of arXiv 2410.00469, all in PyTorch on an A100; not measured here")
    say(f"inside the timings: {contest.inside}")
