"""Small ONNX graphs that the fake engines are built from."""

from pathlib import Path
from typing import Any

import numpy as np

HALF = """
    <ir_version: 10, opset_import: ["" : 20]>
    part (uint8[N,3,8,8] pixels) => (float16[N,2,8,8] logits) {
        cast = Cast <to = 10> (pixels)
        logits = Conv (cast, weights)
    }
"""
"""Pixels to the logits of two classes, computed in FP16."""

QUANTIZED = """
    <ir_version: 10, opset_import: ["" : 20]>
    part (float[N,3,8,8] pixels) => (float[N,2,8,8] logits) {
        scale = Constant <value_float = 0.5> ()
        zero = Constant <value: tensor = int8 {0}> ()
        levels = QuantizeLinear (pixels, scale, zero)
        again = DequantizeLinear (levels, scale, zero)
        logits = Conv (again, weights)
    }
"""
"""The same with an INT8 convolution."""


def write_graph(path: Path, text: str = HALF, *, dtype: Any = np.float16) -> Path:
    """Write a graph in ONNX's text form, with `weights` of shape (2, 3, 1, 1)."""
    import onnx

    model = onnx.parser.parse_model(text)
    weights = np.arange(6).reshape(2, 3, 1, 1).astype(dtype)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    onnx.save(model, path)
    return path
