"""Shards as tasks of a Ray cluster; the only module that imports Ray."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError, RayTaskError

from runtime.errors import BackendError, SegxError, brief
from runtime.stream.shards import Shard

if TYPE_CHECKING:
    from runtime.pipeline import ShardResult

    from .shards import ShardJob

RETRIES = 5
"""Times that a task runs again after its worker or node was lost."""
CONNECT_S = 10.0
"""Seconds to wait for the machine that the address names."""
SHARDS_PER_SLOT = 4
"""So that a node that is lost, or slow, costs a fraction of its share."""


class RayTasks:
    """A connection to a cluster; use it as a context manager."""

    def __init__(self, address: str, *, threads: int | None, backend: str) -> None:
        """Name the cluster; nothing is connected before the `with` block.

        Args:
            address: Address of the cluster; `local` starts one on this machine.
            threads: Processor cores of a task; None: all that the smallest node has.
            backend: Library that runs the bundle; tasks take a GPU unless it is one of processors.
        """
        self._address, self._threads = address, threads
        self._may_use_gpu = backend not in ("openvino", "onnxruntime")
        self._cores = self._gpus = 0
        self.nodes = self.slots = 0
        """Nodes of the cluster, and tasks that run at a time."""

    @property
    def usual_shards(self) -> int:
        """How many shards suit the cluster."""
        return SHARDS_PER_SLOT * self.slots

    def __enter__(self) -> "RayTasks":
        """Connect.

        Raises:
            BackendError: If the cluster cannot be reached, or no node has room for a task.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            _require_listener(self._address)
            ray.init(address=self._address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, OSError, RuntimeError, ValueError, RayError) as error:
            raise BackendError(
                f"no Ray cluster at {self._address} ({brief(error)}); expected one that runs; "
                "start it with `ray start --head`, or use --ray local"
            ) from error
        self._measure()
        if not self.slots:
            ray.shutdown()
            raise BackendError(
                f"no node of the Ray cluster has {self._cores} processor cores for a task; "
                "expected one; give fewer --threads"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect; a local cluster ends."""
        ray.shutdown()

    def _measure(self) -> None:
        rooms = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        rooms = [room for room in rooms if room.get("CPU", 0) >= 1]
        self.nodes = len(rooms)
        self._gpus = int(self._may_use_gpu and any(room.get("GPU", 0) >= 1 for room in rooms))
        least = min((int(room["CPU"]) for room in rooms), default=1)
        self._cores = self._threads or (1 if self._gpus else least)
        self.slots = sum(
            min(int(room["CPU"] // self._cores), int(room.get("GPU", 0)))
            if self._gpus
            else int(room["CPU"] // self._cores)
            for room in rooms
        )

    def run(self, job: "ShardJob", count: int) -> "Iterator[ShardResult]":
        """Run all shards; give what each gave, in the order in which they end.

        Raises:
            BackendError: If a task was lost too often.
            SegxError: If a task found something that the user can mend.
        """
        task = ray.remote(
            num_cpus=self._cores,
            num_gpus=self._gpus,
            max_retries=RETRIES,
            scheduling_strategy="SPREAD",
        )(_run_shard)
        if not self._gpus:
            job = replace(job, request=replace(job.request, threads=self._cores))
        waiting = [task.remote(job, index, count) for index in range(1, count + 1)]
        try:
            while waiting:
                done, waiting = ray.wait(waiting)
                yield ray.get(done[0])
        except RayTaskError as error:
            if isinstance(error.cause, SegxError):
                raise error.cause from None
            raise
        except RayError as error:
            raise BackendError(
                f"a task of the Ray cluster was lost {RETRIES + 1} times ({brief(error)}); "
                "expected nodes that stay; run the same command again: it goes on"
            ) from error


def _require_listener(address: str) -> None:
    """Look whether anybody listens at HOST:PORT, for which Ray itself would wait for minutes.

    Raises:
        OSError: If not.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


def _run_shard(job: "ShardJob", index: int, count: int) -> "ShardResult":
    """Run a shard in a worker of the cluster."""
    return job.run(Shard(index=index, count=count))
