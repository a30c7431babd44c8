"""Convert an FP32 graph to FP16, or to INT8 with FP16 around it, in a child process."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from runtime.child import run_child
from runtime.errors import BundleError, brief
from runtime.jsonfile import write_json

from .quantize_worker import Job, Method
from .to_onnx import OPSET, finish, interface_of

COMMAND = (sys.executable, "-m", "exporter.quantize_worker")
"""Program that does the work; it is called with the path of a JSON file."""

TIME_LIMIT_S = 4 * 3600.0
"""Calibration of a large model on hundreds of samples takes an hour on a small machine."""

FORMAT_CHANGES = frozenset({"Cast", "Constant", "QuantizeLinear", "DequantizeLinear"})
"""Operators that compute nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """What a conversion needed, and what it made of the nodes that compute with numbers."""

    seconds: float
    peak_rss_mib: float
    """Largest memory of the child process."""
    quantized: int
    """Nodes whose weights, or else all numbers they take, come out of DequantizeLinear."""
    half: int
    """Other nodes in FP16."""
    kept: int
    """Other nodes in FP32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Choices:
    """How numbers are made INT8."""

    method: Method
    """How the ranges of activations follow from the samples."""
    transposed: bool = False
    """Whether transposed convolutions are quantised; TensorRT runs few of them so."""
    full_range: bool = False
    """Whether weights use -127..127, in place of -64..64, which x86 processors without VNNI sum
    exactly."""


def to_fp16(
    source: Path, target: Path, *, keep: Collection[str], command: Sequence[str] = COMMAND
) -> WorkerReport:
    """Convert a graph to FP16.

    Args:
        source: FP32 graph.
        target: Where the result goes; it appears when complete. Inputs, outputs and names of nodes
            are those of the source.
        keep: Names of nodes that stay in FP32.
        command: Program that does the work.

    Raises:
        BundleError: If the conversion fails, or changes inputs or outputs.
        ValueError: If the source has no node of a name.
    """
    return _convert(source, target, {"keep": tuple(keep)}, command)


def to_int8(
    source: Path,
    target: Path,
    *,
    samples: Path,
    choices: Int8Choices,
    skip: Collection[str],
    keep: Collection[str],
    command: Sequence[str] = COMMAND,
) -> WorkerReport:
    """Quantise what is worth it, and convert the rest to FP16.

    Weights are stored as INT8 with a scale per channel; activations go through Q/DQ with one scale.
    Biases are not quantised.

    Args:
        source: FP32 graph.
        target: Where the result goes; see `to_fp16`.
        samples: Folder of .npz files, in the order of their names: an array for every input of the
            graph, with a batch of 1. One is in memory at a time.
        choices: How numbers are made INT8.
        skip: Names of nodes that are not quantised.
        keep: Names of nodes that stay in FP32, apart from those that are quantised.
        command: Program that does the work.

    Raises:
        BundleError: If the conversion fails, or changes inputs or outputs.
        ValueError: If the source has no node of a name, or there are no samples.
    """
    if not any(samples.glob("*.npz")):
        raise ValueError(f"{samples} holds no samples")
    options: dict[str, object] = {
        "keep": tuple(keep),
        "skip": tuple(skip),
        "samples": str(samples.resolve()),
        **asdict(choices),
    }
    return _convert(source, target, options, command)


def _convert(
    source: Path, target: Path, options: dict[str, object], command: Sequence[str]
) -> WorkerReport:
    start = time.monotonic()
    model = onnx.load(source)
    _check_names(model, options)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with tempfile.TemporaryDirectory(prefix="segx-quantize-") as name:
        folder = Path(name)
        job = Job(
            source=str(folder / "source.onnx"),
            target=str(folder / "target.onnx"),
            report=str(folder / "report.json"),
            opset=OPSET,
            **options,  # type: ignore[arg-type]
        )
        onnx.save(model, job.source)
        write_json(folder / "job.json", job)
        _run([*command, str(folder / "job.json")], source, folder)
        result = _finished(Path(job.target), model, source)
        peak = json.loads(Path(job.report).read_text(encoding="utf-8"))["peak_rss_mib"]
    try:
        onnx.save(result, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    counts = count_nodes(result)
    return WorkerReport(seconds=time.monotonic() - start, peak_rss_mib=peak, **counts)


def _check_names(model: ModelProto, options: dict[str, object]) -> None:
    names = [node.name for node in model.graph.node]
    if len(set(names)) < len(names) or not all(names):
        raise ValueError("nodes have no names, or the same one")
    for option in ("keep", "skip"):
        asked = options.get(option, ())
        assert isinstance(asked, tuple)
        if unknown := sorted(set(asked) - set(names)):
            raise ValueError(f"{option} names {unknown[0]}, which is no node of the graph")


def _run(command: Sequence[str], source: Path, folder: Path) -> None:
    ended_with = run_child(command, time_limit_s=TIME_LIMIT_S, folder=folder).reason
    if not ended_with:
        return
    raise BundleError(
        f"{source.name} cannot be converted: the converter {ended_with}; expected a graph; install "
        "'segx[export]' with the versions in constraints/, or use --precision fp32"
    )


def _finished(path: Path, source: ModelProto, name: Path) -> ModelProto:
    """Load the result; inputs, outputs, names of nodes and what the file says of itself stay."""
    loaded = onnx.load(path)
    if interface_of(loaded) != interface_of(source):
        raise BundleError(
            f"{name.name} cannot be converted: the converter changed inputs or outputs "
            f"({_described(loaded)}); expected {_described(source)}; use the versions in "
            "constraints/"
        )
    try:
        return finish(loaded, {item.key: item.value for item in source.metadata_props})
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(
            f"{name.name} cannot be converted: the converter gave a graph that is not valid "
            f"({brief(error)}); expected a valid one; use the versions in constraints/"
        ) from error


def _described(model: ModelProto) -> str:
    return ", ".join(
        f"{value.name} {[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]}"
        for value in (*model.graph.input, *model.graph.output)
    )


def count_nodes(model: ModelProto) -> dict[str, int]:
    """Count nodes that compute with numbers, by what they compute in.

    Args:
        model: A graph that holds inferred types.

    Returns:
        Counts of `quantized`, `half` and `kept`, as in `WorkerReport`.
    """
    constants = {item.name for item in model.graph.initializer}
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*model.graph.value_info, *model.graph.output)
    }
    from_int8 = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    counts = {"quantized": 0, "half": 0, "kept": 0}
    for node in model.graph.node:
        kind = types.get(node.output[0])
        if node.op_type in FORMAT_CHANGES or kind not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            continue
        taken = {name for name in node.input if name} - constants
        if taken and taken <= from_int8:
            counts["quantized"] += 1
        else:
            counts["half" if kind == TensorProto.FLOAT16 else "kept"] += 1
    return counts
