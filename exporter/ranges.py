"""Measure the numbers of a graph's tensors, and report how far from FP16's end they stay.

The reductions are nodes of the graph, so that ONNX Runtime frees a tensor as soon as it is measured
and passed on: memory is that of one sample, however many are measured.
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

Feed = Mapping[str, NDArray[Any]]
"""Inputs of one part for one sample, with a batch of one."""

FP16_MAX = 65504.0
"""Largest number of FP16; what rounds to more is infinity."""

FP16_NORMAL = 2.0**-14
"""Smallest number that FP16 holds with all 11 bits; below, steps are of 6e-8."""

SAME_NUMBERS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that give each number of their first input once: they have its range."""

_STATISTICS = ("ReduceMin", "ReduceMax", "ReduceL1", "Size")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRange:
    """The numbers that a tensor held on some feeds."""

    low: float
    high: float
    smallest: float
    """Mean magnitude on the feed where it was smallest but not 0; 0 if all numbers were."""
    nonfinite: int
    """Feeds on which it held NaN or infinity."""

    @property
    def magnitude(self) -> float:
        """Largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def united(self, other: "TensorRange") -> "TensorRange":
        """Range of the same tensor on the feeds of both."""
        means = [item.smallest for item in (self, other) if item.smallest > 0]
        return TensorRange(
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            smallest=min(means, default=0.0),
            nonfinite=self.nonfinite + other.nonfinite,
        )


def measure_ranges(model: Path, feeds: Iterable[Feed]) -> dict[str, TensorRange]:
    """Measure every FP32 tensor of a graph, but the constants, over feeds.

    Args:
        model: ONNX file of a part; weights inside.
        feeds: Inputs of one sample each, with a batch of one; they are taken one by one.

    Returns:
        Range by the name of the tensor.

    Raises:
        ValueError: If there is no feed.
    """
    graph = onnx.load(model)
    tensors = _tensors(graph, TensorProto.FLOAT)
    same = {name: source for name, source in _sources(graph).items() if name in tensors}
    measured = [name for name in tensors if name not in same]
    session = open_measuring(_with_statistics(graph, measured))
    del graph
    found: dict[str, TensorRange] = {}
    for feed in feeds:
        numbers = np.array(session.run(None, dict(feed)), dtype=np.float64).reshape(-1, 4)
        for name, row in zip(measured, numbers, strict=True):
            seen = _range(*row)
            found[name] = found[name].united(seen) if name in found else seen
    if not found:
        raise ValueError("there are no feeds to measure ranges on; give at least one")
    return {name: found[same.get(name, name)] for name in tensors}


def unite(*ranges: Mapping[str, TensorRange]) -> dict[str, TensorRange]:
    """Join what was measured on several sets of feeds."""
    joined: dict[str, TensorRange] = {}
    for one in ranges:
        for name, item in one.items():
            joined[name] = joined[name].united(item) if name in joined else item
    return joined


def _range(low: float, high: float, total: float, size: float) -> TensorRange:
    """Range of one feed; NaN says nothing of the other numbers, but is counted."""
    finite = bool(np.isfinite(total))
    return TensorRange(
        low=float(np.nan_to_num(low, nan=0.0, posinf=np.inf, neginf=-np.inf)),
        high=float(np.nan_to_num(high, nan=0.0, posinf=np.inf, neginf=-np.inf)),
        smallest=float(total / size) if finite and size else 0.0,
        nonfinite=int(not finite),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPeak:
    """How large the numbers of an FP16 tensor become."""

    tensor: str
    on_data: float
    """Largest magnitude on samples."""
    on_stress: float
    """Largest magnitude on stress inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeReport:
    """How far the FP16 tensors of a finished graph stay from the end of FP16."""

    limit: float
    """Largest number of FP16."""
    peaks: tuple[TensorPeak, ...]
    """Of every FP16 tensor that was measured, the largest first."""
    unmeasured: tuple[str, ...]
    """FP16 tensors that the graph before did not have."""
    samples: int
    """Calibration samples that were measured."""

    @property
    def worst(self) -> float:
        """Largest magnitude of all, as a share of the limit; above 1 is an overflow."""
        return max((max(p.on_data, p.on_stress) for p in self.peaks), default=0.0) / self.limit


def range_report(
    model: ModelProto,
    data: Mapping[str, TensorRange],
    stress: Mapping[str, TensorRange],
    *,
    samples: int,
) -> RangeReport:
    """Report on the FP16 tensors of a finished graph.

    Args:
        model: The graph with FP16 tensors.
        data: Ranges of the FP32 graph that it was made of, on samples.
        stress: The same on stress inputs.
        samples: Number of the samples.
    """
    peaks, unmeasured = [], []
    measured = _measured_names(model, data)
    constant = _constant_names(model)
    for name in _tensors(model, TensorProto.FLOAT16):
        if name in constant:
            continue
        known = measured.get(name)
        if known is None:
            unmeasured.append(name)
            continue
        on_stress = stress[known].magnitude if known in stress else 0.0
        peaks.append(TensorPeak(tensor=name, on_data=data[known].magnitude, on_stress=on_stress))
    peaks.sort(key=lambda peak: (-max(peak.on_data, peak.on_stress), peak.tensor))
    return RangeReport(
        limit=FP16_MAX, peaks=tuple(peaks), unmeasured=tuple(unmeasured), samples=samples
    )


def _constant_names(model: ModelProto) -> set[str]:
    names = {item.name for item in model.graph.initializer}
    for node in model.graph.node:
        if names.issuperset(node.input):
            names.update(node.output)
    return names


def _measured_names(model: ModelProto, known: Mapping[str, TensorRange]) -> dict[str, str]:
    """For each tensor of a finished graph, the measured one that has its numbers."""
    passing = SAME_NUMBERS | {"Cast", "QuantizeLinear", "DequantizeLinear"}
    names = {name: name for name in known}
    for node in model.graph.node:
        if node.op_type in passing and node.input[0] in names:
            names.setdefault(node.output[0], names[node.input[0]])
    # AutoCast renames what it casts at an output of the graph.
    for node in reversed(model.graph.node):
        if node.op_type in passing and node.output[0] in names:
            names.setdefault(node.input[0], names[node.output[0]])
    return names


def _tensors(model: ModelProto, kind: int) -> list[str]:
    """Names of the tensors of a type, inputs first, in the order of the nodes."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    names = [value.name for value in model.graph.input]
    names += [name for node in model.graph.node for name in node.output]
    return [name for name in names if kinds.get(name) == kind]


def _sources(model: ModelProto) -> dict[str, str]:
    """For each tensor that only arranges the numbers of another: that one."""
    constants = {item.name for item in model.graph.initializer}
    sources: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type in SAME_NUMBERS and node.input[0] not in constants:
            sources[node.output[0]] = sources.get(node.input[0], node.input[0])
    return sources


def _with_statistics(model: ModelProto, tensors: list[str]) -> ModelProto:
    """Make a graph whose only outputs are the statistics of its tensors, four by four."""
    wanted, graph = set(tensors), model.graph
    nodes = [node for value in graph.input for node in _statistics(value.name, wanted)]
    for node in graph.node:
        nodes.append(node)
        nodes.extend(item for name in node.output for item in _statistics(name, wanted))
    # Nodes are copied: clearing the field that holds them empties them.
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    kinds = [TensorProto.FLOAT] * 3 + [TensorProto.INT64]
    outputs = [
        onnx.helper.make_tensor_value_info(f"{name}/{statistic}", kind, [])
        for name in tensors
        for statistic, kind in zip(_STATISTICS, kinds, strict=True)
    ]
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.output.extend(outputs)
    return model


def _statistics(name: str, wanted: set[str]) -> list[NodeProto]:
    if name not in wanted:
        return []
    nodes = [onnx.helper.make_node(kind, [name], [f"{name}/{kind}"]) for kind in _STATISTICS]
    for node in nodes:
        if node.op_type != "Size":
            node.attribute.append(onnx.helper.make_attribute("keepdims", 0))
    return nodes


def open_measuring(model: ModelProto) -> onnxruntime.InferenceSession:
    """Open a graph that measures its own tensors, so that it gives each back once measured."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # In this order a reduction follows the node that it measures, whose tensor is then given back;
    # in the usual one the reductions come last, and every tensor of the graph is kept until then.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # Without the layouts of the highest level, which the reductions would undo at every tensor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory(prefix="segx-ranges-") as folder:
        path = Path(folder) / "statistics.onnx"
        onnx.save(model, path)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
