"""Emulate a graph in FP16 by one in FP32 that ONNX Runtime's CPU provider computes honestly.

CPU libraries run an FP16 graph in FP32 or BF16, so that an overflow stays hidden. Here every tensor
that is FP16 in the finished graph is rounded to FP16 by a pair of casts, which are honoured:

    Conv FP16 ---> x         becomes        Conv FP32 ---> Cast(FP16) ---> Cast(FP32) ---> x

What is emulated is storage in FP16 with sums inside of an operator in FP32, as tensor cores and
PyTorch compute them. An operator whose sums overflow only inside does not show; `keep_in_fp32`
leaves those in FP32. Rounding is to nearest, ties to even, with subnormal numbers; beyond 65504
comes infinity, and NaN after it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

EXACT = frozenset(
    {"Abs", "Ceil", "Clip", "Concat", "DepthToSpace", "Expand", "Flatten", "Floor", "Gather"}
    | {"GatherElements", "GatherND", "Identity", "Max", "Min", "Neg", "Pad", "ReduceMax"}
    | {"ReduceMin", "Relu", "Reshape", "Round", "Sign", "Slice", "SpaceToDepth", "Split", "Squeeze"}
    | {"Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where", "Constant", "ConstantOfShape"}
)
"""Operators that give numbers which FP16 holds whenever their inputs are such numbers: they choose,
move, change a sign or round to whole numbers. Rounding after them would change nothing. MaxPool is
rounded all the same: else ONNX Runtime moves a QuantizeLinear before it, and is slow on int8."""

MONOTONE = frozenset({"Clip", "Relu"})
"""Of those, the ones that may be computed before the rounding as well as after it: they keep the
order of numbers, and their bounds are FP16 numbers. ONNX Runtime joins them to a convolution."""

_HALF, _FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def emulate(model: ModelProto) -> ModelProto:
    """Make the FP32 graph that rounds to FP16 wherever a finished graph is FP16.

    Nodes in FP32, integers and booleans are left alone. Q/DQ pairs take their FP16 scale as the
    FP32 number of the same value. Those of weights are computed here, so that no library finds an
    integer convolution to make of them, whose results differ between processors.

    Args:
        model: A graph with FP16 tensors, such as AutoCast makes; it is not changed.

    Returns:
        A graph with the same inputs and outputs, names and types included.

    Raises:
        ValueError: If the type of a tensor cannot be inferred, or a node holds a graph.
    """
    emulated = ModelProto()
    emulated.CopyFrom(model)
    graph = _Graph(emulated)
    graph.fold_weights()
    nodes = graph.rounded()
    used = {name for node in nodes for name in node.input}
    constants = [_widened(item) for name, item in graph.constants.items() if name in used]
    del emulated.graph.node[:], emulated.graph.initializer[:], emulated.graph.value_info[:]
    emulated.graph.node.extend(nodes)
    emulated.graph.initializer.extend(constants)
    return emulated


class _Graph:
    """A graph with the types of its tensors, before these are widened."""

    def __init__(self, model: ModelProto) -> None:
        for node in model.graph.node:
            if any(item.HasField("g") or item.graphs for item in node.attribute):
                raise ValueError(f"node {node.name} ({node.op_type}) holds a graph; expected none")
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.constants = {item.name: item for item in model.graph.initializer}
        self.nodes = list(model.graph.node)
        self.inputs = [v.name for v in model.graph.input if self.is_half(v.name)]
        self.outputs = [v.name for v in model.graph.output if self.is_half(v.name)]
        self.renamed = {name: f"{name}/single" for name in (*self.inputs, *self.outputs)}
        self.postponed = self._postponed({value.name for value in model.graph.output})

    def is_half(self, name: str) -> bool:
        if name not in self.types:
            raise ValueError(f"the type of tensor {name} cannot be inferred")
        return bool(self.types[name] == _HALF)

    def _postponed(self, outputs: set[str]) -> set[str]:
        """Tensors that go into one monotone node only, after which they may be rounded as well."""
        uses = Counter(name for node in self.nodes for name in node.input)
        uses.update(outputs)
        rounds = {name for n in self.nodes if n.op_type not in EXACT for name in n.output}
        bounded = {node.input[0] for node in self.nodes if node.op_type in MONOTONE}
        return {name for name in rounds & bounded if uses[name] == 1}

    def fold_weights(self) -> None:
        """Compute the Q/DQ nodes whose inputs are all constants."""
        kept = []
        for node in self.nodes:
            compute = _QDQ.get(node.op_type)
            if compute is None or any(name not in self.constants for name in node.input):
                kept.append(node)
                continue
            axes = [item.i for item in node.attribute if item.name == "axis"]
            values = [numpy_helper.to_array(self.constants[name]) for name in node.input]
            name = node.output[0]
            result = compute(*values, axis=axes[0] if axes else 1)
            self.constants[name] = numpy_helper.from_array(result, name)
        self.nodes = kept

    def rounded(self) -> list[NodeProto]:
        """The nodes in FP32, with pairs of casts where numbers are to be rounded."""
        renamed = self.renamed
        nodes = [_cast(name, renamed[name], _FLOAT) for name in self.inputs]
        for node in self.nodes:
            nodes.extend(self._rounded(node))
        return nodes + [_cast(renamed[name], name, _HALF) for name in self.outputs]

    def _rounded(self, source: NodeProto) -> list[NodeProto]:
        node = NodeProto.FromString(source.SerializeToString())
        for attribute in node.attribute:
            _widen_attribute(attribute)
        node.input[:] = [self.renamed.get(name, name) for name in source.input]
        casts = []
        for i, name in enumerate(source.output):
            node.output[i] = self.renamed.get(name, name)
            if name and self.is_half(name) and self._must_round(source, name):
                wide, half, node.output[i] = node.output[i], f"{name}/half", f"{name}/exact"
                casts += [_cast(f"{name}/exact", half, _HALF), _cast(half, wide, _FLOAT)]
        return [node, *casts]

    def _must_round(self, node: NodeProto, output: str) -> bool:
        if node.op_type in MONOTONE and node.input[0] in self.postponed:
            return True
        return node.op_type not in EXACT and output not in self.postponed


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind)


def _widen_attribute(attribute: AttributeProto) -> None:
    if attribute.name in ("to", "dtype") and attribute.i == _HALF:
        attribute.i = _FLOAT
    if attribute.HasField("t"):
        attribute.t.CopyFrom(_widened(attribute.t))


def _widened(tensor: TensorProto) -> TensorProto:
    """The same numbers in FP32, if they are FP16."""
    if tensor.data_type != _HALF:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _quantized(
    values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None = None, *, axis: int
) -> NDArray[Any]:
    if zero is None:
        zero = np.zeros((), dtype=np.uint8)
    limits = np.iinfo(zero.dtype)
    steps = np.rint(values.astype(np.float32) / _along(scale, axis, values.ndim).astype(np.float32))
    steps += _along(zero, axis, values.ndim)
    shifted: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
    return shifted


def _dequantized(
    steps: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None = None, *, axis: int
) -> NDArray[Any]:
    centred = steps.astype(np.float32)
    if zero is not None:
        centred -= _along(zero, axis, steps.ndim).astype(np.float32)
    with np.errstate(over="ignore"):  # infinity is what FP16 gives
        wide = centred * _along(scale, axis, steps.ndim).astype(np.float32)
        return wide.astype(scale.dtype)


def _along(values: NDArray[Any], axis: int, rank: int) -> NDArray[Any]:
    """Let a vector of one number per channel lie along an axis."""
    if values.ndim != 1:
        return values
    return values.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


_QDQ: dict[str, Callable[..., NDArray[Any]]] = {
    "QuantizeLinear": _quantized,
    "DequantizeLinear": _dequantized,
}
