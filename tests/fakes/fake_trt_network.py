"""Templates of TensorRT's network, ONNX parser and optimization profile."""

import importlib
from pathlib import Path
from typing import Any

from fake_trt_plan import LAYER_TYPES, Layer, OnnxFacts, Ranges, Tensor


class INetworkDefinition:
    def _open(self: Any, flags: int) -> None:
        self._flags = flags
        self._facts: OnnxFacts | None = None
        self._layers: list[Layer] = []
        self._name = "Unnamed Network 0"

    def _parsed(self: Any, facts: OnnxFacts) -> None:
        self._facts = facts
        self._layers = list(facts.layers())

    @property
    def name(self: Any) -> str:
        return str(self._name)

    @name.setter
    def name(self: Any, value: str) -> None:
        self._name = value

    @property
    def flags(self: Any) -> int:
        return int(self._flags)

    def get_flag(self: Any, flag: Any) -> bool:
        return bool(self._flags & 1 << int(flag))

    @property
    def num_inputs(self: Any) -> int:
        return len(self._facts.inputs) if self._facts else 0

    @property
    def num_outputs(self: Any) -> int:
        return len(self._facts.outputs) if self._facts else 0

    @property
    def num_layers(self: Any) -> int:
        return len(self._layers)

    def get_input(self: Any, index: int) -> Any:
        return self.trt.make("ITensor", self, facts=self._facts.inputs[index], is_input=True)

    def get_output(self: Any, index: int) -> Any:
        return self.trt.make("ITensor", self, facts=self._facts.outputs[index], is_input=False)

    def get_layer(self: Any, index: int) -> Any:
        return self.trt.make("ILayer", self, layer=self._layers[index])

    def __len__(self: Any) -> int:
        return len(self._layers)

    def __getitem__(self: Any, index: int) -> Any:
        return self.get_layer(index)


class ITensor:
    def _open(self: Any, facts: Tensor, is_input: bool) -> None:
        self._facts = facts
        self._is_input = is_input

    @property
    def name(self: Any) -> str:
        return str(self._facts.name)

    @property
    def dtype(self: Any) -> Any:
        return self.trt.dtype(self._facts.dtype)

    @property
    def shape(self: Any) -> Any:
        return self.trt.Dims(self._facts.dims)

    @property
    def is_network_input(self: Any) -> bool:
        return bool(self._is_input)

    @property
    def is_network_output(self: Any) -> bool:
        return not self._is_input

    is_shape_tensor = property(lambda self: False)
    is_execution_tensor = property(lambda self: True)


class ILayer:
    def _open(self: Any, layer: Layer) -> None:
        self._layer = layer

    @property
    def name(self: Any) -> str:
        return str(self._layer.name)

    @property
    def type(self: Any) -> Any:
        return getattr(self.trt.LayerType, LAYER_TYPES.get(self._layer.op, "ELEMENTWISE"))

    @property
    def num_inputs(self: Any) -> int:
        return len(self._layer.inputs)

    @property
    def num_outputs(self: Any) -> int:
        return len(self._layer.outputs)

    precision_is_set = property(lambda self: False)


class OnnxParser:
    def __init__(self: Any, network: Any, logger: Any) -> None:
        self._network = network
        self._logger = logger
        self._errors: list[str] = []
        self._flags = 0

    flags = property(
        lambda self: self._flags, lambda self, value: setattr(self, "_flags", int(value))
    )

    def get_flag(self: Any, flag: Any) -> bool:
        return bool(self._flags & 1 << int(flag))

    def set_flag(self: Any, flag: Any) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self: Any, flag: Any) -> None:
        self._flags &= ~(1 << int(flag))

    def parse_from_file(self: Any, model: str) -> bool:
        path = Path(model)
        if not path.is_file():
            return bool(
                self._refuse(
                    "In node -1 with name:  and operator:  (parseFromFile): INVALID_VALUE: "
                    "Assertion failed: stat(onnxModelFile, &sb) == 0 && S_ISREG(sb.st_mode): "
                    f"Input file cannot be found, or is not a regular file: {model}"
                )
            )
        return bool(self._parse(path.read_bytes()))

    def parse(self: Any, model: bytes, path: str | None = None) -> bool:
        return bool(self._parse(bytes(model)))

    def _parse(self: Any, content: bytes) -> bool:
        unreadable = importlib.import_module("google.protobuf.message").DecodeError
        try:
            facts = OnnxFacts(content)
        except unreadable:
            return bool(
                self._refuse(
                    "(deserializeOnnxModel): MODEL_DESERIALIZE_FAILED: Assertion failed: "
                    "model->ParseFromCodedStream(&codedInput): Failed to parse the ONNX model."
                )
            )
        for refusal in facts.refusals():
            self._refuse(refusal)
        self._network._parsed(facts)
        return not self._errors

    def _refuse(self: Any, text: str) -> bool:
        self._log("ERROR", text)
        self._errors.append(text)
        return False

    @property
    def num_errors(self: Any) -> int:
        return len(self._errors)

    def get_error(self: Any, index: int) -> Any:
        return self.trt.make("ParserError", self, text=self._errors[index])

    def clear_errors(self: Any) -> None:
        self._errors.clear()


class ParserError:
    def _open(self: Any, text: str) -> None:
        self._text = text

    def __str__(self: Any) -> str:
        return str(self._text)

    __repr__ = __str__

    def desc(self: Any) -> str:
        return str(self._text.rpartition(": ")[2])

    def node(self: Any) -> int:
        return -1


class IOptimizationProfile:
    def _open(self: Any) -> None:
        self._ranges: Ranges = {}

    def set_shape(self: Any, input: str, min: Any, opt: Any, max: Any) -> None:
        self._ranges[input] = [list(min), list(opt), list(max)]

    def get_shape(self: Any, input: str) -> list[Any]:
        if input not in self._ranges:
            self._log(
                "ERROR",
                "IOptimizationProfile::getDimensions: Error Code 4: API Usage Error (Cannot get "
                f"dimensions for input: {input}. Input is not present in this OptimizationProfile)",
            )
            return []
        return [self.trt.Dims(shape) for shape in self._ranges[input]]

    def __bool__(self: Any) -> bool:
        for name, (least, best, most) in self._ranges.items():
            if not all(0 <= a <= b <= c for a, b, c in zip(least, best, most, strict=True)):
                self._log(
                    "ERROR",
                    "IOptimizationProfile::isValid: Error Code 4: API Usage Error (Invalid "
                    f"optimization profiles for input tensors {name}, please ensure that the "
                    "optimization profiles satisfy MIN<=OPT<=MAX.)",
                )
                return False
        return True


TEMPLATES: dict[str, type] = {
    kind.__name__: kind
    for kind in (INetworkDefinition, ITensor, ILayer, OnnxParser, ParserError, IOptimizationProfile)
}
