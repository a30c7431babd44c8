"""Choose the nodes of a graph that stay in FP32 when the rest goes to FP16.

FP16 has 11 bits, ends at 65504, and has steps of 6e-8 below 6.1e-5. A node stays in FP32 if one of
these would change what the network says: by what kind of node it is, by its constants, or by the
numbers that were measured at its inputs and outputs. What has most of the work, convolutions and
matrix products, only stays for its numbers.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from .ranges import FP16_MAX, FP16_NORMAL, SAME_NUMBERS, TensorRange

LIMIT = FP16_MAX / 2
"""Largest magnitude that is let into FP16: other inputs may give twice what was measured."""

FP16_STEP = 2.0**-24
"""Smallest number of FP16, and its step below `FP16_NORMAL`."""

SMALLEST = 64 * FP16_STEP
"""Weights of this size still have 6 bits, as good as those of INT8. Training leaves convolutions of
2e-5 behind norms that start at 0; they lose nothing that can be seen."""

_NORM = "its variance adds up squares, which leave FP16 from 256 on; TensorRT may add in FP16"
_SUM = "it adds up many numbers, whose sum may leave FP16 though their mean does not"
_SMALL = "it magnifies the steps of FP16 near 0 or at large numbers"
_ANGLE = "an angle of 214 rad has steps of 0.125 rad in FP16"
_TIES = "FP16 makes ties of close logits, and the wrong class may win one"

FP32_OPERATORS: dict[str, str] = {
    "InstanceNormalization": _NORM,
    "LayerNormalization": _NORM,
    "GroupNormalization": _NORM,
    "MeanVarianceNormalization": _NORM,
    "LpNormalization": _NORM,
    "Softmax": "it adds up exponentials; scores beside a mask of -1000 have steps of 0.5 in FP16",
    "LogSoftmax": "it adds up exponentials, and a probability below 6e-8 has no logarithm in FP16",
    "ReduceSum": _SUM,
    "ReduceMean": _SUM,
    "ReduceL1": _SUM,
    "ReduceL2": _SUM,
    "ReduceSumSquare": _SUM,
    "ReduceLogSumExp": _SUM,
    "ReduceProd": _SUM,
    "CumSum": _SUM,
    "GlobalAveragePool": _SUM,
    "Exp": "it leaves FP16 from 11.1 on",
    "Log": _SMALL,
    "Pow": "a square leaves FP16 from 256 on and has no bits left below 0.008",
    "Sqrt": _SMALL,
    "Reciprocal": _SMALL,
    "Sin": _ANGLE,
    "Cos": _ANGLE,
    "ArgMax": _TIES,
    "ArgMin": _TIES,
    "Round": "FP16 has rounded already: of 254 steps of confidence some would move by one",
    # AutoCast adds and removes its own casts. TensorRT takes uint8 to and from FP32 only.
    "Cast": "it turns whole numbers into FP32, or FP32 into whole numbers",
}
"""Operators that stay in FP32 wherever they are, and why; none of them has a share in the MACs.

Not among them: Gelu, Erf, Tanh, Sigmoid and HardSigmoid (bounded, each number by itself), Resize
(weights up to 1; positions are computed apart), AveragePool (a few numbers), Greater and Where
(masks of 0 and 1 are exact), Div and Mul (only as good as the numbers that are measured there).
"""

WITH_BIAS = frozenset({"Conv", "ConvTranspose", "Gemm"})
"""Operators whose third input is added at the end."""

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
"""Operators that work on each number by itself and round it."""

ARRANGING = SAME_NUMBERS | frozenset(
    {"Concat", "Expand", "Gather", "Pad", "ReduceMax", "ReduceMin", "Slice", "Split", "Tile"}
)
"""Operators that only arrange or choose numbers."""


def keep_in_fp32(model: ModelProto, ranges: Mapping[str, TensorRange]) -> dict[str, str]:
    """Choose the nodes that stay in FP32.

    Args:
        model: FP32 graph of a part.
        ranges: What was measured of its tensors, on samples and stress inputs. Tensors without a
            range are judged by nothing but the nodes.

    Returns:
        Why a node stays in FP32, by its name.

    Raises:
        ValueError: If two nodes have one name.
    """
    graph = _Graph(model)
    reasons: dict[str, str] = {}
    raw = {value.name for value in model.graph.input}
    for node in model.graph.node:
        is_raw = graph.follows(node, raw)
        reason = FP32_OPERATORS.get(node.op_type) or next(graph.misfits(node, ranges), "")
        if is_raw and node.op_type in ARITHMETIC:
            reason = "it scales an input, whose raw numbers need more bits than FP16 has"
        if reason:
            reasons[node.name] = reason
        if is_raw:
            raw.update(node.output)
    for node in reversed(model.graph.node):
        if node.op_type in ARITHMETIC | ARRANGING and graph.takers_of(node) <= reasons.keys():
            reasons.setdefault(node.name, "nothing but nodes in FP32 takes its result")
    return {node.name: reasons[node.name] for node in model.graph.node if node.name in reasons}


class _Graph:
    """A graph's floating constants, and the nodes that take each tensor."""

    def __init__(self, model: ModelProto) -> None:
        names = [node.name for node in model.graph.node]
        if len(set(names)) < len(names) or "" in names:
            raise ValueError("nodes to keep are told by their names; expected one for each node")
        self.constants = {item.name: item for item in model.graph.initializer}
        self.takers: dict[str, set[str]] = {item.name: {""} for item in model.graph.output}
        for node in model.graph.node:
            for name in node.input:
                self.takers.setdefault(name, set()).add(node.name)

    def takers_of(self, node: NodeProto) -> set[str]:
        """Names of the nodes that take a result of a node; empty names for the graph's outputs."""
        return {taker for name in node.output for taker in self.takers.get(name, ())}

    def follows(self, node: NodeProto, raw: set[str]) -> bool:
        """Whether a node only casts, arranges, or scales by constants what is raw."""
        inputs = [name for name in node.input if name and name not in self.constants]
        known = node.op_type in ARITHMETIC | ARRANGING or node.op_type == "Cast"
        return known and bool(inputs) and raw.issuperset(inputs)

    def misfits(self, node: NodeProto, ranges: Mapping[str, TensorRange]) -> Iterator[str]:
        """Say which constants and tensors of a node FP16 does not hold."""
        for index, name in enumerate(node.input):
            tensor = self.constants.get(name)
            if tensor is None or tensor.data_type != TensorProto.FLOAT:
                continue
            # What is too small a bias to be held is too small to be missed.
            is_bias = index == 2 and node.op_type in WITH_BIAS
            values = numpy_helper.to_array(tensor)
            yield from _misfits_of_constant(name, values, smallest=0 if is_bias else SMALLEST)
        for name in (*node.input, *node.output):
            if name in ranges:
                yield from _misfits_of_tensor(name, ranges[name])


def _misfits_of_constant(
    name: str, values: NDArray[np.float32], *, smallest: float
) -> Iterator[str]:
    magnitude = np.abs(values[values != 0].astype(np.float64))
    if not magnitude.size:
        return
    # NaN is not below the limit either.
    if not magnitude.max() <= FP16_MAX:
        yield f"its constant {name} reaches {magnitude.max():.3g}; FP16 ends at {FP16_MAX:g}"
    elif (size := float(np.sqrt(np.mean(magnitude**2)))) < smallest:
        yield f"its constant {name} is about {size:.2g}, where FP16 has steps of {FP16_STEP:.2g}"


def _misfits_of_tensor(name: str, found: TensorRange) -> Iterator[str]:
    if found.nonfinite:
        yield f"tensor {name} is NaN or infinite on {found.nonfinite} inputs, in FP32"
    elif not found.magnitude <= LIMIT:
        yield f"tensor {name} reaches {found.magnitude:.3g}, more than half of {FP16_MAX:g}"
    elif 0 < found.smallest < FP16_NORMAL:
        yield f"tensor {name} is mostly below {FP16_NORMAL:.2g}, where FP16 loses bits"
