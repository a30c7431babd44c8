"""Run one job in several processes that train together, and pass on what the first one tells."""

import copy
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as mp

OnStep = Callable[[int, int, float], None]
"""Called with the steps done, the steps in all, and the loss of the last one."""

Job = Callable[[OnStep], None]


def run_together(job: Job, processes: int, on_step: OnStep) -> None:
    """Run a job in every process.

    Args:
        job: What each process does; it is copied to each of them.
        processes: How many.
        on_step: Called here with what the first process tells.
    """
    steps = mp.get_context("spawn").SimpleQueue()
    workers = mp.spawn(  # type: ignore[attr-defined, no-untyped-call]
        _work, args=(job, processes, _free_port(), steps), nprocs=processes, join=False
    )
    try:
        finished = False
        while not finished:
            finished = workers.join(timeout=0.2)
            while not steps.empty():
                on_step(*steps.get())
    finally:
        for process in workers.processes:
            process.kill()


def _work(rank: int, job: Job, processes: int, port: int, steps: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank))
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    # Tensors arrive in memory that all processes share; each one trains weights of its own.
    copy.deepcopy(job)(lambda *done: steps.put(done))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
