"""Slower and less accurate is found, whatever figure tells it; what says nothing is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from bench_case import ACCURACY, bench_result
from hypothesis import given
from hypothesis import strategies as st

from runtime.bench import BenchResult
from runtime.bench_compare import (
    Bounds,
    Change,
    OldBench,
    Settings,
    check_same,
    compare,
    read_bench,
)
from runtime.errors import DataError
from runtime.jsonfile import write_json
from runtime.machine import Machine, look_at_machine

BOUNDS = Bounds(slowdown=10.0, loss=0.5)
SETTINGS = Settings(threads=2, batch=1, scene="abc")
MACHINE = look_at_machine()
HERE = Path("old.json")


def written(path: Path, *results: BenchResult, machine: Machine = MACHINE) -> OldBench:
    write_json(path, {"machine": machine, "settings": SETTINGS, "results": results, "more": 1})
    return read_bench(path)


@pytest.fixture
def old(tmp_path: Path) -> OldBench:
    return written(tmp_path / "old.json", bench_result(accuracy=ACCURACY))


def found(old: OldBench, **now: Any) -> dict[str, Change]:
    result = bench_result(**{"accuracy": ACCURACY, **now})
    return {change.figure: change for change in compare(old, [result], BOUNDS, HERE)}


def test_the_same_figures_pass_with_nothing_lost(old: OldBench) -> None:
    changes = found(old)
    assert list(changes) == ["median latency", "model alone", "end to end", "golden tile", "mIoU"]
    assert all(change.passed for change in changes.values())
    assert {change.worse for change in changes.values()} == {0.0}


@pytest.mark.parametrize(
    ("figure", "passes", "fails"),
    [
        ("median latency", {"p50": 10.99}, {"p50": 11.01}),
        ("model alone", {"tiles_per_s": 91.0}, {"tiles_per_s": 90.0}),
        ("end to end", {"wall_s": 10.99}, {"wall_s": 11.01}),
        ("golden tile", {"golden_agreement": 0.9951}, {"golden_agreement": 0.9949}),
        (
            "mIoU",
            {"accuracy": dataclasses.replace(ACCURACY, miou=0.5951)},
            {"accuracy": dataclasses.replace(ACCURACY, miou=0.5949)},
        ),
    ],
)
def test_each_figure_has_its_bound(
    figure: str, passes: dict[str, Any], fails: dict[str, Any], old: OldBench
) -> None:
    assert all(change.passed for change in found(old, **passes).values())
    assert [name for name, c in found(old, **fails).items() if not c.passed] == [figure]


@given(times=st.floats(0.1, 10.0))
def test_a_slow_down_is_the_same_by_time_and_by_throughput(times: float) -> None:
    before = bench_result()
    now = bench_result(p50=10.0 * times, tiles_per_s=100.0 / times, wall_s=10.0 * times)
    old = OldBench(
        machine=MACHINE,
        settings=SETTINGS,
        results=(before,),  # type: ignore[arg-type]
    )
    slower = [c.worse for c in compare(old, [now], BOUNDS, HERE) if not c.in_points]
    assert slower == pytest.approx([100 * (times - 1)] * 3, abs=1e-9)


def test_figures_of_other_patches_are_not_compared(old: OldBench) -> None:
    other = dataclasses.replace(ACCURACY, patches=13, miou=0.1)
    assert "mIoU" not in found(old, accuracy=other)
    assert "mIoU" not in found(old, accuracy=None)


def test_a_bench_that_stands_still_is_infinitely_slower(old: OldBench) -> None:
    assert not found(old, tiles_per_s=0.0)["model alone"].passed


def test_a_bundle_that_was_not_timed_then_is_refused(old: OldBench) -> None:
    for now in (bench_result(bundle="other"), bench_result(backend="onnxruntime")):
        with pytest.raises(DataError, match=r"old\.json holds tiny on openvino; expected"):
            compare(old, [now], BOUNDS, HERE)


@pytest.mark.parametrize(
    "field", [item.name for item in dataclasses.fields(Machine) if item.name != "gpus"]
)
def test_another_machine_is_refused_and_named(field: str, tmp_path: Path) -> None:
    others = {"features": ("amx",), "processor_threads": 999, "memory_gib": 999}
    changed = others.get(field, "other")
    other = dataclasses.replace(MACHINE, **{field: changed})  # type: ignore[arg-type]
    old = written(tmp_path / "old.json", bench_result(), machine=other)
    with pytest.raises(DataError, match=f"was measured with {field} '") as error:
        check_same(old, MACHINE, SETTINGS, HERE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"threads": None}, {"batch": 8}, {"scene": "other"}], ids=str)
def test_other_settings_are_refused_and_named(change: dict[str, Any], old: OldBench) -> None:
    (field,) = change
    with pytest.raises(DataError, match=f"was measured with {field} '"):
        check_same(old, MACHINE, dataclasses.replace(SETTINGS, **change), HERE)
    check_same(old, MACHINE, SETTINGS, HERE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        (json.dumps({"results": []}), "lacks the key 'machine'"),
        ("[" * 100_000, "cannot be read as JSON"),
        (None, "cannot be read as JSON"),
    ],
)
def test_a_file_that_is_no_bench_is_refused(
    content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_bench(path)
