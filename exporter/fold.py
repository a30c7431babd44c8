"""Take BatchNormalization out of a graph: into the convolution before it, or as Mul and Add.

In evaluation mode BatchNormalization is y = a * x + b with constants per channel

    a = scale / sqrt(variance + epsilon)        b = shift - mean * a

so that a convolution before it can do the work. Quantizers and TensorRT then see one operator.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

_FOLDABLE = {"Conv": 0, "ConvTranspose": 1}
"""Operators that can take a factor, and the axis of their weights that counts output channels."""


def fold_batch_norm(model: onnx.ModelProto) -> int:
    """Replace every BatchNormalization, in place.

    Returns:
        How many went into a convolution; the others became Mul and Add.
    """
    graph = _Graph(model)
    nodes: list[NodeProto] = []
    folded = 0
    for node in model.graph.node:
        if node.op_type != "BatchNormalization" or not graph.is_constant(node.input[1:]):
            nodes.append(node)
            continue
        convolution = graph.sole_producer(node.input[0])
        if convolution is not None:
            graph.fold(node, convolution)
            folded += 1
        else:
            nodes.extend(graph.as_mul_add(node))
    # The nodes are copied: assigning to the field clears the ones that it holds.
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    _drop_unused(model)
    return folded


@dataclass(frozen=True)
class _Affine:
    factor: NDArray[np.float64]
    offset: NDArray[np.float64]


class _Graph:
    """A graph's constants, producers and uses, by the name of the value."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.model = model
        self.constants = {item.name: item for item in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(value.name for value in graph.output)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.ranks = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }

    def is_constant(self, names: Iterable[str]) -> bool:
        return all(name in self.constants for name in names)

    def sole_producer(self, name: str) -> NodeProto | None:
        """The convolution that gives a value which nothing else uses."""
        node = self.producers.get(name)
        if node is None or node.op_type not in _FOLDABLE or self.uses[name] != 1:
            return None
        if node.op_type == "ConvTranspose" and _attribute(node, "group", 1) != 1:
            return None
        return node if self.is_constant(node.input[1:]) else None

    def fold(self, norm: NodeProto, convolution: NodeProto) -> None:
        """Scale a convolution's weights, and let it give the normalised value."""
        affine = self._affine(norm)
        weight = self._array(convolution.input[1])
        axis = _FOLDABLE[convolution.op_type]
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        bias = self._array(convolution.input[2]) if len(convolution.input) > 2 else 0.0
        names = [f"{norm.output[0]}.weight", f"{norm.output[0]}.bias"]
        self._add(names[0], weight * affine.factor.reshape(shape))
        self._add(names[1], bias * affine.factor + affine.offset)
        convolution.input[:] = [convolution.input[0], *names]
        convolution.output[0] = norm.output[0]
        self.producers[norm.output[0]] = convolution

    def as_mul_add(self, norm: NodeProto) -> tuple[NodeProto, NodeProto]:
        """The same as two operators."""
        affine = self._affine(norm)
        value, out = norm.input[0], norm.output[0]
        shape = (-1, *(1,) * (self.ranks[value] - 2))
        self._add(f"{out}.factor", affine.factor.reshape(shape))
        self._add(f"{out}.offset", affine.offset.reshape(shape))
        make = onnx.helper.make_node
        return (
            make("Mul", [value, f"{out}.factor"], [f"{out}.scaled"], name=f"{norm.name}.mul"),
            make("Add", [f"{out}.scaled", f"{out}.offset"], [out], name=f"{norm.name}.add"),
        )

    def _affine(self, norm: NodeProto) -> _Affine:
        scale, shift, mean, variance = (self._array(name) for name in norm.input[1:5])
        factor = scale / np.sqrt(variance + _attribute(norm, "epsilon", 1e-5))
        return _Affine(factor=factor, offset=shift - mean * factor)

    def _array(self, name: str) -> NDArray[np.float64]:
        return numpy_helper.to_array(self.constants[name]).astype(np.float64)

    def _add(self, name: str, values: NDArray[np.float64]) -> None:
        tensor = numpy_helper.from_array(values.astype(np.float32), name)
        self.constants[name] = tensor
        self.model.graph.initializer.append(tensor)


def _attribute(node: NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            return float(onnx.helper.get_attribute_value(attribute))
    return default


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    used.update(value.name for value in model.graph.output)
    kept = [item for item in model.graph.initializer if item.name in used]
    kept = [onnx.TensorProto.FromString(item.SerializeToString()) for item in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
