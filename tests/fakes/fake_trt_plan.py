"""What a fake engine is made of: facts of an ONNX graph, and the bytes of a plan."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

MAGIC = b"FAKETRT1"
HEAD = 64
"""Bytes of the header that says for which library, version and devices a plan is."""
DTYPES = {
    1: "FLOAT",
    2: "UINT8",
    3: "INT8",
    6: "INT32",
    7: "INT64",
    9: "BOOL",
    10: "HALF",
    16: "BF16",
}
"""ONNX element types that TensorRT has, and its names for them."""
LAYER_TYPES = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "MatMul": "MATRIX_MULTIPLY",
    "Gemm": "MATRIX_MULTIPLY",
    "Cast": "CAST",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "Softmax": "SOFTMAX",
    "Resize": "RESIZE",
    "ArgMax": "TOPK",
    "LayerNormalization": "NORMALIZATION",
}
WEIGHTED = {"Conv", "ConvTranspose", "MatMul", "Gemm"}


class UnreadablePlan(Exception):
    """The bytes are not a plan."""


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: str
    """TensorRT's name, or `?` for a type that it does not have."""
    shape: tuple[int | str, ...]
    """Sizes; a name where the size is chosen at run time."""

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.shape)


@dataclass(frozen=True, slots=True)
class Layer:
    name: str
    op: str
    dtype: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxFacts:
    """A parsed ONNX model."""

    def __init__(self, content: bytes) -> None:
        import onnx

        self.content = content
        self.model = onnx.load_from_string(content)

    @cached_property
    def inputs(self) -> list[Tensor]:
        constant = {tensor.name for tensor in self.model.graph.initializer}
        return [tensor_of(v) for v in self.model.graph.input if v.name not in constant]

    @cached_property
    def outputs(self) -> list[Tensor]:
        return [tensor_of(v) for v in self.model.graph.output]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors whose type can be inferred."""
        import onnx

        graph = onnx.shape_inference.infer_shapes(self.model).graph
        values = (*graph.value_info, *graph.input, *graph.output)
        return {value.name: tensor_of(value) for value in values}

    def layers(self) -> Iterator[Layer]:
        """Nodes as TensorRT would fuse them: Q/DQ into the layer that they feed."""
        dequantized = {
            name
            for node in self.model.graph.node
            if node.op_type == "DequantizeLinear"
            for name in node.output
        }
        for index, node in enumerate(self.model.graph.node):
            if node.op_type in ("Constant", "DequantizeLinear"):
                continue
            inputs = tuple(name for name in node.input if name in self.tensors)
            outputs = tuple(node.output)
            dtype = self.tensors[outputs[0]].dtype if outputs[0] in self.tensors else "FLOAT"
            if node.op_type in WEIGHTED and any(name in dequantized for name in node.input):
                dtype = "INT8"
            yield Layer(node.name or f"node_{index}", node.op_type, dtype, inputs, outputs)

    def refusals(self) -> Iterator[str]:
        """Why the parser of TensorRT would refuse the graph."""
        for tensor in self.inputs:
            if tensor.dtype == "?":
                yield (
                    "In node -1 with name:  and operator:  (importInput): UNSUPPORTED_NODE: "
                    "Assertion failed: convertDtype(onnxDtype.elem_type(), &trtDtype) && "
                    '"Failed to convert ONNX date type to TensorRT data type."'
                )
        unsigned = {tensor.name for tensor in self.inputs if tensor.dtype == "UINT8"}
        for index, node in enumerate(self.model.graph.node):
            if node.op_type != "Cast" and unsigned & set(node.input):
                yield (
                    f"In node {index} with name: {node.name} and operator: {node.op_type} "
                    f"(parseNode): INVALID_NODE: Invalid Node - {node.name}\n"
                    f"ITensor::getDimensions: Error Code 4: API Usage Error ({node.name}: first "
                    "input has type UInt8 but must have type Float, Half, BFloat16, FP8, E8M0, "
                    "FP4, Int4, Int8, Int64, Int32, or Bool.)"
                )


def tensor_of(value: Any) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(
        size.dim_value if size.HasField("dim_value") else size.dim_param or "?"
        for size in kind.shape.dim
    )
    return Tensor(value.name, DTYPES.get(kind.elem_type, "?"), shape)


Ranges = dict[str, list[list[int]]]
"""min, opt and max shape by input."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """A built engine."""

    library: str
    version: str
    compute_capabilities: list[str]
    gpu: str
    """Name of the device that it was built on; empty for a build without one."""
    profiles: list[Ranges]
    strongly_typed: bool
    verbosity: str
    onnx: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        head = f"{self.library} {self.version} {','.join(self.compute_capabilities)}"
        rest = asdict(self)
        for key in ("library", "version", "compute_capabilities", "onnx"):
            del rest[key]
        line = json.dumps(rest, sort_keys=True).encode()
        return (MAGIC + head.encode()).ljust(HEAD) + line + b"\n" + self.onnx

    @classmethod
    def from_bytes(cls, data: bytes) -> "Plan":
        library, version, devices = read_head(data)
        line, newline, onnx = data[HEAD:].partition(b"\n")
        if not newline:
            raise UnreadablePlan
        try:
            rest = json.loads(line)
        except ValueError as error:
            raise UnreadablePlan from error
        return cls(
            library=library, version=version, compute_capabilities=devices, onnx=onnx, **rest
        )


def read_head(data: bytes) -> tuple[str, str, list[str]]:
    """Library, version and compute capabilities of a plan.

    Raises:
        UnreadablePlan: If there is no header.
    """
    words = data[len(MAGIC) : HEAD].split()
    if len(data) < HEAD or not data.startswith(MAGIC) or len(words) != 3:
        raise UnreadablePlan
    library, version, devices = (word.decode() for word in words)
    return library, version, devices.split(",")
