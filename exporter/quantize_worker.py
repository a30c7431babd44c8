"""The program that `quantize` runs: convert one FP32 graph with NVIDIA ModelOpt.

ModelOpt patches ONNX Runtime, logs as it likes and holds memory; all of that ends with this
process. Nodes go through it under names of one length, as it takes names for regular expressions
that need match only the beginning: `node_matmul` would stand for `node_matmul_1` too.
"""

import json
import re
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from exporter.quantize_histogram import BINS, Histogram, entropy_threshold, merge_histogram
from exporter.quantize_weights import fold_weights, round_tiny_weights
from runtime.jsonfile import write_json
from runtime.report import peak_rss_mib

Method = Literal["max", "entropy"]
"""Ranges of activations: their largest magnitude, or the one that loses least information
(Migacz, "8-bit inference with TensorRT", GTC 2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the program does; it is handed over as a JSON file."""

    source: str
    """FP32 graph; its folder must be one that may be written to."""
    target: str
    report: str
    """JSON file with what the program needed."""
    opset: int
    keep: tuple[str, ...]
    """Names of nodes that stay in FP32."""
    samples: str | None = None
    """Folder of .npz files, one a sample; None: no INT8."""
    method: Method = "max"
    skip: tuple[str, ...] = ()
    """Names of nodes that are not quantised."""
    transposed: bool = False
    """Whether transposed convolutions are quantised."""
    full_range: bool = False
    """Whether weights use all levels of INT8; see `quantize_weights.fold_weights`."""


class StreamedSamples:
    """Calibration samples as ONNX Runtime asks for them: one in memory at a time.

    Args:
        folder: Holds one .npz a sample: an array for every input, with a batch of 1.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.npz"))
        self._next = self._read()

    def _read(self) -> Iterator[dict[str, NDArray[Any]]]:
        for path in self._paths:
            with np.load(path) as arrays:
                yield dict(arrays)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Give the next sample, or None after the last."""
        return next(self._next, None)

    def get_first(self) -> dict[str, NDArray[Any]]:
        """Give the first sample; the order of the others does not change."""
        return next(self._read())

    def rewind(self) -> None:
        """Start again at the first sample."""
        self._next = self._read()


def main(job_file: str) -> None:
    """Do the job that a JSON file describes."""
    job = Job(**json.loads(Path(job_file).read_text(encoding="utf-8")))
    model = onnx.load(job.source)
    short = {node.name: f"n{index:06d}" for index, node in enumerate(model.graph.node)}
    _rename(model, short)
    keep = {short[name] for name in job.keep}
    with tempfile.TemporaryDirectory(dir=Path(job.target).parent) as folder:
        named = Path(folder) / "named.onnx"
        onnx.save(model, named)
        if job.samples is not None:
            model = _quantized(named, job, [short[name] for name in job.skip])
            fold_weights(model, full_range=job.full_range)
            keep |= _beside(model, keep)
        round_tiny_weights(model, keep)
        onnx.save(model, named)
        model = _half(named, keep, job.opset)
    _rename(model, {name: original for original, name in short.items()})
    onnx.save(model, job.target)
    write_json(Path(job.report), {"peak_rss_mib": peak_rss_mib()})


def _rename(model: ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        node.name = names.get(node.name, node.name)


def _patterns(names: Collection[str]) -> list[str]:
    """Regular expressions for exactly these names; one, as every node is tried with each."""
    return [f"(?:{'|'.join(map(re.escape, sorted(names)))})$"] if names else []


def _quantized(source: Path, job: Job, skip: Collection[str]) -> ModelProto:
    """Put Q/DQ around what is worth it; the rest stays in FP32."""
    assert job.samples is not None
    from modelopt.onnx.quantization import quantize

    _bound_histograms()
    target = source.with_name("quantized.onnx")
    quantize(
        str(source),
        quantize_mode="int8",
        calibration_data_reader=StreamedSamples(Path(job.samples)),
        calibration_method=job.method,
        calibration_eps=["cpu"],
        op_types_to_exclude=[] if job.transposed else ["ConvTranspose"],
        nodes_to_exclude=_patterns(skip),
        high_precision_dtype="fp32",
        output_path=str(target),
        log_level="WARNING",
        opset=job.opset,
    )
    return onnx.load(target)


def _half(source: Path, keep: Collection[str], opset: int) -> ModelProto:
    from modelopt.onnx.autocast.convert import convert_to_mixed_precision

    converted: ModelProto = convert_to_mixed_precision(
        str(source),
        low_precision_type="fp16",
        nodes_to_exclude=_patterns(keep),
        # Without a limit it does not run the graph on inputs of its own to find ranges.
        data_max=np.inf,
        keep_io_types=True,
        opset=opset,
    )
    return converted


def _beside(model: ModelProto, keep: Collection[str]) -> set[str]:
    """Q after and DQ before nodes in FP32: a Cast between them would hide the pair."""
    givers = {name: node for node in model.graph.node for name in node.output}
    takers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    found = set()
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            giver = givers.get(node.input[0])
            around = [] if giver is None else [giver]
        elif node.op_type == "DequantizeLinear":
            around = takers.get(node.output[0], [])
        else:
            continue
        if around and all(other.name in keep for other in around):
            found.add(node.name)
    return found


def _bound_histograms() -> None:
    """Let ONNX Runtime count in our histograms, and find the ranges by them."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    begin = HistogramCollector.__init__

    def with_bins(self: Any, **options: Any) -> None:
        begin(self, **{**options, "num_bins": BINS})

    def range_of(self: Any, histogram: Histogram, levels: int) -> tuple[Any, Any]:
        cut = np.float32(entropy_threshold(histogram[0], histogram[4]))
        return np.maximum(-cut, histogram[2]), np.minimum(cut, histogram[3])

    HistogramCollector.__init__ = with_bins
    HistogramCollector.merge_histogram = staticmethod(merge_histogram)
    HistogramCollector.get_entropy_threshold = range_of


if __name__ == "__main__":
    main(*sys.argv[1:])
