"""How long it takes until the first tile is mapped, and what share copies have."""

import time
from contextlib import closing
from typing import Any, cast

from runtime.backends import BackendOption
from runtime.bundle import open_bundle
from runtime.engines.cache import EngineCache
from runtime.model import golden_feed

from .job import Job
from .opening import ON_CPU, open_with

COPIES = ("upload", "download")
RUNS = 100


def start(job: Job, bundle: str, backend: str) -> dict[str, Any]:
    """Open a bundle in a new process and run one tile; engines come from the cache if it has them.

    The self-test is part of opening, as in `segx infer`.
    """
    if backend not in ON_CPU:
        job.require_gpu()
    cached = len(EngineCache().records())
    begin = time.perf_counter()
    opened = open_bundle(job.bundles[int(bundle)])
    feed, _ = golden_feed(opened)
    found = open_with(job, opened, cast(BackendOption, backend), self_test=True)
    loaded = time.perf_counter()
    with closing(found.model):
        found.model.run(feed)
        ended = time.perf_counter()
    return {
        "open_s": loaded - begin,
        "first_tile_s": ended - loaded,
        "total_s": ended - begin,
        "engines_built": len(EngineCache().records()) - cached,
        "self_test": found.self_test,
    }


def copies(job: Job, bundle: str, backend: str) -> dict[str, Any]:
    """Share of upload and download, one tile after the other; and with copies beside the work."""
    job.require_gpu()
    opened = open_bundle(job.bundles[int(bundle)])
    feed, _ = golden_feed(opened)
    found = open_with(job, opened, cast(BackendOption, backend))
    with closing(found.model) as model:
        for _ in range(10):
            model.run(feed)
        before = dict(model.stage_ms)
        begin = time.perf_counter()
        for _ in range(RUNS):
            model.run(feed)
        alone = time.perf_counter() - begin
        stages = {name: (ms - before[name]) / RUNS for name, ms in model.stage_ms.items()}
        begin = time.perf_counter()
        for _ in model.run_many(feed for _ in range(RUNS)):
            pass
        together = time.perf_counter() - begin
    copied = sum(ms for name, ms in stages.items() if name in COPIES)
    return {
        "stages_ms": stages,
        "copies_share": copied / max(sum(stages.values()), 1e-9),
        "wall_ms": 1e3 * alone / RUNS,
        "idle_share": 1 - sum(stages.values()) / (1e3 * alone / RUNS),
        "wall_ms_run_many": 1e3 * together / RUNS,
    }
