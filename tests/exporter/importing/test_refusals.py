"""What no bundle can hold is refused in one line, and nothing is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.importing import Declaration, import_onnx
from exporter.importing.declaration import Output, SatelliteInput
from runtime.errors import SegxError

from .conftest import OPTIONS, SIDE, declare, graph, per_pixel, weights

Refuse = Callable[..., str]


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """Function that gives the message of an import that must fail."""

    def run(model: onnx.ModelProto | bytes | None, declaration: Declaration | None = None) -> str:
        source, out = tmp_path / "stranger.onnx", tmp_path / "bundles" / "stranger.segx"
        if isinstance(model, onnx.ModelProto):
            onnx.save(model, source)
        elif model is not None:
            source.write_bytes(model)
        with pytest.raises(SegxError) as found:
            import_onnx(source, declaration or declare(), out, OPTIONS)
        assert not out.parent.exists() or not list(out.parent.iterdir())
        message = str(found.value)
        assert "\n" not in message
        assert "expected" in message or "correct the declaration" in message
        return message

    return run


def test_files_that_are_no_onnx(refuse: Refuse) -> None:
    whole = per_pixel().SerializeToString()
    assert "there is no file" in refuse(None)
    assert "holds no graph" in refuse(b"")
    assert "cannot be read as ONNX" in refuse(whole[: len(whole) // 2])
    assert "cannot be read as ONNX" in refuse(b"PK\x03\x04" + bytes(100))
    assert "cannot be read as ONNX" in refuse(b"a text that says nothing of the kind\n" * 10)


def quantised() -> onnx.ModelProto:
    model = per_pixel(("Identity", ("scores",), "out", {}))
    zero = helper.make_node("QuantizeLinear", ["scores", "b"], ["levels"], name="q")
    model.graph.node.append(zero)
    return model


def branching() -> onnx.ModelProto:
    model = per_pixel()
    inner = helper.make_graph([], "inner", [], [])
    condition = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    model.graph.initializer.append(condition)
    node = helper.make_node("If", ["yes"], ["x"], then_branch=inner, else_branch=inner, name="if")
    model.graph.node.append(node)
    return model


def foreign() -> onnx.ModelProto:
    model = per_pixel(("Identity", ("scores",), "out", {}))
    model.graph.node[1].domain = "com.example"
    model.graph.node[1].op_type = "Secret"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


def halved() -> onnx.ModelProto:
    half = {"image": TensorProto.FLOAT16, "out": TensorProto.FLOAT16}
    constants = {"w": weights(0, 3, 3, 1, 1).astype(np.float16)}
    return graph([("Conv", ("image", "w"), "out", {})], constants, kinds=half)


def invalid() -> onnx.ModelProto:
    model = per_pixel()
    model.graph.node[0].input[0] = "nobody"
    return model


GRAPHS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "quantised": (quantised, "QuantizeLinear, so it is quantised already"),
    "a branch": (branching, "the operator If (if)"),
    "a foreign operator": (foreign, "the operator com.example.Secret"),
    "half precision": (halved, "weights in FP16"),
    "an unknown value": (invalid, "is not valid ONNX"),
    "an old operator set": (lambda: per_pixel(opset=5), "of operator set 5"),
    "random numbers": (
        lambda: per_pixel(
            ("RandomNormalLike", ("scores",), "noise", {}), ("Add", ("scores", "noise"), "out", {})
        ),
        "the operator RandomNormalLike",
    ),
    "another number of channels": (
        lambda: per_pixel(inputs={"image": ("N", 4, SIDE, SIDE)}),
        f"'image' has sizes ? x 4 x {SIDE} x {SIDE}; expected 1 x 3 x {SIDE} x {SIDE} (NCHW)",
    ),
    "another tile": (lambda: per_pixel(inputs={"image": (1, 3, 64, 64)}), "has sizes 1 x 3 x 64"),
    "a batch of four": (lambda: per_pixel(inputs={"image": (4, 3, SIDE, SIDE)}), "sizes 4 x 3"),
    "no image": (lambda: per_pixel(inputs={"image": (1, 3)}), "has sizes 1 x 3; expected"),
    "two inputs": (
        lambda: per_pixel(
            ("Add", ("scores", "other"), "out", {}),
            inputs={"image": ("N", 3, SIDE, SIDE), "other": ("N", 3, SIDE, SIDE)},
        ),
        "aerial.input is not given, and the graph takes image, other",
    ),
    "numbers of 64 bits": (
        lambda: per_pixel(
            ("Identity", ("scores",), "out", {}), kinds={"image": TensorProto.DOUBLE}
        ),
        "takes double; expected float or uint8",
    ),
    "scores without rows": (
        lambda: per_pixel(("ReduceMean", ("scores",), "out", {"axes": [2, 3], "keepdims": 0})),
        "expected four axes",
    ),
    "tiles that are mixed": (
        lambda: per_pixel(
            ("ReduceSum", ("scores", "batch"), "sum", {"keepdims": 1}),
            ("Add", ("scores", "sum"), "out", {}),
            constants={"batch": np.array([0], dtype=np.int64)},
        ),
        "other numbers for a batch of 2 than for each tile alone",
    ),
    "a batch that is fixed inside": (
        lambda: per_pixel(
            ("Expand", ("one", "shape"), "ones", {}),
            ("Concat", ("scores", "ones"), "out", {"axis": 1}),
            constants={
                "one": np.ones((1, 1, 1, 1), dtype=np.float32),
                "shape": np.array([1, 1, SIDE, SIDE], dtype=np.int64),
            },
        ),
        "works for a batch of 1 only",
    ),
    "a value beyond all measure": (
        lambda: per_pixel(
            ("Expand", ("scores", "wide"), "huge", {}),
            ("ReduceMean", ("huge",), "out", {"axes": [0], "keepdims": 0}),
            constants={"wide": np.array([1 << 20, 1, 3, SIDE, SIDE], dtype=np.int64)},
        ),
        "'model/huge' has sizes",
    ),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_graphs_that_no_bundle_can_hold(case: str, refuse: Refuse) -> None:
    make, message = GRAPHS[case]
    assert message in refuse(make())


DECLARED: dict[str, tuple[Declaration, str]] = {
    "another output": (
        declare(output=Output(kind="logits", output="map")),
        "output.output is 'map', and the graph gives out",
    ),
    "classes without an ArgMax": (
        declare(output=Output(kind="classes")),
        "the classes 'out' come from Conv; expected an ArgMax",
    ),
    "probabilities that are none": (
        declare(output=Output(kind="probabilities")),
        'output.kind is "probabilities", and the graph gives numbers from',
    ),
    "more classes": (declare(4), "the graph tells 3 classes apart, and 4 are declared"),
    "fewer classes": (declare(2), "the graph tells 3 classes apart, and 2 are declared"),
    "another input": (
        declare(aerial=replace(declare().aerial, input="pixels")),
        "'pixels' is declared as aerial, and the graph takes image",
    ),
    "a series that is not there": (
        declare(satellite=SatelliteInput(input="series")),
        "'series' is declared as satellite, and the graph takes image",
    ),
    "another layout": (
        declare(aerial=replace(declare().aerial, layout="NHWC")),
        f"expected 1 x {SIDE} x {SIDE} x 3 (NHWC)",
    ),
}


@pytest.mark.parametrize("case", DECLARED)
def test_declarations_that_do_not_fit_the_graph(case: str, refuse: Refuse) -> None:
    declaration, message = DECLARED[case]
    assert message in refuse(per_pixel(), declaration)


def test_probabilities_that_are_called_logits(refuse: Refuse) -> None:
    model = per_pixel(("Softmax", ("scores",), "out", {"axis": 1}))
    assert 'output.kind is "logits", and the graph gives' in refuse(model)


def outside(location: str, **more: Any) -> onnx.ModelProto:
    model = per_pixel()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "a/b.bin", "", "..\\weights.bin", "link.bin"]
)
def test_weights_outside_the_folder(location: str, refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    assert "is no plain file beside it" in refuse(outside(location))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"offset": 8, "length": 36}, "wants bytes 8 to 44 of w.bin, which has 40"),
        ({"offset": -4, "length": 4}, "a place in w.bin that is no number"),
        ({"offset": "here"}, "a place in w.bin that is no number"),
        ({"length": 1 << 62}, "wants bytes 0 to"),
        ({"length": 8}, ""),
    ],
)
def test_weights_that_are_not_in_their_file(
    more: dict[str, Any], message: str, refuse: Refuse, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(40))
    assert message in refuse(outside("w.bin", **more))


def test_weights_that_are_missing(refuse: Refuse) -> None:
    assert "w.bin is missing" in refuse(outside("w.bin"))


def test_files_beyond_what_a_message_can_hold(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.importing.read.LARGEST", 100)
    assert "GiB; expected at most" in refuse(per_pixel())
