import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from exporter.fold import fold_batch_norm

CONVOLUTION = "y = Conv <pads = [1, 1, 1, 1]> (x, w, b) out = BatchNormalization (y, s, o, m, v)"


def make(
    body: str, *, shape: str = "N,3,8,8", weights: dict[str, tuple[int, ...]]
) -> onnx.ModelProto:
    free = ",".join("NKPQ"[: shape.count(",") + 1])
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> '
        f"g (float[{shape}] x) => (float[{free}] out) {{{body}}}"
    )
    rng = np.random.default_rng(0)
    for name, size in weights.items():
        values = rng.random(size) + 0.5 if name in "sv" else rng.normal(size=size)
        tensor = onnx.numpy_helper.from_array(values.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    return model


def norm(channels: int) -> dict[str, tuple[int, ...]]:
    return dict.fromkeys("somv", (channels,))


def run(model: onnx.ModelProto, shape: tuple[int, ...]) -> NDArray[np.float32]:
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    result: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return result


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


CASES: dict[str, tuple[str, dict[str, tuple[int, ...]], int, list[str]]] = {
    "convolution with bias": (CONVOLUTION, {"w": (4, 3, 3, 3), "b": (4,)}, 4, ["Conv"]),
    "convolution without bias": (
        CONVOLUTION.replace("(x, w, b)", "(x, w)"),
        {"w": (4, 3, 3, 3)},
        4,
        ["Conv"],
    ),
    "transposed convolution": (
        "y = ConvTranspose <strides = [2, 2]> (x, w) out = BatchNormalization (y, s, o, m, v)",
        {"w": (3, 5, 2, 2)},
        5,
        ["ConvTranspose"],
    ),
    "grouped transposed convolution": (
        "y = ConvTranspose <group = 3> (x, w) out = BatchNormalization (y, s, o, m, v)",
        {"w": (3, 2, 2, 2)},
        6,
        ["ConvTranspose", "Mul", "Add"],
    ),
    "input": ("out = BatchNormalization <epsilon = 0.1> (x, s, o, m, v)", {}, 3, ["Mul", "Add"]),
    "value with another use": (
        "y = Conv <pads = [1, 1, 1, 1]> (x, w) z = BatchNormalization (y, s, o, m, v)"
        " out = Add (y, z)",
        {"w": (4, 3, 3, 3)},
        4,
        ["Conv", "Mul", "Add", "Add"],
    ),
    "two norms in a row": (
        "y = Conv (x, w) z = BatchNormalization (y, s, o, m, v)"
        " out = BatchNormalization (z, s, o, m, v)",
        {"w": (4, 3, 3, 3)},
        4,
        ["Conv"],
    ),
    "weights shared by two convolutions": (
        "y = Conv <pads = [1, 1, 1, 1]> (x, w) n = BatchNormalization (y, s, o, m, v)"
        " z = Conv <pads = [1, 1, 1, 1]> (n, w) out = Relu (z)",
        {"w": (3, 3, 3, 3)},
        3,
        ["Conv", "Conv", "Relu"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_folding_changes_no_result_and_leaves_no_batch_norm(name: str) -> None:
    body, weights, channels, expected = CASES[name]
    model = make(body, weights={**weights, **norm(channels)})
    before = run(model, (2, 3, 8, 8))
    fold_batch_norm(model)
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model) == expected
    np.testing.assert_allclose(run(model, (2, 3, 8, 8)), before, rtol=1e-4, atol=1e-5)


def test_a_norm_of_vectors_becomes_vectors() -> None:
    model = make("out = BatchNormalization (x, s, o, m, v)", shape="N,3", weights=norm(3))
    before = run(model, (4, 3))
    assert fold_batch_norm(model) == 0
    np.testing.assert_allclose(run(model, (4, 3)), before, rtol=1e-5, atol=1e-6)


def test_weights_that_nothing_uses_any_more_are_dropped() -> None:
    model = make(CONVOLUTION, weights={"w": (4, 3, 3, 3), "b": (4,), **norm(4)})
    assert fold_batch_norm(model) == 1
    assert len(model.graph.initializer) == 2
