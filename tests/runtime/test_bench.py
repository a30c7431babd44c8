import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.backends import Backend, BackendChoice
from runtime.bench import BenchPlan, _efficiency, bench
from runtime.bundle import open_bundle
from runtime.errors import DataError
from runtime.jsonfile import plain
from runtime.report import Latency, Report

PLAN = BenchPlan(warmup=1, repeats=3, threads=1)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_bundle_is_timed_per_tile_per_part_and_end_to_end(
    backend: Backend, tiny_bundle: Path, tiny_scene: Path
) -> None:
    opened = open_bundle(tiny_bundle)
    choice = BackendChoice(name=backend, reason="a test")
    steps: list[tuple[int, int]] = []
    result = bench(
        opened,
        choice,
        PLAN,
        scene=tiny_scene,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(i, 4) for i in range(1, 5)]
    assert (result.bundle, result.sha256) == ("tiny", opened.sha256)
    assert (result.backend, result.precision, result.verified) == (backend, "fp32", True)
    assert result.golden_agreement == 1.0
    assert list(result.part_ms) == ["aerial", "satellite", "fusion"]
    assert sum(result.part_ms.values()) <= result.latency_ms.mean
    assert result.tiles_per_s == pytest.approx(1e3 / result.latency_ms.mean)
    assert result.mpx_per_s == pytest.approx(result.tiles_per_s * 64 * 64 / 1e6)
    assert result.load_s > 0
    assert result.first_tile_s > 0
    assert result.end_to_end is not None
    assert result.end_to_end.pixels == 150 * 203
    assert result.efficiency is not None
    assert 0 < result.efficiency < 1.5
    assert (result.warmup, result.repeats) == (1, 3)
    assert set(plain(result)["end_to_end"]) == {f.name for f in dataclasses.fields(Report)}


def test_a_bundle_can_be_timed_without_a_scene(tiny_bundle: Path) -> None:
    choice = BackendChoice(name="onnxruntime", reason="a test")
    result = bench(open_bundle(tiny_bundle), choice, PLAN)
    assert (result.end_to_end, result.efficiency, result.accuracy) == (None, None, None)


def test_the_golden_tile_tells_of_a_model_that_computes_something_else(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "b.segx"))
    with np.load(folder / "golden.npz") as arrays:
        golden = dict(arrays)
    classes = golden["output.classes"]
    classes[:, :16] = (classes[:, :16] + 1) % 13
    opened = open_bundle(folder)
    np.savez(folder / "golden.npz", **golden)
    result = bench(opened, BackendChoice(name="onnxruntime", reason="a test"), PLAN)
    assert result.golden_agreement == 0.75


def test_a_scene_that_does_not_fit_is_refused(
    tiny_bundle: Path, write_aerial: Callable[..., Path], tmp_path: Path
) -> None:
    image = np.zeros((3, 9, 9), dtype=np.uint8)
    write_aerial(tmp_path / "aerial.tif", image, bands=())
    choice = BackendChoice(name="onnxruntime", reason="a test")
    with pytest.raises(DataError, match="sentinel2 is not there"):
        bench(open_bundle(tiny_bundle), choice, PLAN, scene=tmp_path)


@pytest.mark.parametrize(("warmup", "repeats"), [(-1, 1), (0, 0)])
def test_a_plan_that_measures_nothing_is_refused(warmup: int, repeats: int) -> None:
    with pytest.raises(ValueError, match="expected >= 1, 0"):
        BenchPlan(warmup=warmup, repeats=repeats)


def report(*, tiles: int, tile_ms: float, wall_s: float, cold_start_s: float) -> Report:
    latency = Latency(mean=tile_ms, p50=tile_ms, p90=tile_ms, p95=tile_ms, p99=tile_ms)
    return Report(
        segx_version="",
        bundle=None,  # type: ignore[arg-type]
        backend="",
        device="",
        precision="",
        wall_s=wall_s,
        cold_start_s=cold_start_s,
        stages_s={"infer": tiles * tile_ms / 1e3},
        tiles=tiles,
        pixels=1,
        area_km2=1.0,
        mpx_per_s=1.0,
        km2_per_h=1.0,
        peak_rss_mib=1.0,
        latency_ms=latency,
        satellite=None,
        outputs=(),
    )


def test_efficiency_is_the_share_of_the_time_after_the_first_tile_that_is_computed() -> None:
    made = report(tiles=11, tile_ms=80.0, wall_s=3.0, cold_start_s=2.0)
    assert _efficiency(made) == pytest.approx(0.8)


def test_one_tile_says_nothing_of_efficiency() -> None:
    assert _efficiency(report(tiles=1, tile_ms=80.0, wall_s=3.0, cold_start_s=2.0)) is None
