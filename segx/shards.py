"""Run shards of a map: one in this process, or all as tasks of a Ray cluster."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .console import chosen

if TYPE_CHECKING:
    from runtime.ladder import RunRequest
    from runtime.mapping import MapRequest
    from runtime.pipeline import ShardResult
    from runtime.stream.shards import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """All that a process needs to run any shard of a map; paths are absolute."""

    bundle: Path
    request: "RunRequest"
    wanted: "MapRequest"

    def run(self, shard: "Shard") -> "ShardResult":
        """Run one shard in this process.

        Raises:
            SegxError: If the input does not fit, or a stage fails.
        """
        from runtime.bundle import open_bundle
        from runtime.ladder import open_best
        from runtime.report import Clock

        clock, bundle = Clock(), open_bundle(self.bundle)
        wanted = replace(self.wanted, shard=shard)
        survey = wanted.survey(bundle.card)
        opened = open_best(bundle, self.request)
        with closing(opened.model):
            return wanted.run(survey, opened, clock)


def share_of(
    shard: str | None, ray: str | None, shards: int | None, *, dry_run: bool, html: Path | None
) -> "Shard | None":
    """Read `--shard`, and check that the options around it go together; None without it.

    Raises:
        ConfigError: If it is no share.
        typer.BadParameter: If options do not go together.
    """
    if shards is not None and ray is None:
        raise typer.BadParameter(
            "is for --ray; a single share is --shard I/N", param_hint="--shards"
        )
    if shard is None and ray is None:
        return None
    name = "--shard" if shard is not None else "--ray"
    others = {"--dry-run": dry_run, "--html": html is not None}
    if shard is not None and ray is not None:
        others["--ray"] = True
    for other, is_given in others.items():
        if is_given:
            raise typer.BadParameter(f"does not go with {other}; leave one out", param_hint=name)
    if shard is None:
        return None
    from runtime.stream.shards import Shard

    return Shard.parse(shard)


def say_shard(result: "ShardResult", shard: str) -> None:
    """Say what became of a shard."""
    if result.report is None:
        chosen("shard", shard, "the maps of all shards were complete before; nothing to do")
    elif result.left:
        chosen("shard", shard, f"done; shards that are not: {result.left}")
    elif result.report.shard is None:
        chosen("shard", shard, "the last one; the maps of all shards are complete")
    else:
        chosen("shard", shard, "done; another process puts the maps together")


def run_all(
    job: ShardJob, address: str, shards: int | None, on_shard: Callable[[int, int], None]
) -> "ShardResult":
    """Run all shards of a map as tasks of a Ray cluster.

    A task whose worker or node is lost runs again on another one and goes on where that was.
    TensorRT engines are built once per node: tasks share the cache of the machine they run on.

    Args:
        job: What to run; every node must see its files under the same paths.
        address: Address of the cluster; `local` starts one on this machine.
        shards: Number of shards; None: four for each task that the cluster runs at a time.
        on_shard: Called after every shard.

    Returns:
        The result of the shard that came last, with the report of the whole run; without one if
        its maps were complete before.

    Raises:
        BackendError: If Ray is missing, or the cluster cannot be reached or loses tasks for good.
        SegxError: If the input does not fit, or a stage fails.
    """
    from .extras import require

    require("ray", "segx infer --ray")
    from runtime.pipeline import ShardResult

    from .ray_tasks import RayTasks

    with RayTasks(address, threads=job.request.threads, backend=job.request.backend) as tasks:
        count = shards or tasks.usual_shards
        chosen("Ray", f"{tasks.slots} tasks at a time on {tasks.nodes} nodes", address)
        chosen("shards", count, "" if shards else "four for each task at a time")
        last = ShardResult(report=None, left=0)
        for done, result in enumerate(tasks.run(job, count), start=1):
            if result.report is not None and result.report.shard is None:
                last = result
            on_shard(done, count)
    return last
