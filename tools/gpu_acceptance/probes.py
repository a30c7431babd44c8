"""Small graphs of what TensorRT is known to compute wrongly, or might.

transposed   a transposed convolution in INT8, with scales for all weights, by input channel, by
             output channel (axis 1, which ModelOpt writes): the channels differ by up to 200 times
attention    a softmax over dates of which some, one or none is there, in FP16 and in FP32
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from exporter.engines import EngineRequest, build_engines, plan_engines
from runtime.backends import BackendChoice
from runtime.bundle import Bundle, open_bundle, sha256_of
from runtime.manifest import PartSpec, Precision, TensorSpec
from runtime.model import open_model

from .job import Job, NoGpu
from .opening import open_with

CHANNELS, FILTERS, SIDE = 8, 6, 16
DATES, SIZE = 12, 32
AXES = {"tensor": None, "input channel": 0, "output channel": 1}


def transposed(job: Job, scales: str) -> dict[str, Any]:
    """Run a transposed convolution in INT8 with one kind of scales."""
    rng = np.random.default_rng(0)
    feed = {"satellite": rng.standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32)}
    model = _transposed(AXES[scales])
    out = (FILTERS, 2 * SIDE, 2 * SIDE)
    spec = _spec("int8", {"satellite": (CHANNELS, SIDE, SIDE)}, out)
    return _run(job, f"transposed-{scales.replace(' ', '-')}", spec, model, {"random": feed})


def attention(job: Job, softmax: str) -> dict[str, Any]:
    """Run attention over dates, masked as the models do it, with a softmax in one precision."""
    rng = np.random.default_rng(1)
    series = rng.standard_normal((1, DATES, SIZE)).astype(np.float32)
    masks = {"all dates": DATES, "half the dates": DATES // 2, "one date": 1, "no date": 0}
    feeds = {
        name: {"satellite": series, "date_mask": (np.arange(DATES) < count)[None].astype("float32")}
        for name, count in masks.items()
    }
    spec = _spec("fp16", {"satellite": (DATES, SIZE), "date_mask": (DATES,)}, (SIZE,))
    kind = TensorProto.FLOAT16 if softmax == "fp16" else TensorProto.FLOAT
    return _run(job, f"attention-{softmax}", spec, _attention(kind), feeds)


def _spec(precision: Precision, inputs: Mapping[str, tuple[int, ...]], out: Any) -> PartSpec:
    return PartSpec(
        name="probe",
        role="fusion",
        file="probe.onnx",
        precision=precision,
        inputs=tuple(
            TensorSpec(name=name, dtype="float32", shape=("N", *sizes))
            for name, sizes in inputs.items()
        ),
        outputs=(TensorSpec(name="classes", dtype="float32", shape=("N", *out)),),
        variant="classes",
    )


def _run(
    job: Job, name: str, spec: PartSpec, model: ModelProto, feeds: Mapping[str, Any]
) -> dict[str, Any]:
    """Build it ahead of time, which needs no GPU; run it on ONNX Runtime, and on the GPU."""
    bundle = _bundle(job, name, spec, model)
    plan = plan_engines(EngineRequest(builder="tensorrt-rtx", compute_capabilities=("8.6",)))
    built = build_engines(bundle, plan, segx_version="acceptance")
    found: dict[str, Any] = {"built": f"{built[0].record.size_bytes} bytes for sm_86"}
    with closing(open_model(bundle, BackendChoice(name="onnxruntime", reason=""))) as reference:
        expected = {key: reference.run(feed)["classes"].copy() for key, feed in feeds.items()}
    try:
        opened = open_with(job, bundle, "tensorrt-rtx")
    except NoGpu as error:
        return found | {"runs": f"no GPU: {error}", "expected": _sizes(expected)}
    with closing(opened.model) as candidate:
        given = {key: candidate.run(feed)["classes"].copy() for key, feed in feeds.items()}
    return found | {
        "runs": "yes",
        "worst": {key: _worst(expected[key], given[key]) for key in feeds},
    }


def _sizes(arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    return {name: float(np.abs(array).max()) for name, array in arrays.items()}


def _worst(expected: NDArray[Any], given: NDArray[Any]) -> float | str:
    """Largest difference as a share of the largest number."""
    if not np.isfinite(given).all():
        return "not finite"
    return float(np.abs(expected - given).max() / max(np.abs(expected).max(), 1e-9))


def _bundle(job: Job, name: str, spec: PartSpec, model: ModelProto) -> Bundle:
    """A bundle of one graph; what its manifest says besides is that of the job's first bundle."""
    like = open_bundle(job.bundles[0])
    folder = job.out / "probes" / name
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / spec.file)
    manifest = replace(
        like.manifest,
        name=name,
        precision=spec.precision,
        parts=(spec,),
        files={spec.file: sha256_of(folder / spec.file)},
    )
    return Bundle(path=folder, manifest=manifest, sha256="")


def _model(
    nodes: list[Any], shapes: Mapping[str, Any], out: Any, weights: Mapping[str, NDArray[Any]]
) -> ModelProto:
    from exporter.to_onnx import IR_VERSION, OPSET  # which imports torch

    def value(name: str, sizes: Any) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes])

    graph = helper.make_graph(
        nodes,
        "probe",
        [value(name, sizes) for name, sizes in shapes.items()],
        [value("classes", out)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    made: ModelProto = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    onnx.checker.check_model(made, full_check=True)
    return made


def _transposed(axis: int | None) -> ModelProto:
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((CHANNELS, FILTERS, 2, 2))
    sizes = np.geomspace(0.02, 4.0, weights.shape[axis or 0])
    weights *= np.expand_dims(sizes, [i for i in range(4) if i != (axis or 0)])
    along = None if axis is None else tuple(i for i in range(4) if i != axis)
    scale = (np.abs(weights).max(axis=along, keepdims=True) / 127).astype(np.float32)
    whole = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    flat = scale.reshape(-1) if axis is not None else scale.reshape(())
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["satellite", "step", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"], "dequantize"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], "weights", **attributes),
        helper.make_node("ConvTranspose", ["dq", "wf"], ["classes"], "up", strides=[2, 2]),
    ]
    constants = {
        "step": np.float32(0.03),
        "zero": np.int8(0),
        "w": whole,
        "ws": flat,
        "wz": np.zeros(flat.shape, np.int8),
    }
    shapes = {"satellite": (CHANNELS, SIDE, SIDE)}
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    return _model(nodes, shapes, (FILTERS, 2 * SIDE, 2 * SIDE), arrays)


def _attention(softmax: int) -> ModelProto:
    half, full = TensorProto.FLOAT16, TensorProto.FLOAT

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [output], name=output, **attributes)

    nodes = [
        node("Cast", ["satellite"], "keys", to=half),
        node("MatMul", ["keys", "query"], "scores"),
        node("Cast", ["date_mask"], "there", to=half),
        node("Sub", ["there", "one"], "away"),
        node("Mul", ["away", "penalty"], "masking"),
        node("Unsqueeze", ["masking", "last"], "column"),
        node("Add", ["scores", "column"], "masked"),
        node("Cast", ["masked"], "logits", to=softmax),
        node("Softmax", ["logits"], "shares", axis=1),
        node("Cast", ["shares"], "weights", to=half),
        node("Mul", ["weights", "keys"], "weighted"),
        node("ReduceSum", ["weighted", "dates"], "sum", keepdims=0),
        node("Cast", ["sum"], "classes", to=full),
    ]
    rng = np.random.default_rng(3)
    constants: dict[str, NDArray[Any]] = {
        "query": rng.standard_normal((SIZE, 1)).astype(np.float16),
        "one": np.ones((), np.float16),
        "penalty": np.full((), 1000, np.float16),
        "last": np.asarray([2], np.int64),
        "dates": np.asarray([1], np.int64),
    }
    shapes = {"satellite": (DATES, SIZE), "date_mask": (DATES,)}
    return _model(nodes, shapes, (SIZE,), constants)
