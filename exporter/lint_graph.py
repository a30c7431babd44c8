"""A graph as the rules of `lint` look at it: who gives and who takes each value."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

DOMAINS = ("", "ai.onnx")
"""Names of ONNX's own operators."""


class LintGraph:
    """A graph, with who gives and who takes each value.

    Args:
        model: Any graph.
        transposed: Whether Q/DQ on transposed convolutions are wanted.
    """

    def __init__(self, model: ModelProto, *, transposed: bool = False) -> None:
        self.model = model
        self.transposed = transposed
        self.nodes = list(model.graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.takers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)

    @property
    def is_foreign(self) -> bool:
        """Whether there are operators that ONNX does not define, and cannot tell the sizes of."""
        return any(node.domain not in DOMAINS for node in self.nodes)

    def before(self, node: NodeProto, index: int = 0) -> NodeProto | None:
        """The node that gives an input of a node."""
        return self.producers.get(node.input[index]) if len(node.input) > index else None

    def source(self, name: str) -> str:
        """The value that a value was before it was cast."""
        node = self.producers.get(name)
        while node is not None and node.op_type == "Cast":
            name = node.input[0]
            node = self.producers.get(name)
        return name

    def constants(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Names and numbers of the constants in floating point."""
        for item in self.model.graph.initializer:
            if is_float(item):
                yield item.name, numpy_helper.to_array(item)
        for node in self.nodes:
            if node.op_type == "Constant":
                yield from _numbers(node)


def is_float(tensor: TensorProto) -> bool:
    """Whether a tensor is FP32, FP16 or FP64."""
    return tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def cast_type(node: NodeProto) -> int:
    """What a Cast gives; 0 for other nodes."""
    return next((a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to"), 0)


def _numbers(node: NodeProto) -> Iterator[tuple[str, NDArray[Any]]]:
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name in ("value_float", "value_floats"):
            yield node.output[0], np.asarray(value, dtype=np.float32)
        elif attribute.name == "value" and is_float(value):
            yield node.output[0], numpy_helper.to_array(value)
