"""One table of latencies, in turns.

Each round runs everything once, so that what else the machine does slows each of them alike.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from runtime.bundle import open_bundle
from runtime.model import golden_feed, repeated
from runtime.report import latency

from .contenders import Runs, contenders
from .job import Job, NoGpu

WARMUP = 5
DRY_ROUNDS = 2


@dataclass(slots=True)
class _Timed:
    model: Runs
    seconds: list[float] = field(default_factory=list)
    before: Mapping[str, float] = field(default_factory=dict)


def table(job: Job, batch: str) -> dict[str, Any]:
    """Time everything with one batch; who cannot be opened or falls out is named with its words."""
    feed = repeated(golden_feed(open_bundle(job.bundles[0]))[0], int(batch))
    ready, words = _open_all(job, int(batch))
    rounds = DRY_ROUNDS if job.dry_run else job.rounds
    warmup = 1 if job.dry_run else WARMUP
    for number in range(warmup + rounds):
        for name, timed in list(ready.items()):
            if number == warmup:
                timed.seconds.clear()
                timed.before = _stages(timed.model)
            try:
                begin = time.perf_counter()
                timed.model.run(feed)
                timed.seconds.append(time.perf_counter() - begin)
            except Exception as error:  # one that falls out must not end the others
                words[name] = f"{type(error).__name__}: {error}"
                del ready[name]
    rows = {name: _row(timed, int(batch)) for name, timed in ready.items()}
    return {"batch": int(batch), "rounds": rounds, "rows": rows, "not timed": words}


def _open_all(job: Job, batch: int) -> tuple[dict[str, _Timed], dict[str, str]]:
    ready: dict[str, _Timed] = {}
    words: dict[str, str] = {}
    for contender in contenders(job, gpu=_has_gpu(job)):
        try:
            ready[contender.name] = _Timed(contender.open(batch))
        except NoGpu as error:
            words[contender.name] = f"no GPU: {error}"
        except Exception as error:  # the words are the finding
            words[contender.name] = f"{type(error).__name__}: {error}"
    return ready, words


def _has_gpu(job: Job) -> bool:
    try:
        job.require_gpu()
    except NoGpu:
        return False
    return True


def _row(timed: _Timed, batch: int) -> dict[str, Any]:
    found = latency(timed.seconds)
    runs = len(timed.seconds)
    stages = {
        name: (value - timed.before.get(name, 0.0)) / runs
        for name, value in _stages(timed.model).items()
    }
    return {
        "p50_ms": found.p50,
        "p95_ms": found.p95,
        "mean_ms": found.mean,
        "tiles_per_s": batch / mean(timed.seconds),
        "stages_ms": stages,
    }


def _stages(model: Runs) -> dict[str, float]:
    """Milliseconds by stage so far: on the device where it tells, else by part."""
    on_device = dict(getattr(model, "stage_ms", {}))
    if on_device:
        return on_device
    return {name: 1e3 * value for name, value in getattr(model, "part_seconds", {}).items()}
