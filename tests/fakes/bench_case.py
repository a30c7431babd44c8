"""Results of a bench that nobody had to wait for."""

import dataclasses
from typing import Any

from runtime.bench import BenchResult
from runtime.manifest import Accuracy
from runtime.report import BundleName, Latency, Report
from runtime.selftest import SelfTest

ACCURACY = Accuracy(
    dataset="flair2",
    split="val",
    patches=12,
    miou=0.6,
    accuracy=0.8,
    scored_classes=9,
    iou={},
    reference_miou=0.6,
)


def latency_of(ms: float) -> Latency:
    """Calls that all took as long."""
    return Latency(mean=ms, p50=ms, p90=ms, p95=ms, p99=ms)


def run_of(wall_s: float, pixels: int, outputs: tuple[str, ...] = ()) -> Report:
    """A run end to end."""
    return Report(
        segx_version="0.1.0",
        bundle=BundleName(name="tiny", sha256="0" * 64),
        backend="openvino",
        device="CPU",
        precision="fp32",
        wall_s=wall_s,
        cold_start_s=wall_s / 10,
        stages_s={"read": 1.0, "infer": 2.0},
        tiles=20,
        pixels=pixels,
        area_km2=1.0,
        mpx_per_s=pixels / wall_s / 1e6,
        km2_per_h=3600 / wall_s,
        peak_rss_mib=100.0,
        latency_ms=latency_of(10.0),
        satellite=None,
        outputs=outputs,
    )


def bench_result(
    *,
    p50: float = 10.0,
    wall_s: float = 10.0,
    pixels: int = 1_000_000,
    outputs: tuple[str, ...] = (),
    **changes: Any,
) -> BenchResult:
    """What one bundle took on one backend; `changes` are fields of the result."""
    result = BenchResult(
        bundle="tiny",
        sha256="0" * 64,
        backend="openvino",
        device="CPU",
        precision="fp32",
        verified=True,
        size_mib=1.0,
        load_s=1.0,
        first_tile_s=0.25,
        batch=1,
        latency_ms=latency_of(p50),
        calls_ms=(p50,) * 3,
        part_ms={"aerial": p50},
        device_ms=None,
        tiles_per_s=100.0,
        mpx_per_s=25.0,
        end_to_end=run_of(wall_s, pixels, outputs),
        efficiency=None,
        efficiency_least=None,
        rounds=(),
        golden_agreement=1.0,
        accuracy=None,
        peak_rss_mib=100.0,
        warmup=0,
        repeats=3,
        passed_over={},
        self_test=SelfTest(),
    )
    return dataclasses.replace(result, **changes)
