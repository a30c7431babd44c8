import subprocess
import sys
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from exporter.ranges import (
    Feed,
    TensorPeak,
    TensorRange,
    measure_ranges,
    range_report,
    unite,
)


def make(signature: str, body: str, **weights: NDArray[Any] | np.generic) -> ModelProto:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g {signature} {{{body}}}'
    )
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return model


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = make(
        "(float[N,4] x, uint8[N,4] u) => (float[N,4] y, int64[N] i)",
        "v = Cast <to = 1> (u) s = Mul (x, w) a = Add (s, v) r = Relu (a)"
        " t = Transpose <perm = [1, 0]> (r) q = Reshape (t, shape) y = Sub (q, one)"
        " i = ArgMax <axis = 1, keepdims = 0> (y)",
        w=np.array([1, -2, 3, 0.5], dtype=np.float32),
        one=np.float32(1),
        shape=np.array([-1, 4]),
    )
    path = tmp_path_factory.mktemp("ranges") / "chain.onnx"
    onnx.save(model, path)
    return path


FEEDS = st.fixed_dictionaries(
    {
        "x": arrays.arrays(np.float32, (1, 4), elements=st.floats(-1e6, 1e6, width=32)),
        "u": arrays.arrays(np.uint8, (1, 4)),
    }
)


def numbers(feed: Feed) -> dict[str, NDArray[np.float32]]:
    x, v = feed["x"], feed["u"].astype(np.float32)
    s = x * np.array([1, -2, 3, 0.5], dtype=np.float32)
    r = np.maximum(s + v, 0)
    return {"x": x, "v": v, "s": s, "a": s + v, "r": r, "t": r, "q": r, "y": r - np.float32(1)}


@settings(max_examples=20, deadline=None)
@given(feeds=st.lists(FEEDS, min_size=1, max_size=4))
def test_every_floating_tensor_has_the_range_of_its_numbers_on_all_feeds(
    chain: Path, feeds: list[dict[str, NDArray[Any]]]
) -> None:
    found = measure_ranges(chain, feeds)
    seen = [numbers(feed) for feed in feeds]
    assert list(found) == list(seen[0])
    for name, item in found.items():
        values = [one[name].astype(np.float64) for one in seen]
        assert item.low == min(value.min() for value in values)
        assert item.high == max(value.max() for value in values)
        means = [np.abs(value).mean() for value in values if value.any()]
        assert item.smallest == pytest.approx(min(means, default=0.0), rel=1e-5)
        assert item.nonfinite == 0
        assert item.magnitude == max(np.abs(value).max() for value in values)


@settings(max_examples=10, deadline=None)
@given(first=FEEDS, second=FEEDS)
def test_ranges_measured_apart_and_united_are_those_measured_together(
    chain: Path, first: dict[str, NDArray[Any]], second: dict[str, NDArray[Any]]
) -> None:
    apart = unite(measure_ranges(chain, [first]), measure_ranges(chain, [second]))
    assert apart == measure_ranges(chain, [first, second])


def test_feeds_with_nan_or_infinity_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.onnx"
    onnx.save(make("(float[2] x) => (float[2] y)", "l = Log (x) y = Neg (l)"), path)
    rows = [[1.0, 2.0], [0.0, 1.0], [-1.0, 1.0]]
    found = measure_ranges(path, ({"x": np.array(row, dtype=np.float32)} for row in rows))
    assert {name: item.nonfinite for name, item in found.items()} == {"x": 0, "l": 2, "y": 2}
    assert found["y"].high == np.inf
    assert found["l"].low == -np.inf
    assert not np.isnan([found["l"].high, found["y"].low]).any()


def test_no_feed_is_refused(chain: Path) -> None:
    with pytest.raises(ValueError, match="there are no feeds to measure ranges on"):
        measure_ranges(chain, [])


def test_feeds_are_let_go_one_by_one(chain: Path) -> None:
    alive: list[weakref.ref[NDArray[Any]]] = []
    most = 0

    def feeds() -> Iterator[Feed]:
        nonlocal most
        for value in range(20):
            x = np.full((1, 4), value, dtype=np.float32)
            alive.append(weakref.ref(x))
            most = max(most, sum(item() is not None for item in alive))
            yield {"x": x, "u": np.zeros((1, 4), dtype=np.uint8)}

    assert measure_ranges(chain, feeds())["x"].high == 19
    assert most <= 3


PEAK = """
import re, sys
from pathlib import Path
import numpy as np
from exporter.ranges import measure_ranges

def peak():
    # Not ru_maxrss, which a child inherits from the process that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

feed = {"x": np.ones((1 << 20,), dtype=np.float32)}
before = peak()
assert measure_ranges(Path(sys.argv[1]), (feed for _ in range(int(sys.argv[2]))))["y"].high > 1
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_grows_neither_with_the_depth_of_the_graph_nor_with_the_feeds(
    tmp_path: Path,
) -> None:
    depth, tensor_mib = 60, 4
    names = ["x", *(f"t{i}" for i in range(depth)), "y"]
    body = " ".join(f"{b} = Mul ({a}, w)" for a, b in pairwise(names))
    model = make("(float[M] x) => (float[M] y)", body, w=np.float32(1.01))
    onnx.save(model, tmp_path / "deep.onnx")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "deep.onnx"), "3"]
    peak = float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert peak < depth * tensor_mib / 2


def test_the_report_names_fp16_tensors_by_what_was_measured_worst_first() -> None:
    model = make(
        "(float[2] x) => (float[2] y)",
        "x_half = Cast <to = 10> (x) m = Mul (x_half, w) q = QuantizeLinear (m, s, z)"
        " d = DequantizeLinear (q, s, z) dw = DequantizeLinear (iw, s, z) odd = Add (d, dw)"
        " y_before = Neg (odd) y = Cast <to = 1> (y_before)",
        w=np.float16(3),
        s=np.float16(0.1),
        z=np.int8(0),
        iw=np.array([3, 4], dtype=np.int8),
    )

    def ranges(scale: float) -> dict[str, TensorRange]:
        highs = {"x": 2.0, "m": 6.0, "y": 5.0}
        return {
            name: TensorRange(low=-scale * high, high=high, smallest=1.0, nonfinite=0)
            for name, high in highs.items()
        }

    report = range_report(model, ranges(0.5), ranges(3.0), samples=2)
    assert report.peaks == (
        TensorPeak(tensor="d", on_data=6.0, on_stress=18.0),
        TensorPeak(tensor="m", on_data=6.0, on_stress=18.0),
        TensorPeak(tensor="y_before", on_data=5.0, on_stress=15.0),
        TensorPeak(tensor="x_half", on_data=2.0, on_stress=6.0),
    )
    assert report.unmeasured == ("odd",)
    assert report.worst == 18 / 65504
