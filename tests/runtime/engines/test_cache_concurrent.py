import hashlib
import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engines import ORIN, Workbench, make_record

from runtime.bundle import open_bundle
from runtime.engines import lock
from runtime.engines.cache import EngineCache
from runtime.engines.lock import hold
from runtime.engines.options import BuildOptions
from runtime.engines.provide import obtain
from runtime.errors import EngineError

CHILD = """
import sys
import time
from pathlib import Path
from fake_engines import ORIN, FakeBuild, Workbench
from runtime.bundle import open_bundle
from runtime.engines.cache import EngineCache
from runtime.engines.provide import obtain

bundle = open_bundle(Path(sys.argv[1]))
build = FakeBuild(meanwhile=lambda: time.sleep(0.2))
bench = Workbench(bundle, EngineCache(Path(sys.argv[2])), build)
print("ready", flush=True)
sys.stdin.readline()
made = obtain(bundle, bundle.manifest.parts[0], ORIN, batch=1, source=bench.source())
print(made.built, made.record.engine_sha256, flush=True)
"""
HOLDER = """
import sys
from pathlib import Path
from runtime.engines.lock import hold

with hold(Path(sys.argv[1]), limit_s=1.0, on_wait=lambda: None):
    print("held", flush=True)
    sys.stdin.readline()
"""


def start(code: str, *arguments: Path) -> "subprocess.Popen[str]":
    """Start Python code that can import what this test can; wait for its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() in {"ready", "held"}
    return process


def unheard() -> None:
    """Nobody is told of the wait."""


def test_processes_that_need_one_engine_at_once_build_it_once(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    children = [start(CHILD, tiny_bundle, tmp_path / "cache") for _ in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert sorted(built for built, _ in answers) == ["False", "False", "True"]
    assert len({digest for _, digest in answers}) == 1


def test_threads_that_need_one_engine_at_once_build_it_once(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bench = Workbench(open_bundle(tiny_bundle), EngineCache(tmp_path / "cache"))
    waiting = threading.Event()
    bench.build.meanwhile = lambda: waiting.wait(30)

    def note(text: str) -> None:
        bench.notes.append(text)
        waiting.set()

    source = replace(bench.source(), note=note)
    part = bench.bundle.manifest.parts[0]
    with ThreadPoolExecutor(6) as pool:
        made = list(
            pool.map(lambda _: obtain(bench.bundle, part, ORIN, batch=1, source=source), range(6))
        )
    assert Counter(one.built for one in made) == {True: 1, False: 5}
    assert len({one.data for one in made}) == 1
    assert set(bench.notes) == {"another process builds the engine of tiny/aerial; waiting for it"}


def test_different_engines_are_built_side_by_side(tiny_bundle: Path, tmp_path: Path) -> None:
    bench = Workbench(open_bundle(tiny_bundle), EngineCache(tmp_path / "cache"))
    together = threading.Barrier(2, timeout=30)
    bench.build.meanwhile = together.wait  # ends only if both builds run at once
    source = bench.source()
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(
            lambda part: obtain(bench.bundle, part, ORIN, batch=1, source=source),
            bench.bundle.manifest.parts[:2],
        )
        assert all(one.built for one in made)


@contextmanager
def no_lock(*_: Any, **__: Any) -> Any:
    yield False


def test_without_locks_no_engine_is_ever_torn(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    key = make_record().key
    stop = threading.Event()

    def write(number: int) -> None:
        for turn in range(20):
            data = bytes([number, turn]) * (1 << 17)
            cache.store(make_record(data), data)

    def read() -> int:
        seen = 0
        while not stop.is_set():
            found = cache.find(key)
            if found is not None:
                assert found.data == found.data[:2] * (1 << 17)
                assert found.record == make_record(found.data)
                seen += 1
        return seen

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            list(pool.map(write, range(4)))
        finally:
            stop.set()
        assert sum(reader.result() for reader in readers) > 0
    assert cache.find(key) is not None


def test_without_locks_everybody_builds_and_uses_an_intact_engine(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.engines.cache.hold", no_lock)
    bench = Workbench(open_bundle(tiny_bundle), EngineCache(tmp_path / "cache"))
    bench.build.meanwhile = threading.Barrier(4, timeout=30).wait
    part = bench.bundle.manifest.parts[0]
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(
                lambda _: obtain(bench.bundle, part, ORIN, batch=1, source=bench.source()),
                range(4),
            )
        )
    assert all(one.built for one in made)
    assert all(hashlib.sha256(one.data).hexdigest() == one.record.engine_sha256 for one in made)
    assert bench.cache.find(made[0].record.key) is not None


def test_a_lock_keeps_a_second_holder_out_and_says_so_once(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    waits: list[str] = []
    with hold(path, limit_s=1.0, on_wait=unheard) as first:
        assert first
        with (
            pytest.raises(
                EngineError, match=r"held by another process for 0.2 s; expected .*; end"
            ),
            hold(path, limit_s=0.2, on_wait=lambda: waits.append("waited")),
        ):
            pytest.fail("two holders")
    assert waits == ["waited"]
    with hold(path, limit_s=0.0, on_wait=lambda: waits.append("again")) as held:
        assert held
    assert waits == ["waited"]


def test_a_lock_ends_with_an_error_inside(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="inside"),
        hold(tmp_path / "a", limit_s=0, on_wait=unheard),
    ):
        raise ValueError("inside")
    with hold(tmp_path / "a", limit_s=0, on_wait=unheard) as held:
        assert held


def test_the_lock_of_a_killed_process_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    process = start(HOLDER, path)
    waits: list[str] = []
    with (
        pytest.raises(EngineError, match="held by another process"),
        hold(path, limit_s=0.1, on_wait=lambda: waits.append("waited")),
    ):
        pytest.fail("two holders")
    process.kill()
    process.communicate()
    assert path.exists()
    with hold(path, limit_s=0.0, on_wait=unheard) as held:
        assert held


def test_a_lock_on_a_file_that_was_removed_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lock"
    real = lock._lock

    def cleared(number: int) -> bool:
        monkeypatch.setattr(lock, "_lock", real)
        path.unlink()
        return real(number)

    monkeypatch.setattr(lock, "_lock", cleared)
    with (
        hold(path, limit_s=1.0, on_wait=unheard) as held,
        pytest.raises(EngineError),
        hold(path, limit_s=0.0, on_wait=unheard),
    ):
        pytest.fail("two holders")
    assert held


def no_locks_here(number: int) -> bool:
    raise OSError(95, "Operation not supported")


@pytest.mark.parametrize("kind", ["no folder", "no locks"])
def test_where_nothing_can_be_locked_nothing_is_held(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lock"
    if kind == "no folder":
        path = tmp_path / "none" / "a.lock"
    else:
        monkeypatch.setattr(lock, "_lock", no_locks_here)
    with hold(path, limit_s=1.0, on_wait=unheard) as held:
        assert not held


def test_a_wait_for_another_builder_ends_with_the_time_a_build_may_take(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bench = Workbench(open_bundle(tiny_bundle), EngineCache(tmp_path / "cache"))
    part = bench.bundle.manifest.parts[0]
    source = bench.source(build=BuildOptions(time_limit_s=0.2))
    made = obtain(bench.bundle, part, ORIN, batch=1, source=source)
    bench.cache.clear()
    with (
        bench.cache.hold(made.record.key, limit_s=1.0, on_wait=unheard),
        pytest.raises(EngineError, match=r"held by another process for 0.2 s"),
    ):
        obtain(bench.bundle, part, ORIN, batch=1, source=source)
