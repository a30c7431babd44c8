import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engines import ADA, ANY_ADA, ORIN, make_record
from full_disk import fill_disk

from runtime.engines import cache as cache_module
from runtime.engines import folder
from runtime.engines.cache import EngineCache
from runtime.engines.folder import Found
from runtime.engines.preflight import verify_file
from runtime.engines.record import EngineRecord
from runtime.errors import EngineError

DATA = b"an engine"


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    """A cache that is not there yet."""
    return EngineCache(tmp_path / "cache", limit_bytes=1 << 30)


def put(cache: EngineCache, data: bytes = DATA, **changes: object) -> EngineRecord:
    record = make_record(data, **changes)
    cache.store(record, data)
    return record


def engine_of(cache: EngineCache, record: EngineRecord) -> Path:
    return cache.engines.path / record.file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def used(cache: EngineCache, record: EngineRecord, moment: float) -> None:
    """Say when an engine was used last."""
    for path in cache.root.rglob(f"{record.key}*"):
        os.utime(path, (moment, moment))


def test_an_engine_is_found_by_its_key_as_it_was_stored(cache: EngineCache) -> None:
    key = make_record().key
    assert cache.find(key) is None
    assert not cache.root.exists()
    record = put(cache)
    assert cache.find(record.key) == Found(record=record, data=DATA)
    assert cache.find("0" * 64) is None
    assert EngineCache(cache.root).records() == (record,)


def test_a_stored_engine_takes_the_place_of_the_one_before(cache: EngineCache) -> None:
    put(cache, b"old")
    record = put(cache, b"new one")
    found = cache.find(record.key)
    assert found is not None
    assert found.data == b"new one"
    assert names(cache.engines.path) == sorted([record.file, f"{record.key}.json"])


def test_storing_the_same_again_keeps_it(cache: EngineCache) -> None:
    put(cache)
    record = put(cache)
    assert cache.find(record.key) == Found(record=record, data=DATA)


def test_a_changed_engine_is_never_given(cache: EngineCache) -> None:
    record = put(cache)
    engine_of(cache, record).write_bytes(b"an enginE")
    with pytest.raises(EngineError, match="changed or damaged"):
        cache.find(record.key)
    put(cache)
    assert cache.find(record.key) is not None


def test_a_damaged_record_is_an_error_until_the_engine_is_stored_again(cache: EngineCache) -> None:
    record = put(cache)
    cache.engines.record_path(record.key).write_text("{")
    with pytest.raises(EngineError, match="expected the record of an engine"):
        cache.find(record.key)
    assert cache.records() == ()
    assert cache.entries() == ()
    put(cache)
    assert cache.records() == (record,)


@pytest.mark.parametrize("replaced", [True, False])
def test_an_engine_that_goes_while_it_is_read_is_looked_for_again(
    cache: EngineCache, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, newer = put(cache, b"old"), make_record(b"newer")

    def slow(record: EngineRecord, where: Path) -> bytes:
        monkeypatch.setattr(folder, "verify_file", verify_file)
        if replaced:
            cache.store(newer, b"newer")
        else:
            cache.clear()
        return verify_file(record, where)

    monkeypatch.setattr(folder, "verify_file", slow)
    found = cache.find(record.key)
    assert found == (Found(record=newer, data=b"newer") if replaced else None)


@pytest.mark.parametrize("count", [1, 2])
def test_a_full_disk_leaves_nothing_half_written(
    cache: EngineCache, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fill_disk(patch, at=count)
        with pytest.raises(EngineError, match=r"No space left .*; expected room .*; free some"):
            put(cache)
    assert names(cache.engines.path) == []


@pytest.mark.parametrize("data", [b"new", DATA])
@pytest.mark.parametrize("count", [1, 2])
def test_a_full_disk_leaves_the_engine_that_was_there(
    cache: EngineCache, count: int, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(cache)
    with monkeypatch.context() as patch:
        fill_disk(patch, at=count)
        with pytest.raises(EngineError, match="No space left"):
            put(cache, data)
    assert cache.find(record.key) == Found(record=record, data=DATA)
    assert len(names(cache.engines.path)) == 2


def test_a_cache_that_cannot_be_made_is_an_error(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(cache_module, "make_folder", refuse)
    with pytest.raises(EngineError, match=r"cannot be made .*; expected .*; set SEGX_CACHE"):
        put(cache)
    assert cache.timing_file(ORIN) is None
    with cache.hold("0" * 64, limit_s=1.0, on_wait=lambda: None) as held:
        assert not held


def test_a_cache_that_can_only_be_read_serves(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    record = put(cache)
    monkeypatch.setattr("os.utime", refuse)
    assert cache.find(record.key) is not None


def three(cache: EngineCache, size: int = 1000) -> list[EngineRecord]:
    """Store three engines, the first of which was used longest ago."""
    records = [put(cache, bytes([n]) * size, part=f"p{n}", profile=f"p{n}") for n in range(3)]
    for moment, record in enumerate(records):
        used(cache, record, moment + 1.0)
    return records


def test_beyond_the_limit_the_engine_used_longest_ago_goes(cache: EngineCache) -> None:
    first, second, third = three(cache)
    cache.find(first.key)  # a use
    cache.limit_bytes = cache.size() + 10
    fourth = put(cache, b"x" * 1000, profile="p3")
    assert {r.key for r in cache.records()} == {first.key, third.key, fourth.key}
    assert not engine_of(cache, second).exists()
    assert cache.size() <= cache.limit_bytes


def test_the_engine_just_stored_stays_whatever_its_size(cache: EngineCache) -> None:
    three(cache)
    cache.limit_bytes = 1
    record = put(cache, b"x" * 9000, profile="large")
    assert cache.records() == (record,)
    assert cache.find(record.key) is not None


def test_within_the_limit_nothing_goes(cache: EngineCache) -> None:
    three(cache)
    assert len(cache.records()) == 3
    assert cache.size() == sum(p.stat().st_size for p in cache.root.rglob("*") if p.is_file())


def test_what_belongs_to_an_evicted_engine_goes_with_it(cache: EngineCache) -> None:
    old = put(cache, b"o" * 1000, target=ORIN)
    cache.save_runtime(old.key, b"compiled")
    for target in (ORIN, ADA):
        path = cache.timing_file(target)
        assert path is not None
        path.write_bytes(b"t")
    used(cache, old, 1.0)
    cache.limit_bytes = cache.size() + 10
    new = put(cache, b"n" * 1000, target=ADA)
    left = sorted(path.name for path in cache.root.rglob("*") if path.is_file())
    timing = "tensorrt-rtx-1.7.1-sm_89-NVIDIA_RTX_4000_Ada.cache"
    assert left == sorted([new.file, f"{new.key}.json", timing])


def test_timings_stay_while_an_engine_of_their_target_does(cache: EngineCache) -> None:
    first, _, _ = three(cache)
    path = cache.timing_file(ORIN)
    assert path is not None
    path.write_bytes(b"t")
    cache.limit_bytes = cache.size() - 1
    put(cache, b"x" * 10, target=ADA)
    assert first.key not in {record.key for record in cache.records()}
    assert path.exists()


def test_the_timings_of_the_engine_just_stored_stay(cache: EngineCache) -> None:
    path = cache.timing_file(ORIN)
    assert path is not None
    path.write_bytes(b"t")
    os.utime(path, (1.0, 1.0))
    cache.limit_bytes = 1
    put(cache, target=ORIN)
    assert path.exists()


def test_a_runtime_cache_counts_and_stays_when_it_is_just_kept(cache: EngineCache) -> None:
    first, second, third = three(cache)
    cache.limit_bytes = cache.size() + 10
    cache.save_runtime(first.key, b"c" * 500)
    assert {record.key for record in cache.records()} == {first.key, third.key}
    assert cache.load_runtime(first.key) == b"c" * 500
    assert not engine_of(cache, second).exists()


def test_what_a_killed_process_left_is_swept_when_the_next_engine_is_stored(
    cache: EngineCache,
) -> None:
    put(cache)
    left = cache.engines.path / ".0123456789abcdef.part"
    left.write_bytes(b"half")
    os.utime(left, (1.0, 1.0))
    put(cache, b"other")
    assert not left.exists()


def test_entries_come_in_the_order_of_use_with_all_that_belongs_to_them(
    cache: EngineCache,
) -> None:
    records = three(cache)
    cache.save_runtime(records[0].key, b"compiled" * 100)
    used(cache, records[0], 9.0)
    entries = cache.entries()
    assert [entry.record for entry in entries] == [records[0], records[2], records[1]]
    assert [entry.used for entry in entries] == [9.0, 3.0, 2.0]
    assert entries[0].size_bytes > 1800
    assert sum(entry.size_bytes for entry in entries) == cache.size()


def test_clearing_removes_the_cache_and_nothing_else(cache: EngineCache) -> None:
    records = three(cache)
    cache.save_runtime(records[0].key, b"compiled")
    path = cache.timing_file(ORIN)
    assert path is not None
    path.write_bytes(b"t")
    with cache.hold(records[0].key, limit_s=1.0, on_wait=lambda: None):
        pass
    mine = [cache.root / "notes.txt", cache.engines.path / "notes.txt"]
    for note in mine:
        note.write_text("mine")
    size = cache.size()
    cleared = cache.clear()
    assert (cleared.engines, cleared.size_bytes) == (3, size)
    assert [p for p in cache.root.rglob("*") if p.is_file()] == mine
    assert cache.clear().engines == 0


def test_clearing_does_not_follow_a_link(cache: EngineCache, tmp_path: Path) -> None:
    with cache.hold("0" * 64, limit_s=1.0, on_wait=lambda: None):
        pass
    (cache.root / "locks").rename(tmp_path / "elsewhere")
    (cache.root / "locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="locks is a link"):
        cache.clear()
    assert len(names(tmp_path / "elsewhere")) == 1


def test_clearing_says_what_it_cannot_remove(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(cache)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(EngineError, match=rf"{record.key}.json cannot be removed; expected"):
        cache.clear()


def test_a_runtime_cache_is_kept_by_key(cache: EngineCache) -> None:
    key = "a" * 64
    assert cache.load_runtime(key) is None
    cache.save_runtime(key, b"one")
    cache.save_runtime(key, b"two")
    assert cache.load_runtime(key) == b"two"
    assert cache.load_runtime("b" * 64) is None
    assert names(cache.root / "runtime") == [f"{key}.cache"]


def test_a_runtime_cache_that_cannot_be_kept_or_read_is_a_warning(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        fill_disk(patch)
        cache.save_runtime("a" * 64, b"one")
    assert names(cache.root / "runtime") == []
    (cache.root / "runtime" / f"{'b' * 64}.cache").symlink_to("elsewhere")
    assert cache.load_runtime("b" * 64) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_timings_are_kept_by_builder_and_device(cache: EngineCache) -> None:
    targets = [
        ORIN,
        ADA,
        ANY_ADA,
        replace(ORIN, builder_version="10.3.1"),
        replace(ORIN, compute_capability="8.6"),
        replace(ORIN, gpu="a/b c"),
    ]
    paths: list[Path | None] = [cache.timing_file(target) for target in targets]
    assert len(set(paths)) == len(targets)
    assert all(path is not None and path.parent == cache.root / "timing" for path in paths)


@pytest.mark.parametrize("target", ["engine", "record"])
def test_links_in_the_cache_are_refused(cache: EngineCache, target: str, tmp_path: Path) -> None:
    record = put(cache)
    path = engine_of(cache, record)
    if target == "record":
        path = cache.engines.record_path(record.key)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="no link"):
        cache.find(record.key)
