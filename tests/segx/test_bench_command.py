import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.energy import Energy, EnergyMeter

Write = Callable[..., Path]
Run = Callable[..., Any]
NONE: Callable[[str], list[Any]] = lambda device: []  # noqa: E731
SHORT = ("--warmup", 1, "--repeats", 2, "--threads", 1)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print the same with and without a GPU, and on machines that tell their energy."""
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: False)
    monkeypatch.setattr("runtime.bench_rounds.EnergyMeter", lambda device: EnergyMeter(find=NONE))


def test_bundles_are_timed_side_by_side(
    segx: Run,
    tiny_bundle: Path,
    tiny_scene: Path,
    transcript: Run,
    write_bundle: Write,
    tmp_path: Path,
) -> None:
    alone = write_bundle(tmp_path / "alone.segx", satellite=False)
    arguments = ("--scene", tiny_scene, "--json", "b.json", *SHORT)
    result = segx("bench", tiny_bundle, alone, *arguments)
    assert result.code == 0, result.err
    transcript("bench", result.out)
    assert result.complaints == []
    found = json.loads((tmp_path / "b.json").read_text())["results"]
    assert [item["bundle"] for item in found] == ["tiny", "alone"]
    assert all(item["golden_agreement"] == 1 and item["inside"] for item in found)


def test_rounds_are_told(segx: Run, tiny_bundle: Path, tiny_scene: Path, tmp_path: Path) -> None:
    arguments = ("--rounds", 2, "--json", "b.json", "--scene", tiny_scene, *SHORT)
    result = segx("bench", tiny_bundle, *arguments)
    assert result.code == 0, result.err
    assert "rounds: 2 (tiles/s and efficiency: median)" in result.out
    (found,) = json.loads((tmp_path / "b.json").read_text())["results"]
    assert len(found["rounds"]) == 2
    assert found["efficiency_least"] == min(item["efficiency"] for item in found["rounds"])


def test_energy_is_told_where_it_is_measured(
    segx: Run, tiny_bundle: Path, tiny_scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import bench
    from runtime.bench import BenchResult

    def measured(*args: Any, **options: Any) -> Any:
        found: BenchResult = real(*args, **options)
        assert found.end_to_end is not None
        parts = {"RAPL (package-0)": 12.0}
        energy = Energy(
            joules=12.0, mean_watts=4.0, source="RAPL (package-0)", joules_by_source=parts
        )
        run = dataclasses.replace(found.end_to_end, energy=energy)
        return dataclasses.replace(found, end_to_end=run)

    real = bench.bench
    monkeypatch.setattr(bench, "bench", measured)
    result = segx("bench", tiny_bundle, "--scene", tiny_scene, *SHORT)
    assert "energy of tiny: 12.0 J, 4.0 W (RAPL (package-0))" in result.out


def test_the_newest_verified_bundle_is_timed(
    segx: Run, write_bundle: Write, tiny_scene: Path, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "deep" / "b.segx")
    result = segx("bench", "--scene", tiny_scene, *SHORT)
    assert result.code == 0, result.err
    assert result.out.startswith(
        f"bundle: {tmp_path / 'deep' / 'b.segx'} (the newest verified one)"
    )
    assert result.out.splitlines()[-1] == f"next: segx inspect {tmp_path / 'deep' / 'b.segx'}"


def test_a_bundle_that_is_not_there_is_one_line(segx: Run, tiny_scene: Path) -> None:
    result = segx("bench", "nowhere.segx", "--scene", tiny_scene, *SHORT)
    assert result.code == 1
    assert [line.split(";")[0] for line in result.complaints] == [
        "segx: nowhere.segx has no manifest.json"
    ]


def test_a_scene_that_is_not_there_is_one_line(segx: Run, tiny_bundle: Path) -> None:
    result = segx("bench", tiny_bundle, "--scene", "nowhere", *SHORT)
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "nowhere is not there" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--repeats", 0),
        ("--rounds", 0),
        ("--batch", 0),
        ("--rebuild", "never", "--backend", "openvino"),
    ],
    ids=str,
)
def test_wrong_use_exits_2(segx: Run, tiny_bundle: Path, arguments: tuple[Any, ...]) -> None:
    result = segx("bench", tiny_bundle, *arguments)
    assert result.code == 2
    assert arguments[0] in result.err


def test_a_batch_is_timed_without_a_scene(segx: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    result = segx("bench", tiny_bundle, "--batch", 3, "--json", "b.json", *SHORT)
    assert result.code == 0, result.err
    assert "one call, all parts" in result.out
    assert "tiles per call: 3" in result.out
    (found,) = json.loads((tmp_path / "b.json").read_text())["results"]
    assert (found["batch"], found["end_to_end"]) == (3, None)


def test_a_skipped_self_test_is_stamped(segx: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = ("--batch", 2, "--skip-self-test", "--json", "b.json", *SHORT)
    result = segx("bench", tiny_bundle, *arguments)
    assert "self-test: skipped (asked for)" in result.out
    (found,) = json.loads((tmp_path / "b.json").read_text())["results"]
    assert found["self_test"]["skipped"] is True


def test_what_the_gpu_did_has_a_table_of_its_own(
    segx: Run, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import bench

    def on_gpu(*args: Any, **options: Any) -> Any:
        each = {"upload": 1.0, "fusion": 2.0, "download": 0.5}
        return dataclasses.replace(real(*args, **options), device_ms=each)

    real = bench.bench
    monkeypatch.setattr(bench, "bench", on_gpu)
    result = segx("bench", tiny_bundle, "--batch", 2, *SHORT)
    lines = result.out.splitlines()
    place = lines.index("on the GPU, mean ms")
    assert lines[place + 1].split() == ["bundle", "upload", "fusion", "download"]
    assert lines[place + 3].split() == ["tiny", "1.00", "2.00", "0.50"]
