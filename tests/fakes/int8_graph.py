"""A graph of two convolutions in INT8, as an export writes it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.manifest import PartSpec, Precision, TensorSpec

SHAPE = (1, 8, 12, 10)
QUANTIZED = """
<ir_version: 10, opset_import: ["" : 20]>
made (float[N,8,12,10] x) => (float[N,8,12,10] out) {
    half = Cast <to = 10> (x)
    xq = QuantizeLinear (half, sx, zero)
    xd = DequantizeLinear (xq, sx, zero)
    w1d = DequantizeLinear <axis = 0> (w1, sw, zeros)
    first = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (xd, w1d, b1)
    positive = Relu (first)
    rq = QuantizeLinear (positive, sr, zero)
    rd = DequantizeLinear (rq, sr, zero)
    w2d = DequantizeLinear <axis = 0> (w2, sw, zeros)
    second = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (rd, w2d, b2)
    out = Cast <to = 1> (second)
}
"""


def quantized_weights() -> dict[str, NDArray[Any]]:
    """Draw its weights, the same each time."""
    rng = np.random.default_rng(4)
    found: dict[str, NDArray[Any]] = {
        # The biases over the product of the scales lie beyond FP16.
        "b1": rng.uniform(4, 8, 8).astype(np.float16),
        "b2": rng.uniform(4, 8, 8).astype(np.float16),
        "sw": rng.uniform(5e-4, 1e-3, 8).astype(np.float16),
        "zeros": np.zeros(8, dtype=np.int8),
        # Processors without VNNI add two products in 16 bits, where larger ones saturate.
        "w1": rng.integers(-64, 65, (8, 8, 3, 3), dtype=np.int8),
        "w2": rng.integers(-64, 65, (8, 8, 3, 3), dtype=np.int8),
    }
    scalars = {"sx": np.float16(0.03), "sr": np.float16(0.08), "zero": np.int8(0)}
    return {**found, **{name: np.asarray(value) for name, value in scalars.items()}}


def write_quantized(path: Path, **changed: NDArray[Any]) -> Path:
    """Write it, with other weights where some are given by name."""
    model = onnx.parser.parse_model(QUANTIZED)
    for name, values in {**quantized_weights(), **changed}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


def quantized_part(precision: Precision = "int8") -> PartSpec:
    """Say of it what a manifest would."""
    shape = ("N", *SHAPE[1:])
    return PartSpec(
        name="made",
        role="aerial",
        file="made.onnx",
        precision=precision,
        inputs=(TensorSpec(name="x", dtype="float32", shape=shape),),
        outputs=(TensorSpec(name="out", dtype="float32", shape=shape),),
    )
