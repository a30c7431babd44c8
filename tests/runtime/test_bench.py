import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import bench_rounds
from runtime.backends import Backend, BackendChoice, PassedOver
from runtime.bench import BenchPlan, BenchResult, bench
from runtime.bench_rounds import of_median_wall
from runtime.bundle import Bundle, open_bundle
from runtime.errors import DataError
from runtime.jsonfile import plain
from runtime.ladder import Opened, RunRequest, open_best
from runtime.model import TileModel, golden_feed
from runtime.report import Latency, Report
from runtime.selftest import SKIPPED, SelfTest

PLAN = BenchPlan(warmup=1, repeats=3)


def timed(
    bundle: Bundle,
    plan: BenchPlan = PLAN,
    *,
    backend: Backend = "onnxruntime",
    batch: int = 1,
    self_test: bool = True,
    **options: Any,
) -> BenchResult:
    request = RunRequest(backend=backend, threads=1, batch=batch, self_test=self_test)
    opened = open_best(bundle, request)
    try:
        return bench(bundle, opened, plan, **options)
    finally:
        opened.model.close()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_bundle_is_timed_per_tile_per_part_and_end_to_end(
    backend: Backend, tiny_bundle: Path, tiny_scene: Path
) -> None:
    opened = open_bundle(tiny_bundle)
    steps: list[tuple[int, int]] = []
    result = timed(
        opened,
        backend=backend,
        scene=tiny_scene,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert {total for _, total in steps} == {10}
    assert steps[:4] + steps[-1:] == [(1, 10), (2, 10), (3, 10), (4, 10), (10, 10)]
    assert (result.bundle, result.sha256) == ("tiny", opened.sha256)
    assert (result.backend, result.precision, result.verified) == (backend, "fp32", True)
    assert (result.device, result.device_ms, result.batch) == ("CPU", None, 1)
    assert result.golden_agreement == 1.0
    assert list(result.part_ms) == ["aerial", "satellite", "fusion"]
    assert sum(result.part_ms.values()) <= result.latency_ms.mean
    assert result.tiles_per_s > 0
    assert result.mpx_per_s == pytest.approx(result.tiles_per_s * 64 * 64 / 1e6)
    assert result.load_s > 0
    assert result.first_tile_s == result.self_test.seconds
    assert result.self_test.agreement == 1.0
    assert result.end_to_end is not None
    assert result.end_to_end.self_test == result.self_test
    assert result.end_to_end.pixels == 150 * 203
    (measured,) = result.rounds
    assert measured.calls == result.end_to_end.tiles > PLAN.repeats
    assert measured.tiles_per_s == result.tiles_per_s
    assert measured.end_to_end_wall_s == result.end_to_end.wall_s
    assert measured.end_to_end_tiles_per_s == result.end_to_end.tiles_per_s
    assert result.efficiency == result.efficiency_least == measured.efficiency
    assert result.end_to_end.efficiency == result.efficiency
    assert result.efficiency is not None
    assert result.efficiency > 0
    assert result.peak_rss_mib >= result.end_to_end.peak_rss_mib > 1
    assert (result.warmup, result.repeats) == (1, 3)
    assert set(plain(result)["end_to_end"]) == {f.name for f in dataclasses.fields(Report)}


def test_a_bundle_can_be_timed_without_a_scene(tiny_bundle: Path) -> None:
    steps: list[tuple[int, int]] = []
    result = timed(
        open_bundle(tiny_bundle),
        BenchPlan(warmup=2, repeats=3, rounds=2),
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(i, 11) for i in range(1, 12)]
    assert (result.end_to_end, result.efficiency, result.accuracy) == (None, None, None)
    assert (result.efficiency_least, [item.calls for item in result.rounds]) == (None, [3, 3])
    assert result.tiles_per_s == pytest.approx(sum(item.tiles_per_s for item in result.rounds) / 2)


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
    result = timed(opened, self_test=False)
    assert result.golden_agreement == 0.75
    assert result.self_test == SKIPPED
    assert result.first_tile_s > 0


def test_a_scene_that_does_not_fit_is_refused(
    tiny_bundle: Path, write_aerial: Callable[..., Path], tmp_path: Path
) -> None:
    image = np.zeros((3, 9, 9), dtype=np.uint8)
    write_aerial(tmp_path / "aerial.tif", image, bands=())
    with pytest.raises(DataError, match="sentinel2 is not there"):
        timed(open_bundle(tiny_bundle), scene=tmp_path)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_batch_of_the_golden_tile_is_timed(tiny_bundle: Path, backend: Backend) -> None:
    plan = BenchPlan(warmup=0, repeats=2)
    result = timed(open_bundle(tiny_bundle), plan, backend=backend, batch=3)
    assert (result.batch, result.golden_agreement) == (3, 1.0)
    assert result.mpx_per_s == pytest.approx(result.tiles_per_s * 64 * 64 / 1e6)


def test_a_scene_is_mapped_in_batches(tiny_bundle: Path, tiny_scene: Path) -> None:
    plan = BenchPlan(warmup=0, repeats=1)
    result = timed(open_bundle(tiny_bundle), plan, batch=2, scene=tiny_scene)
    assert result.end_to_end is not None
    assert result.end_to_end.tiles_per_call == 2
    assert result.rounds[0].calls == -(-result.end_to_end.tiles // 2)
    assert result.efficiency is not None


@pytest.mark.parametrize(("warmup", "repeats", "rounds"), [(-1, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_a_plan_that_measures_nothing_is_refused(warmup: int, repeats: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="expected >= 1, 1, 0"):
        BenchPlan(warmup=warmup, repeats=repeats, rounds=rounds)


@dataclasses.dataclass
class OnDevice(TileModel):
    """A model that says what it did on a device: 2 ms up, 5 ms of work and 1 ms down per run.

    Many runs in a row take no time here, so that it shows where they are counted.
    """

    def run(self, feed: Any) -> Any:
        time.sleep(0.02)
        return self.noted(feed)

    def run_many(self, feeds: Any) -> Any:
        return map(self.noted, feeds)

    def noted(self, feed: Any) -> Any:
        for name, took in {"upload": 2.0, "fusion": 5.0, "download": 1.0}.items():
            self.stage_ms[name] = self.stage_ms.get(name, 0.0) + took
        return super().run(feed)


def test_what_a_device_does_is_told_apart_and_calls_in_a_row_are_its_throughput(
    tiny_bundle: Path, tiny_scene: Path
) -> None:
    bundle = open_bundle(tiny_bundle)
    plain_model = open_best(bundle, RunRequest(backend="onnxruntime", threads=1)).model
    assert isinstance(plain_model, TileModel)
    model = OnDevice(parts=plain_model.parts, sessions=plain_model.sessions)
    model.run(golden_feed(bundle)[0])  # such as a self-test
    choice = BackendChoice(
        name="tensorrt-rtx",
        reason="a test",
        device="Ada (8.9)",
        passed_over=(PassedOver(name="tensorrt", reason="tensorrt is not installed"),),
    )
    opened = Opened(model, choice, SelfTest(agreement=1.0, seconds=0.25), 1.5)
    result = bench(bundle, opened, PLAN, scene=tiny_scene)
    each = {"upload": 2.0, "fusion": 5.0, "download": 1.0}
    assert result.device_ms == pytest.approx(each)
    assert (result.load_s, result.first_tile_s, result.device) == (1.5, 0.25, "Ada (8.9)")
    assert result.latency_ms.mean > 20
    assert 1e3 / result.tiles_per_s < 20
    assert result.passed_over == {"tensorrt": "tensorrt is not installed"}
    report = result.end_to_end
    assert report is not None
    assert report.device_ms == pytest.approx(each)
    assert report.passed_over == result.passed_over
    assert (report.backend, report.device) == ("tensorrt-rtx", "Ada (8.9)")


def report(*, wall_s: float, tiles: int = 11) -> Report:
    latency = Latency(mean=80.0, p50=80.0, p90=80.0, p95=80.0, p99=80.0)
    return Report(
        segx_version="",
        bundle=None,  # type: ignore[arg-type]
        backend="",
        device="",
        precision="",
        wall_s=wall_s,
        cold_start_s=2.0,
        stages_s={},
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


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Function that scripts what is measured, and gives what was, in order."""

    def script(reports: list[Report], rates: list[float]) -> list[str]:
        order: list[str] = []

        def end_to_end(*arguments: Any) -> Report:
            order.append("end to end")
            return reports.pop(0)

        def model_alone(model: Any, feed: Any, calls: int, on_step: Any) -> float:
            order.append(f"{calls} calls")
            return rates.pop(0)

        monkeypatch.setattr(bench_rounds, "_end_to_end", end_to_end)
        monkeypatch.setattr(bench_rounds, "_model_alone", model_alone)
        return order

    return script


def test_rounds_take_turns_and_the_median_and_the_least_count(
    scripted: Callable[..., list[str]], tiny_bundle: Path, tmp_path: Path
) -> None:
    plan = BenchPlan(warmup=0, repeats=4, rounds=3)
    # 10 tiles in 1, 2 and 4 s after the first one.
    order = scripted([report(wall_s=wall) for wall in (6.0, 3.0, 4.0)], [5.0, 12.5, 10.0])
    result = timed(open_bundle(tiny_bundle), plan, scene=tmp_path)
    assert order == ["end to end", "11 calls"] * 3
    assert [item.efficiency for item in result.rounds] == [0.5, 0.8, 0.5]
    assert (result.efficiency, result.efficiency_least) == (0.5, 0.5)
    assert result.tiles_per_s == 10.0
    assert result.end_to_end is not None
    assert (result.end_to_end.wall_s, result.end_to_end.efficiency) == (4.0, 0.5)


@pytest.mark.parametrize(
    ("tiles", "batch", "calls"), [(1, 1, 4), (11, 1, 11), (11, 2, 6), (11, 3, 4)]
)
def test_the_model_alone_runs_as_many_tiles_or_as_often_as_asked_for(
    tiles: int,
    batch: int,
    calls: int,
    scripted: Callable[..., list[str]],
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    order = scripted([report(wall_s=3.0, tiles=tiles)], [5.0])
    plan = BenchPlan(warmup=0, repeats=4)
    result = timed(open_bundle(tiny_bundle), plan, batch=batch, scene=tmp_path)
    assert order == ["end to end", f"{calls} calls"]
    assert (result.efficiency is None) == (result.efficiency_least is None) == (tiles == 1)
    assert result.rounds[0].end_to_end_wall_s == 3.0


@pytest.mark.parametrize(
    ("walls", "expected"), [((3.0, 1.0, 2.0), 2.0), ((4.0, 1.0, 3.0, 2.0), 2.0), ((5.0,), 5.0)]
)
def test_the_run_of_median_wall_time_is_shown(walls: tuple[float, ...], expected: float) -> None:
    found = of_median_wall([report(wall_s=wall) for wall in walls])
    assert found is not None
    assert found.wall_s == expected
    assert of_median_wall([]) is None
