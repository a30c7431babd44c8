"""Shards on a Ray cluster: one process, two workers, and two nodes of which one is killed.

Ray's own test cluster runs several nodes on one machine, each with processes of its own.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

pytestmark = pytest.mark.matrix
SIDE = 1800
SHARDS = 12


@pytest.fixture
def tiles(
    write_aerial: Callable[..., Path], write_series: Callable[..., Path], tmp_path: Path
) -> Path:
    """Two files that touch, and their series."""
    from affine import Affine

    folder = tmp_path / "tiles"
    rng = np.random.default_rng(4)
    for number in range(2):
        transform = Affine(0.2, 0.0, 861_904.6 + 0.2 * SIDE * number, 0.0, -0.2, 6_523_377.2)
        pixels = rng.integers(0, 256, (5, SIDE, SIDE), dtype=np.uint8)
        write_aerial(folder / f"{number}.tif", pixels, transform=transform)
    write_series(folder / "sentinel2", size=200)
    return folder


def command(tiles: Path, bundle: Path, out: Path, *options: object) -> list[str]:
    fixed = ["--bundle", bundle, "--out", out, "--confidence", "--threads", 1]
    fixed += ["--backend", "onnxruntime", *options]
    return [sys.executable, "-m", "segx", "infer", str(tiles), *map(str, fixed)]


def pixels_hash(out: Path) -> str:
    """Hash of all pixels of all maps."""
    digest = hashlib.sha256()
    paths = sorted(out.glob("*.tif"))
    assert len(paths) == 4
    for path in paths:
        with rasterio.open(path) as dataset:
            digest.update(path.name.encode() + dataset.read().tobytes())
    assert not list(out.glob(".segx-run*"))
    return digest.hexdigest()


@contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes, and the one that may be killed."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster, second
    finally:
        cluster.shutdown()


def children(number: int) -> list[int]:
    """Processes that a process has started, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == number:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def runs_a_shard(node: Any) -> bool:
    raylet = node.all_processes["raylet"][0].process.pid
    for number in children(raylet):
        try:
            text = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if b"_run_shard" in text:
            return True
    return False


def wait_until(is_so: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 240
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def shards_done(out: Path) -> int:
    return sum('"share"' in path.read_text() for path in out.glob(".segx-run-*/journal"))


def kill(node: Any) -> None:
    """End a node at once, with all of its workers: as if its power were cut."""
    raylet = node.all_processes["raylet"][0].process.pid
    for number in [*children(raylet), raylet]:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_a_cluster_that_is_not_there_is_told_in_one_line(
    tiles: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    options = "--ray", "127.0.0.1:1"
    done = subprocess.run(
        command(tiles, tiny_bundle, tmp_path / "maps", *options),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("segx: no Ray cluster at 127.0.0.1:1 (")
    assert done.stderr.count("\n") == 1


def test_the_map_is_the_same_with_one_process_two_workers_and_a_node_that_is_killed(
    tiles: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    one = tmp_path / "one"
    subprocess.run(command(tiles, tiny_bundle, one), check=True, env=quiet)
    expected = pixels_hash(one)

    two = tmp_path / "two"
    workers = [
        subprocess.Popen(command(tiles, tiny_bundle, two, "--shard", f"{index}/2"), env=quiet)
        for index in (1, 2)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    assert pixels_hash(two) == expected

    ray = tmp_path / "ray"
    with two_nodes() as (cluster, second):
        options = "--ray", cluster.address, "--shards", SHARDS
        process = subprocess.Popen(
            command(tiles, tiny_bundle, ray, *options),
            env=quiet,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: shards_done(ray) >= SHARDS // 4 and runs_a_shard(second), process)
        assert shards_done(ray) < SHARDS
        kill(second)
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "2 tasks at a time on 2 nodes" in out
    assert f"shards: {SHARDS}/{SHARDS}" in err
    assert pixels_hash(ray) == expected
