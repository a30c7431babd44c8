"""Turn one part of a model into an ONNX graph.

The graph is the part as it runs: uint8 in, normalisation inside, only the batch may vary. It
carries no paths of the machine it was made on.
"""

import warnings
from collections.abc import Mapping

import onnx
import torch

from runtime.part_shapes import BATCH
from trainkit.models import Part

OPSET = 20
"""Operator set of every graph; 17 to 20 are read by TensorRT 10.3 and hold LayerNormalization."""

IR_VERSION = 10
"""Format of every file; newer ones are not read by ONNX Runtime on Python 3.10."""


def part_to_onnx(part: Part) -> onnx.ModelProto:
    """Trace a part in evaluation mode.

    Returns:
        A graph with the names of the part's inputs and outputs, weights inside.
    """
    example = part.example(batch=2)
    batch = tuple({0: torch.export.Dim.DYNAMIC} for _ in part.inputs)
    part.module.eval()
    with warnings.catch_warnings():
        # Tracing calls functions that PyTorch itself is about to rename.
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=FutureWarning)
        program = torch.onnx.export(
            part.module,
            tuple(example.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in part.inputs],
            output_names=[spec.name for spec in part.outputs],
            # A fusion takes any number of logits, which to the tracer are one argument.
            dynamic_shapes=(batch,) if part.role == "fusion" else batch,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    _forget_origin(model)
    _name_batch(model)
    return model


def finish(model: onnx.ModelProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Infer all shapes, set the format's versions, and say what the graph is.

    Args:
        model: Any graph of a part; it is not changed.
        metadata: Key and value of each entry written into the file.
    """
    finished = onnx.ModelProto()
    finished.CopyFrom(model)
    del finished.graph.value_info[:]
    finished = onnx.shape_inference.infer_shapes(finished, check_type=True, data_prop=True)
    del finished.metadata_props[:]
    onnx.helper.set_model_props(finished, dict(metadata))
    finished.ir_version = IR_VERSION
    onnx.checker.check_model(finished, full_check=True)
    return finished


def interface_of(model: onnx.ModelProto) -> list[tuple[str, bytes]]:
    """Names, types and shapes of inputs and outputs, to compare two graphs by."""
    values = (*model.graph.input, *model.graph.output)
    return [(value.name, value.type.SerializeToString(deterministic=True)) for value in values]


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop stack traces, which name files of this machine."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    graph.doc_string = ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


def _name_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
