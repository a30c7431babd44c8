"""Whatever a stranger's graph looks like, on the bundle's inputs it gives what its owner gets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch.nn import functional

from exporter.importing.declaration import Output, SatelliteInput
from exporter.importing.split import split
from exporter.to_onnx import OPSET
from runtime.manifest import TensorSpec
from runtime.satellite import BANDS

from .conftest import SIDE, Prepared, declare, graph, per_pixel, run_graph, weights

Prepare = Callable[..., Prepared]
Arrays = dict[str, NDArray[Any]]

SERIES = 20


def tiles(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)


def test_a_composite_is_the_mean_of_the_months_that_hold_a_date(prepare: Prepare) -> None:
    model = graph(
        [
            ("Conv", ("image", "w"), "maps", {}),
            ("ReduceMean", ("composite",), "mean", {"axes": [2, 3], "keepdims": 1}),
            ("Conv", ("mean", "v"), "bias", {}),
            ("Add", ("maps", "bias"), "out", {}),
        ],
        {"w": weights(0, 3, 3, 1, 1), "v": weights(1, 3, 10, 1, 1)},
        inputs={"image": ("N", 3, SIDE, SIDE), "composite": ("N", 10, SERIES, SERIES)},
    )
    satellite = SatelliteInput(input="composite", window=SERIES, layout="NBhw", scale=100.0)
    aerial = replace(declare().aerial, input="image")
    made = prepare(model, declare(aerial=aerial, satellite=satellite))
    mask = np.zeros((1, 12), dtype=np.float32)
    mask[0, [1, 6, 7]] = 1.0
    series = np.random.default_rng(1).random((1, 12, len(BANDS), SERIES, SERIES), dtype=np.float32)
    feed: Arrays = {"aerial": tiles(1), "satellite": series * mask[:, :, None, None, None]}
    feed |= {"date_mask": mask, "days": np.zeros((1, 12), dtype=np.float32)}
    mean = 100.0 * series[0, [1, 6, 7]].mean(axis=(0, 2, 3))
    bias = weights(1, 3, 10) @ mean
    logits = np.einsum("kc,nchw->nkhw", weights(0, 3, 3), feed["aerial"]) + bias[:, None, None]
    found = made.maps(feed)
    expected = torch.tensor(logits).softmax(dim=1)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-4)


SOFTMAX = ("Softmax", ("scores",), "shares", {"axis": 1})
ENDINGS: dict[str, tuple[Any, ...]] = {
    "logits": (("Identity", ("scores",), "out", {}),),
    "probabilities": (("Softmax", ("scores",), "out", {"axis": -3}),),
    "probabilities in steps": (
        SOFTMAX,
        ("Mul", ("shares", "one"), "out", {}),
    ),
    "classes": (
        ("ArgMax", ("scores",), "index", {"axis": 1, "keepdims": 0}),
        ("Cast", ("index",), "out", {"to": TensorProto.UINT8}),
    ),
    "classes of probabilities": (
        SOFTMAX,
        ("ArgMax", ("shares",), "out", {"axis": 1}),
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_of_a_graph_gives_the_same_maps(ending: str, prepare: Prepare) -> None:
    kinds = {"classes": TensorProto.UINT8, "classes of probabilities": TensorProto.INT64}
    ranks = {"classes": 3}
    one = {"one": np.array(1.0, dtype=np.float32)}
    used = one if "steps" in ending else {}
    model = per_pixel(
        *ENDINGS[ending],
        constants=used,
        kinds={"out": kinds.get(ending, TensorProto.FLOAT)},
        rank=ranks.get(ending, 4),
    )
    kind = ending.partition(" ")[0]
    made = prepare(model, declare(output=Output(kind=kind)))  # type: ignore[arg-type]
    pixels = tiles(1)
    found = made.maps({"aerial": pixels})
    logits = np.einsum("kc,nchw->nkhw", weights(0, 3, 3), pixels) + weights(1, 3)[:, None, None]
    expected = torch.tensor(logits).softmax(dim=1).numpy()
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-5)
    assert (found["classes"] == logits.argmax(axis=1)).mean() > 0.9999
    steps = np.rint(254 * expected.max(axis=1)).astype(int)
    assert abs(steps - found["confidence"]).max() <= 1
    owned = made.original.run({"aerial": pixels})
    np.testing.assert_allclose(owned["probabilities"], expected, atol=2e-5)


def test_channels_may_come_last_and_pixels_as_they_are_stored(prepare: Prepare) -> None:
    nodes = [
        ("Cast", ("image",), "numbers", {"to": TensorProto.FLOAT}),
        ("MatMul", ("numbers", "w"), "out", {}),
    ]
    model = graph(
        nodes,
        {"w": weights(0, 3, 3)},
        inputs={"image": (1, SIDE, SIDE, 3)},
        kinds={"image": TensorProto.UINT8},
    )
    aerial = replace(declare().aerial, layout="NHWC")
    made = prepare(model, declare(aerial=aerial, output=Output(kind="logits", layout="NHWC")))
    pixels = tiles(2)
    logits = np.einsum("ck,nchw->nkhw", weights(0, 3, 3), pixels)
    found = made.maps({"aerial": pixels})
    assert (found["classes"] == logits.argmax(axis=1)).mean() > 0.9999
    nodes_of = made.settled.model.graph.node
    assert [node.op_type for node in nodes_of if "aerial" in node.input] == ["Cast"]


def test_a_batch_of_one_is_made_free_where_that_holds(prepare: Prepare) -> None:
    flat = np.array([1, 3, SIDE * SIDE], dtype=np.int64)
    back = np.array([1, 3, SIDE, SIDE], dtype=np.int64)
    model = per_pixel(
        ("Reshape", ("scores", "flat"), "row", {}),
        ("Mul", ("row", "half"), "scaled", {}),
        ("Reshape", ("scaled", "back"), "out", {}),
        constants={"flat": flat, "back": back, "half": np.array(0.5, dtype=np.float32)},
        inputs={"image": (1, 3, SIDE, SIDE)},
    )
    made = prepare(model, declare())
    assert "made for a batch of 1; reshapes follow the batch now" in made.settled.notes
    pixels = tiles(2)
    both = made.maps({"aerial": pixels})
    alone = made.maps({"aerial": pixels[1:]})
    np.testing.assert_array_equal(both["classes"][1:], alone["classes"])


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_small_scores_are_enlarged_between_pixel_centres(kind: Any, prepare: Prepare) -> None:
    last = "Identity" if kind == "logits" else "Softmax"
    model = graph(
        [
            ("Conv", ("image", "w"), "low", {"strides": [4, 4]}),
            (last, ("low",), "out", {} if kind == "logits" else {"axis": 1}),
        ],
        {"w": weights(0, 3, 3, 4, 4)},
    )
    made = prepare(model, declare(output=Output(kind=kind)))
    pixels = tiles(1)
    with torch.no_grad():
        low = functional.conv2d(
            torch.tensor(pixels).float(), torch.tensor(weights(0, 3, 3, 4, 4)), stride=4
        )
        logits = functional.interpolate(low, size=(SIDE, SIDE), mode="bilinear")
    found = made.maps({"aerial": pixels})
    assert (found["classes"] == logits.argmax(dim=1).numpy()).mean() > 0.999
    expected = logits.softmax(dim=1)
    owned = made.original.run({"aerial": pixels})
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-4)
    np.testing.assert_allclose(owned["probabilities"], expected, atol=2e-4)


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20])
def test_other_operator_sets_are_brought_to_one(opset: int, prepare: Prepare) -> None:
    pixels = tiles(1)
    made = prepare(per_pixel(opset=opset), declare())
    opsets = made.settled.model.opset_import
    assert [(item.domain, item.version) for item in opsets] == [("", OPSET)]
    logits = np.einsum("kc,nchw->nkhw", weights(0, 3, 3), pixels) + weights(1, 3)[:, None, None]
    found = made.maps({"aerial": pixels})
    assert (found["classes"] == logits.argmax(axis=1)).mean() > 0.9999


def test_weights_beside_the_graph_are_read(prepare: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "beside.onnx"
    onnx.save(
        per_pixel(), path, save_as_external_data=True, location="beside.bin", size_threshold=0
    )
    apart = prepare(path, declare()).maps({"aerial": tiles(1)})
    inside = prepare(per_pixel(), declare()).maps({"aerial": tiles(1)})
    np.testing.assert_array_equal(apart["probabilities"], inside["probabilities"])


def test_other_outputs_and_what_leads_to_them_are_left_out(prepare: Prepare) -> None:
    model = per_pixel(
        ("Identity", ("scores",), "out", {}),
        ("Sigmoid", ("scores",), "auxiliary", {}),
        outputs=("auxiliary", "out"),
    )
    made = prepare(model, declare(output=Output(kind="logits", output="out")))
    assert "Sigmoid" not in {node.op_type for node in made.settled.model.graph.node}


def meeting(*, by_days: bool) -> onnx.ModelProto:
    """Bands of the series give a factor for the maps of the image; so may the days themselves."""
    nodes: list[Any] = [
        ("Conv", ("image", "w"), "maps", {}),
        ("ReduceMean", ("series",), "mean", {"axes": [1, 3, 4], "keepdims": 0}),
        ("Gemm", ("mean", "c"), "factors", {}),
        ("Unsqueeze", ("factors", "sides"), "spread", {}),
        ("Mul", ("maps", "spread"), "met" if by_days else "out", {}),
    ]
    constants: dict[str, NDArray[Any]] = {
        "w": weights(0, 3, 3, 1, 1),
        "c": weights(1, 10, 3),
        "sides": np.array([2, 3], dtype=np.int64),
    }
    inputs: dict[str, Any] = {
        "image": ("N", 3, SIDE, SIDE),
        "series": ("N", 12, 10, SERIES, SERIES),
    }
    if by_days:
        nodes += [
            ("Mul", ("days", "two"), "doubled", {}),
            ("ReduceSum", ("doubled", "months"), "sum", {"keepdims": 1}),
            ("Shape", ("maps",), "sizes", {}),
            ("Slice", ("sizes", "zero", "one"), "batch", {}),
            ("Concat", ("batch", "rest"), "target", {"axis": 0}),
            ("Reshape", ("sum", "target"), "whole", {}),
            ("Cast", ("whole",), "number", {"to": TensorProto.FLOAT}),
            ("Add", ("met", "number"), "out", {}),
        ]
        inputs["days"] = ("N", 12)
        constants |= {
            "two": np.array(2, dtype=np.int64),
            "months": np.array([1], dtype=np.int64),
            "zero": np.array([0], dtype=np.int64),
            "one": np.array([1], dtype=np.int64),
            "rest": np.array([1, 1, 1], dtype=np.int64),
        }
    return graph(nodes, constants, inputs=inputs, kinds={"days": TensorProto.INT64})


@pytest.mark.parametrize("by_days", [False, True])
def test_the_pieces_of_a_graph_give_what_the_whole_gives(by_days: bool, prepare: Prepare) -> None:
    satellite = SatelliteInput(input="series", window=SERIES, days="days" if by_days else "")
    aerial = replace(declare().aerial, input="image")
    made = prepare(meeting(by_days=by_days), declare(aerial=aerial, satellite=satellite))
    scores = TensorSpec(name="fused_logits", dtype="float32", shape=("N", 3, SIDE, SIDE))
    pieces = split(made.settled.model, scores)
    assert [piece.spec.role for piece in pieces] == ["aerial", "satellite", "fusion"]
    feed: Arrays = {
        "aerial": tiles(2),
        "satellite": np.random.default_rng(0).random((2, 12, 10, SERIES, SERIES), np.float32),
        "days": np.tile(np.arange(12, dtype=np.float32), (2, 1)),
    }
    (expected,) = run_graph(made.settled.model, feed)
    owned = made.original.scores({name: array[:1] for name, array in feed.items()})
    np.testing.assert_allclose(owned, expected[:1], rtol=1e-4, atol=1e-4)
    for piece in pieces:
        found = run_graph(piece.model, feed)
        feed.update(zip((spec.name for spec in piece.spec.outputs), found, strict=True))
    np.testing.assert_allclose(feed["fused_logits"], expected, rtol=1e-5, atol=1e-5)


def test_a_graph_that_cannot_be_split_stays_whole(prepare: Prepare) -> None:
    integers = {"to": TensorProto.INT64}
    model = graph(
        [
            ("Conv", ("image", "w"), "maps", {}),
            ("ReduceMean", ("series",), "mean", {"axes": [1, 2, 3, 4], "keepdims": 1}),
            ("Squeeze", ("mean", "first"), "bias", {}),
            ("Add", ("maps", "bias"), "moved", {}),
            ("Cast", ("moved",), "whole numbers", integers),
            ("ReduceSum", ("days", "first"), "sum", {"keepdims": 1}),
            ("Unsqueeze", ("sum", "sides"), "spread", {}),
            ("Add", ("whole numbers", "spread"), "added", {}),
            ("Cast", ("added",), "out", {"to": TensorProto.FLOAT}),
        ],
        {
            "w": weights(0, 3, 3, 1, 1),
            "first": np.array([1], dtype=np.int64),
            "sides": np.array([2, 3], dtype=np.int64),
        },
        inputs={
            "image": ("N", 3, SIDE, SIDE),
            "series": ("N", 12, 10, SERIES, SERIES),
            "days": ("N", 12),
        },
        kinds={"days": TensorProto.INT64},
    )
    satellite = SatelliteInput(input="series", window=SERIES, days="days")
    aerial = replace(declare().aerial, input="image")
    made = prepare(model, declare(aerial=aerial, satellite=satellite))
    scores = TensorSpec(name="fused_logits", dtype="float32", shape=("N", 3, SIDE, SIDE))
    (piece,) = split(made.settled.model, scores)
    assert (piece.spec.role, piece.spec.name) == ("fusion", "merged")
    assert {item.name for item in piece.spec.inputs} == {"aerial", "satellite", "days"}


def test_an_input_that_leads_nowhere_is_left_out(prepare: Prepare) -> None:
    model = meeting(by_days=False)
    spare = helper.make_tensor_value_info("days", TensorProto.INT64, ("N", 12))
    model.graph.input.append(spare)
    satellite = SatelliteInput(input="series", window=SERIES, days="days")
    aerial = replace(declare().aerial, input="image")
    made = prepare(model, declare(aerial=aerial, satellite=satellite))
    taken = {value.name for value in made.settled.model.graph.input}
    assert taken == {"aerial", "satellite"}
    series = np.random.default_rng(0).random((1, 12, 10, SERIES, SERIES), np.float32)
    feed: Arrays = {"aerial": tiles(1), "satellite": series}
    (expected,) = run_graph(made.settled.model, feed)
    np.testing.assert_allclose(made.original.scores(feed), expected, rtol=1e-4, atol=1e-4)
