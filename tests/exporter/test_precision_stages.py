"""What OpenVINO computes is compared with what the graph says."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import exporter.precision_stages
from exporter.parity import TOLERANCES, Agreement, Row, Stage
from exporter.precision_stages import LEAST_NOISE, MOST_NOISE, held_to, prove_executed
from exporter.proof import int8_layers, mac_shares
from exporter.workshop import ConvertedPart
from runtime.errors import BundleError
from runtime.manifest import PartSpec, TensorSpec
from runtime.openvino_session import OpenVinoSession

LAYERS, QUANTIZED = 10, 8


def graph() -> onnx.ModelProto:
    """Ten convolutions in a row, eight of which are quantised."""
    body, name = "", "x"
    for index in range(LAYERS):
        given, weights = name, "w"
        if index < QUANTIZED:
            body += (
                f"a{index} = QuantizeLinear ({name}, s) d{index} = DequantizeLinear (a{index}, s) "
            )
            body += f"v{index} = DequantizeLinear (q, s) "
            given, weights = f"d{index}", f"v{index}"
        name = "out" if index == LAYERS - 1 else f"c{index}"
        body += f"{name} = Conv <kernel_shape = [1, 1]> ({given}, {weights}) "
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> '
        f"g (float[N,8,6,10] x) => (float[N,8,6,10] out) {{{body}}}"
    )
    values: dict[str, NDArray[Any]] = {
        "q": np.arange(-32, 32, dtype=np.int8).reshape(8, 8, 1, 1),
        "w": np.eye(8, dtype=np.float32).reshape(8, 8, 1, 1),
        "s": np.asarray(np.float32(0.05)),
    }
    for key, array in values.items():
        model.graph.initializer.append(numpy_helper.from_array(array, key))
    return model


def part(folder: Path) -> ConvertedPart:
    path = folder / "made.onnx"
    onnx.save(graph(), path)
    shape = ("N", 8, 6, 10)
    return ConvertedPart(
        spec=PartSpec(
            name="made",
            role="aerial",
            file="made.onnx",
            precision="int8",
            inputs=(TensorSpec(name="x", dtype="float32", shape=shape),),
            outputs=(TensorSpec(name="out", dtype="float32", shape=shape),),
        ),
        path=path,
        emulation=path,
        kept={},
        shares=mac_shares(graph()),
        ranges=None,
        worker=None,
    )


@pytest.fixture(autouse=True)
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let INT8 be computed in INT8 whatever the processor."""
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: True)


def test_a_processor_whose_int8_sums_saturate_proves_nothing_and_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: False)
    monkeypatch.setattr("runtime.openvino_session._has_small_weights", lambda model: False)
    assert prove_executed([part(tmp_path)]) == {"made": {"fp32": LAYERS}}


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Function that sets what OpenVINO says of every part; gives the parts that were closed."""

    def use(**counts: int) -> list[str]:
        closed: list[str] = []

        class Session(OpenVinoSession):
            def computed(self) -> dict[str, int]:
                return counts

            def close(self) -> None:
                closed.append("made")
                super().close()

        monkeypatch.setattr(exporter.precision_stages, "OpenVinoSession", Session)
        return closed

    return use


def test_layers_count_as_int8_where_both_factors_are() -> None:
    assert int8_layers(graph()) == QUANTIZED / LAYERS


def test_openvino_runs_the_layers_in_int8_that_the_graph_has_so(tmp_path: Path) -> None:
    computed = prove_executed([part(tmp_path)])["made"]
    assert computed["int8"] == QUANTIZED
    assert sum(computed.values()) == LAYERS


@pytest.mark.parametrize("found", [4, 10])
def test_half_of_what_the_graph_has_in_int8_is_enough(
    tmp_path: Path, computing: Any, found: int
) -> None:
    closed = computing(int8=found, bf16=LAYERS - found)
    assert prove_executed([part(tmp_path)]) == {"made": {"int8": found, "bf16": LAYERS - found}}
    assert closed == ["made"]


def test_a_graph_of_int8_that_is_mostly_run_in_another_precision_is_refused(
    tmp_path: Path, computing: Any
) -> None:
    closed = computing(int8=3, bf16=7)
    message = (
        r"part 'made' has 80 % of its layers with weights in INT8, and OpenVINO runs 30 %; "
        r"expected at least 40 %; leave it in fp16"
    )
    with pytest.raises(BundleError, match=message):
        prove_executed([part(tmp_path)])
    assert closed == ["made"]


def test_a_session_is_closed_though_its_part_is_refused(tmp_path: Path, computing: Any) -> None:
    closed = computing(bf16=10)
    with pytest.raises(BundleError, match="runs with 10 in bf16"):
        prove_executed([part(tmp_path)])
    assert closed == ["made"]


def compared(mean_abs: float, *, scale: float = 1.0) -> Stage:
    """A stage in which the parts `aerial` and `fusion` have this mean difference."""
    agreement = Agreement(
        max_abs=mean_abs, mean_abs=mean_abs, cosine=1.0, argmax=1.0, scale=scale, step=0.0
    )
    rows = [Row(part=p, sample="a", agreement=agreement, misses=()) for p in ("aerial", "fusion")]
    return Stage(reference="x", candidate="y", tolerance=TOLERANCES["int8"], rows=tuple(rows))


@pytest.mark.parametrize(
    ("rounding", "found", "is_missed"),
    [
        (0.01, 0.99 * 0.01 * MOST_NOISE, False),
        (0.01, 1.01 * 0.01 * MOST_NOISE, True),
        (0.0, 0.99 * LEAST_NOISE, False),
        (0.0, 1.01 * LEAST_NOISE, True),
        (0.0, float("nan"), True),
    ],
)
def test_a_backend_may_differ_as_far_as_rounding_explains(
    rounding: float, found: float, is_missed: bool
) -> None:
    aerial, fusion = held_to(compared(rounding), compared(found), {"aerial"}).rows
    assert bool(aerial.misses) is is_missed
    assert not fusion.misses


def test_a_small_difference_is_small_by_the_size_of_the_numbers() -> None:
    found = compared(0.5, scale=200.0)
    assert held_to(compared(0.0, scale=200.0), found, {"aerial"}) == found
