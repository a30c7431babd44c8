import hashlib
from pathlib import Path
from typing import Any

import pytest
from fake_engines import ADA, ANY_ADA, ORIN, Workbench

from runtime.bundle import open_bundle
from runtime.engines.cache import EngineCache
from runtime.engines.provide import build_all, obtain
from runtime.errors import EngineError


@pytest.fixture
def bench(tiny_bundle: Path, tmp_path: Path) -> Workbench:
    """An empty cache, and a fake builder."""
    return Workbench(open_bundle(tiny_bundle), EngineCache(tmp_path / "cache"))


def test_every_part_is_built_for_every_target(bench: Workbench) -> None:
    prepared = build_all(bench.bundle, [ANY_ADA, ORIN], batch=2, source=bench.source())
    parts = ["aerial", "satellite", "fusion", "fusion_probabilities"]
    assert [item.record.part for item in prepared] == parts * 2
    assert [item.record.target for item in prepared] == [ANY_ADA] * 4 + [ORIN] * 4
    assert all(item.built for item in prepared)
    for item in prepared:
        assert item.path.parent == bench.cache.engines.path
        digest = hashlib.sha256(item.path.read_bytes()).hexdigest()
        assert digest == item.record.engine_sha256
    for part in bench.bundle.manifest.parts:
        made = obtain(bench.bundle, part, ADA, batch=2, source=bench.source(rebuild="never"))
        assert not made.built


def test_what_lies_ready_is_built_again_only_if_forced(bench: Workbench, tmp_path: Path) -> None:
    def run(**how: Any) -> list[bool]:
        prepared = build_all(
            bench.bundle, [ORIN], batch=1, source=bench.source(), out=tmp_path / "out", **how
        )
        assert all(item.path.parent == tmp_path / "out" for item in prepared)
        return [item.built for item in prepared]

    assert run() == [True] * 4
    assert run() == [False] * 4
    assert run(force=True) == [True] * 4
    assert bench.cache.records() == ()
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_a_damaged_engine_is_replaced_with_a_note(bench: Workbench) -> None:
    first = build_all(bench.bundle, [ORIN], batch=1, source=bench.source())[0]
    first.path.write_bytes(b"x")
    again = build_all(bench.bundle, [ORIN], batch=1, source=bench.source())
    assert [item.built for item in again] == [True, False, False, False]
    assert len(bench.notes) == 1
    assert str(first.path) in bench.notes[0]


def test_engines_that_cannot_be_kept_are_an_error_when_asked_for(
    bench: Workbench, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineError, match="cannot be"):
        build_all(bench.bundle, [ORIN], batch=1, source=bench.source(), out=tmp_path / "file")


def test_progress_counts_engines_and_shows_what_each_does(bench: Workbench) -> None:
    build_all(bench.bundle, [ANY_ADA], batch=1, source=bench.source())
    assert bench.progress[:3] == [
        (0, 4, "tiny/aerial for sm_89"),
        (0, 4, "tiny/aerial for sm_89: timing kernels"),
        (1, 4, "tiny/satellite for sm_89"),
    ]
    assert bench.progress[-1] == (4, 4, "")
