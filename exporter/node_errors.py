"""Measure what each node of a converted graph adds to the error, by giving it exact inputs.

The FP32 graph and the emulation run as one graph. A node of the emulation takes the tensors of the
FP32 graph, with the casts and Q/DQ pairs that conversion has put before it, and its result is
compared with that of its twin:

    FP32        a ------> [conv] ---> b ------> [relu] ---> c
                |                     |                     |
                |                  compare               compare
                |                     |                     |
    emulation   +-> Q/DQ [conv] ------+     b -> [relu] ----+

So nothing is handed on: a node is to blame for its own error alone. As in `ranges`, the comparisons
are nodes of the graph, and memory is that of one sample.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from .ranges import Feed, open_measuring

SAMPLES = 4
"""Calibration samples that nodes are compared on at most."""

_PREFIX = "emulated/"
_NUMBERS = ("size", "error", "nonzero", "left")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeError:
    """What a node does to exact inputs, in the worst of its results."""

    relative: float = 0.0
    """Mean magnitude of the error over that of the result, on the worst feed."""
    flushed: float = 0.0
    """Share of the numbers other than 0 that became 0, 0 to 1, on the worst feed."""
    nonfinite: bool = False
    """Whether a result was NaN or infinite that is finite in FP32."""
    quantized: bool = False
    """Whether it takes what comes out of DequantizeLinear."""

    def united(self, other: "NodeError") -> "NodeError":
        """The worse of both."""
        return NodeError(
            relative=max(self.relative, other.relative),
            flushed=max(self.flushed, other.flushed),
            nonfinite=self.nonfinite or other.nonfinite,
            quantized=self.quantized or other.quantized,
        )


def measure_errors(source: Path, emulation: Path, feeds: Iterable[Feed]) -> dict[str, NodeError]:
    """Measure every node that both graphs have and that gives floating numbers.

    Args:
        source: FP32 graph of a part.
        emulation: What `emulate` made of its conversion; nodes are told by their names.
        feeds: Inputs of one sample each, with a batch of one; they are taken one by one.

    Returns:
        Error by the name of the node, in the order of the FP32 graph.

    Raises:
        ValueError: If there is no feed.
    """
    twins = _Twins(onnx.load(source), onnx.load(emulation))
    session = open_measuring(twins.joined())
    found: dict[str, NodeError] = {}
    for feed in feeds:
        numbers = np.array(session.run(None, dict(feed)), dtype=np.float64).reshape(-1, 4)
        for (name, _, _), row in zip(twins.pairs, numbers, strict=True):
            error = _error(*row, quantized=name in twins.quantized)
            found[name] = found[name].united(error) if name in found else error
    if not found:
        raise ValueError("there are no feeds to measure errors on; give at least one")
    return found


def _error(size: float, error: float, nonzero: float, left: float, *, quantized: bool) -> NodeError:
    if not np.isfinite(size):
        # What FP32 does not hold either says nothing of the conversion.
        return NodeError(quantized=quantized)
    if not np.isfinite(error):
        return NodeError(relative=np.inf, nonfinite=True, quantized=quantized)
    return NodeError(
        relative=float(error / size) if size else float(error > 0),
        flushed=float(max(0.0, 1 - left / nonzero)) if nonzero else 0.0,
        quantized=quantized,
    )


class _Twins:
    """An FP32 graph and its emulation, node by node."""

    def __init__(self, source: ModelProto, emulation: ModelProto) -> None:
        self.source, self.emulation = source, emulation
        floats = _floating(source)
        takers = takers_of(emulation.graph.node)
        twins = {node.name: node for node in emulation.graph.node if node.name}
        self.pairs: list[tuple[str, str, str]] = []
        """Name of a node, a tensor of its, and that tensor in the emulation, rounded."""
        for node in source.graph.node:
            twin = twins.get(node.name)
            outputs = () if twin is None else twin.output
            for name, other in zip(node.output, outputs, strict=False):
                if name in floats:
                    self.pairs.append((node.name, name, _rounded(other, takers)))
        self.exact = {other: name for _, name, other in self.pairs}
        self.quantized = self._quantized()

    def _quantized(self) -> set[str]:
        """Names of the nodes that take what comes out of DequantizeLinear, cast or not."""
        given: set[str] = set()
        found: set[str] = set()
        for node in self.emulation.graph.node:
            if node.op_type == "DequantizeLinear":
                given.update(node.output)
            elif given.intersection(node.input):
                if node.op_type == "Cast":
                    given.update(node.output)
                else:
                    found.add(node.name)
        return found

    def joined(self) -> ModelProto:
        """Make the graph of both, whose only outputs are the comparisons, four by four."""
        graph = self.source.graph
        inputs = {value.name for value in graph.input}
        placed = list(self._placed(inputs))
        placed.sort(key=lambda item: item[0])
        # Nodes are copied: clearing the field that holds them empties them.
        nodes = [NodeProto.FromString(node.SerializeToString()) for _, node in placed]
        for item in self.emulation.graph.initializer:
            graph.initializer.add().CopyFrom(item)
            graph.initializer[-1].name = _PREFIX + item.name
        del graph.node[:], graph.output[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.output.extend(
            onnx.helper.make_tensor_value_info(f"{name}/{number}", TensorProto.FLOAT, [])
            for _, name, _ in self.pairs
            for number in _NUMBERS
        )
        return self.source

    def _placed(self, inputs: set[str]) -> Iterator[tuple[tuple[int, int], NodeProto]]:
        """Nodes and where they belong: each as soon as what it takes is there."""
        place = {name: -1 for name in inputs}
        for index, node in enumerate(self.source.graph.node):
            place.update(dict.fromkeys(node.output, index))
            yield (index, 0), node
        for source in self.emulation.graph.node:
            node = NodeProto.FromString(source.SerializeToString())
            node.input[:] = [self._taken(name, inputs) for name in source.input]
            node.output[:] = [name and _PREFIX + name for name in source.output]
            node.name = _PREFIX + source.name
            at = max((place.get(name, -1) for name in node.input), default=-1)
            place.update(dict.fromkeys(node.output, at))
            yield (at, 1), node
        for _, name, other in self.pairs:
            at = max(place[name], place.get(_PREFIX + other, -1))
            for compare in _comparison(name, _PREFIX + other):
                yield (at, 2), compare

    def _taken(self, name: str, inputs: set[str]) -> str:
        if name in self.exact:
            return self.exact[name]
        return name if name in inputs or not name else _PREFIX + name


def _comparison(name: str, other: str) -> Iterator[NodeProto]:
    make = onnx.helper.make_node
    yield make("Sub", [other, name], [f"{name}/difference"])
    measured = {"size": name, "error": f"{name}/difference"}
    for number, tensor in (("nonzero", name), ("left", other)):
        # Signs are 0 or 1 in magnitude, and so count what is not 0.
        yield make("Sign", [tensor], [f"{name}/signs {number}"])
        measured[number] = f"{name}/signs {number}"
    for number, tensor in measured.items():
        yield make("ReduceL1", [tensor], [f"{name}/{number}"], keepdims=0)


def _floating(model: ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.output)
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}


def takers_of(nodes: Iterable[NodeProto]) -> dict[str, list[NodeProto]]:
    """List the nodes that take each tensor."""
    takers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    return takers


def _rounded(name: str, takers: Mapping[str, list[NodeProto]]) -> str:
    """The tensor after the pair of casts that rounds another; that one itself without a pair."""
    for half in takers.get(name, ()):
        if half.op_type == "Cast" and half.attribute[0].i == TensorProto.FLOAT16:
            wide = takers.get(half.output[0], ())
            return wide[0].output[0] if wide else name
    return name
