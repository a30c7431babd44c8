import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engines import ADA, ANY_ADA, ORIN, make_record

from runtime.engines.cache import EngineCache
from runtime.engines.compiled import CompiledGraphs

Run = Callable[..., Any]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineCache:
    """The user's cache, of 1.5 GiB."""
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "engines"))
    monkeypatch.setenv("SEGX_CACHE_GIB", "1.5")
    return EngineCache()


@pytest.fixture
def filled(cache: EngineCache) -> EngineCache:
    """The cache with three engines, the last of which was used last, and a compiled graph."""
    targets = (ORIN, ANY_ADA, ADA)
    for day, target in enumerate(targets, start=1):
        data = bytes(day << 20)
        record = make_record(data, target=target, precision=("fp16", "fp16", "int8")[day - 1])
        cache.store(record, data)
        moment = 1_767_225_600 + day * 86_400
        os.utime(cache.engines.record_path(record.key), (moment, moment))
        os.utime(cache.engines.path / record.file, (0, 0))
    CompiledGraphs(cache).save("a" * 64, b"compiled")
    return cache


def test_the_engines_are_listed(
    segx: Run, filled: EngineCache, transcript: Run, tmp_path: Path
) -> None:
    result = segx("cache", "--json", "c.json")
    assert (result.code, result.err) == (0, "")
    transcript("cache", result.out)
    assert f"engine cache: {filled.root} " in result.out
    assert "2026-01-04 00:00" in result.out
    assert "size: 6.0 MiB of 1536.0 MiB" in result.out
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["path"], found["limit_bytes"]) == (str(filled.root), 3 << 29)
    assert (found["size_bytes"], found["graphs"]) == (filled.size(), 1)
    assert [item["record"]["target"]["gpu"] for item in found["engines"]] == [
        "NVIDIA RTX 4000 Ada",
        "any",
        "Orin",
    ]
    assert found["engines"][0]["used"] == "2026-01-04T00:00:00+00:00"
    assert found["engines"][0]["size_bytes"] > 3 << 20


def test_the_cache_is_cleared(segx: Run, filled: EngineCache, tmp_path: Path) -> None:
    result = segx("cache", "--clear", "--json", "c.json")
    assert (result.code, result.err) == (0, "")
    assert "removed: engines 3, graphs 1; 6.0 MiB" in result.out.splitlines()
    assert result.out.splitlines()[-1] == "wrote c.json; next: segx infer INPUT"
    assert filled.records() == ()
    assert json.loads((tmp_path / "c.json").read_text())["engines"] == []


def test_an_empty_cache_says_so_and_is_not_made(segx: Run, cache: EngineCache) -> None:
    result = segx("cache")
    assert (result.code, result.err) == (0, "")
    assert "no engines; each is built when it is first needed" in result.out
    assert result.out.splitlines()[-1] == "next: segx infer INPUT"
    assert not cache.root.exists()


def test_a_limit_that_is_none_is_one_line(segx: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGX_CACHE_GIB", "much")
    result = segx("cache")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("segx: SEGX_CACHE_GIB is 'much'; expected")
    assert len(result.complaints) == 1
