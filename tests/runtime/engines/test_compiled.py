import os
from pathlib import Path

import pytest
from full_disk import fill_disk

from runtime.engines import cache as cache_module
from runtime.engines.cache import EngineCache
from runtime.engines.compiled import CompiledGraphs
from runtime.errors import ConfigError

KEY, OTHER = "a" * 64, "b" * 64
GRAPH = b"what was compiled" * 100


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    """A cache that is not there yet."""
    return EngineCache(tmp_path / "cache", limit_bytes=1 << 20)


@pytest.fixture
def graphs(cache: EngineCache) -> CompiledGraphs:
    """The graphs in it."""
    return CompiledGraphs(cache)


def file_of(cache: EngineCache, key: str = KEY) -> Path:
    return cache.root / "openvino" / f"{key}.cache"


def test_a_graph_is_found_by_its_key_as_it_was_kept(
    cache: EngineCache, graphs: CompiledGraphs
) -> None:
    assert graphs.load(KEY) is None
    assert not cache.root.exists()
    graphs.save(KEY, b"before")
    graphs.save(KEY, GRAPH)
    assert graphs.load(KEY) == GRAPH
    assert graphs.load(OTHER) is None
    assert (cache.graphs(), cache.size()) == (1, len(GRAPH) + 32)
    assert cache.entries() == ()


@pytest.mark.parametrize("damage", ["a bit", "an end", "all but nothing", "a link"])
def test_a_damaged_graph_is_never_given(
    cache: EngineCache, graphs: CompiledGraphs, damage: str
) -> None:
    graphs.save(KEY, GRAPH)
    path = file_of(cache)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-1] ^= 1
    elif damage == "an end":
        del content[-1]
    elif damage == "all but nothing":
        del content[5:]
    path.unlink()
    if damage == "a link":
        elsewhere = path.with_name("elsewhere")
        elsewhere.write_bytes(content)
        path.symlink_to(elsewhere)
    else:
        path.write_bytes(content)
    assert graphs.load(KEY) is None
    graphs.save(KEY, GRAPH)
    assert graphs.load(KEY) == GRAPH


@pytest.mark.skipif(os.name != "posix", reason="no modes here")
@pytest.mark.parametrize("folder", [".", "openvino"])
def test_a_cache_that_others_can_write_to_is_not_used(
    cache: EngineCache, graphs: CompiledGraphs, folder: str
) -> None:
    graphs.save(KEY, GRAPH)
    (cache.root / folder).chmod(0o777)
    assert graphs.load(KEY) is None
    graphs.save(OTHER, GRAPH)
    assert not file_of(cache, OTHER).exists()


def test_a_full_disk_keeps_nothing(
    cache: EngineCache, graphs: CompiledGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fill_disk(patch)
        graphs.save(KEY, GRAPH)
    assert list(file_of(cache).parent.iterdir()) == []


def test_a_graph_larger_than_any_is_not_kept(
    cache: EngineCache, graphs: CompiledGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_MOST", 1000)
    graphs.save(KEY, GRAPH)
    assert not file_of(cache).exists()


def test_what_was_used_longest_ago_goes_first_and_all_goes_when_cleared(
    cache: EngineCache, graphs: CompiledGraphs
) -> None:
    big = bytes(400 << 10)
    for age, key in enumerate((KEY, OTHER)):
        graphs.save(key, big)
        os.utime(file_of(cache, key), (1000 + age, 1000 + age))
    assert graphs.load(KEY) is not None  # and so used last
    graphs.save("c" * 64, big)
    assert graphs.load(OTHER) is None
    assert graphs.load(KEY) == big
    cleared = cache.clear()
    assert (cleared.engines, cleared.graphs) == (0, 2)
    assert cleared.size_bytes > 2 * len(big)
    assert cache.graphs() == 0


def test_without_a_home_folder_nothing_is_kept_and_a_wrong_limit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert CompiledGraphs.of_user() is not None
    monkeypatch.setenv("SEGX_CACHE_GIB", "much")
    with pytest.raises(ConfigError, match="SEGX_CACHE_GIB is 'much'"):
        CompiledGraphs.of_user()

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SEGX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert CompiledGraphs.of_user() is None
