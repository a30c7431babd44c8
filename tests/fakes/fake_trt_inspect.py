"""What the engine inspector prints, in the dialects of TensorRT 10 and 11.

10.x lists `Bindings` by name and writes `Format/Datatype`; 11.x lists `I/O Tensors` as objects and
writes `Format` and `Datatype`. At the verbosity LAYER_NAMES_ONLY a layer is just its name.
"""

from typing import Any

from fake_trt_plan import WEIGHTED, Layer, Tensor

FORMATS = {
    "FLOAT": ("Float", "Row major linear FP32 format (kLINEAR)"),
    "HALF": ("Half", "Row major linear FP16 format (kLINEAR)"),
    "BF16": ("BFloat16", "Row major linear BFloat16 format (kLINEAR)"),
    "INT8": ("Int8", "Row major linear Int8 format (kLINEAR)"),
    "UINT8": ("UInt8", "Row major linear UInt8 format (kLINEAR)"),
    "INT32": ("Int32", "Row major linear Int32 format (kLINEAR)"),
    "INT64": ("Int64", "Row major linear Int64 format (kLINEAR)"),
    "BOOL": ("Bool", "Row major linear Bool format (kLINEAR)"),
}
"""Datatype and format as the inspector names them."""


def engine_information(engine: Any, major: int) -> dict[str, Any]:
    layers = [layer_information(engine, layer, major) for layer in engine._facts.layers()]
    if is_old(major):
        return {"Layers": layers, "Bindings": list(engine._tensors)}
    return {"Layers": layers, "I/O Tensors": [io_tensor(engine, t) for t in io_tensors(engine)]}


def is_old(major: int) -> bool:
    """TensorRT 10; TensorRT-RTX 1.x prints as TensorRT 11."""
    return major == 10


def io_tensors(engine: Any) -> list[Tensor]:
    return list(engine._tensors.values())


def io_tensor(engine: Any, tensor: Tensor) -> dict[str, Any]:
    datatype, form = FORMATS[tensor.dtype]
    is_input = tensor in engine._facts.inputs
    profiles = []
    for ranges in engine._plan.profiles if is_input else ():
        least, best, most = ranges[tensor.name]
        shapes = {"MinShape": least, "OptShape": best, "MaxShape": most}
        profiles.append({**shapes, "Format": form})
    return {
        "Name": tensor.name,
        "IOMode": "Input" if is_input else "Output",
        "DataType": datatype,
        "Dimensions": list(tensor.dims),
        "Location": "Device",
        "IsShapeInferenceIO": False,
        "ProfileInfo": profiles,
    }


def layer_information(engine: Any, layer: Layer, major: int) -> Any:
    if engine._plan.verbosity == "LAYER_NAMES_ONLY":
        return layer.name
    dtype = compute_dtype(engine, layer)
    # A layer that computes in INT8 reads it; what it gives is of the graph's type.
    read = [tensor_information(engine, n, major, dtype=dtype) for n in layer.inputs]
    given = [tensor_information(engine, n, major) for n in layer.outputs]
    weights = layer.op in WEIGHTED
    return {
        "Name": layer.name,
        "LayerType": "CaskConvolution" if weights else "kgen",
        "Inputs": read,
        "Outputs": given,
        "TacticName": f"fake_{layer.op.lower()}_{dtype.lower()}",
        "StreamId": 0,
        "Metadata": f"[ONNX Layer: {layer.name}]",
    }


def compute_dtype(engine: Any, layer: Layer) -> str:
    """A weakly typed network without precision flags computes everything in FP32."""
    if not engine._plan.strongly_typed and layer.dtype in ("HALF", "BF16", "INT8"):
        return "FLOAT"
    return layer.dtype


def tensor_information(
    engine: Any, name: str, major: int, *, dtype: str | None = None
) -> dict[str, Any]:
    tensor: Tensor | None = engine._facts.tensors.get(name)
    found = tensor.dtype if tensor else "FLOAT"
    if dtype == "INT8":
        found = "INT8"
    if not engine._plan.strongly_typed and found in ("HALF", "BF16", "INT8"):
        found = "FLOAT"
    datatype, form = FORMATS.get(found, FORMATS["FLOAT"])
    dims = list(tensor.dims) if tensor else []
    head = {"Name": name, "Location": "Device", "Dimensions": dims}
    if is_old(major):
        return {**head, "Format/Datatype": datatype}
    return {**head, "Format": form, "Datatype": datatype}
