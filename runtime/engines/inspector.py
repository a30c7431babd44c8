"""What TensorRT says of the layers of an engine, and whether they compute as was asked.

TensorRT 10 lists the engine's tensors as `Bindings`, by name, TensorRT 11 as `I/O Tensors`, with
their types; layers are objects, or only names where the engine was built without details. Where the
batch is open, TensorRT 10 does not tell the types of tensors; then those of the weights and the
names of the kernels are what there is.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import EngineError, brief
from ..manifest import PartSpec, Precision

UNKNOWN = "unknown"
_TF32 = "tf32"

_MOST_LISTED = 10
"""Layers that are listed as the largest."""

_NAMES = {
    "float": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "fp16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
    "uint8": "uint8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}
"""Types as TensorRT writes them, such as `Half` or `Row major linear FP16 format`."""

_COMPUTED = ("int8", "fp8", "fp16", "bf16", "fp32")
"""Types that layers compute in; of several inputs, the first found here decides."""

_IN_KERNELS = {
    "int8": re.compile(r"i8i8|i8f|int8|imma"),
    "fp16": re.compile(r"f16f16|h884|h16816|hmma|fp16"),
    "fp32": re.compile(r"f32f32|sgemm|scudnn|ffma|fp32"),
}
"""Types in the names of kernels, such as `sm80_xmma_fprop_implicit_gemm_i8i8_i8i32_f32_...`."""

_WITH_WEIGHTS = re.compile(r"conv|gemm|matmul|matrix|correlation", re.IGNORECASE)
"""Kinds and kernels of layers that multiply with weights, where the weights are not told."""

_FORMAT_CHANGES = frozenset(
    {"reformat", "noop", "constant", "shuffle", "cast", "quantize", "dequantize", "move", "signal"}
    | {"wait", "shape_call", "shapehosttodevicecopy", "shape host to device"}
)
"""Kinds of layers that compute nothing."""

_ALLOWED: dict[Precision, frozenset[str]] = {
    "fp32": frozenset({"fp32", _TF32}),
    "fp16": frozenset({"fp16", "fp32", _TF32}),
    "int8": frozenset({"int8", "fp16", "fp32", _TF32}),
}
"""What layers with weights may compute in, by the precision of their part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSummary:
    """A layer of an engine."""

    name: str
    kind: str
    """TensorRT's name for it, such as `CaskConvolution`."""
    precision: str
    """Such as `fp16`; `unknown` if TensorRT does not tell."""
    elements: int
    """Numbers that it gives for one tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSummary:
    """An engine as TensorRT describes it."""

    layers: dict[str, int]
    """Layers that compute, by precision: `fp32`, `tf32`, `fp16`, `int8`, `unknown`, ..."""
    weighted: dict[str, int]
    """Those of them that multiply with weights."""
    largest: tuple[LayerSummary, ...]
    """The layers that give most numbers."""
    tensors: dict[str, str]
    """Types of the engine's inputs and outputs, `unknown` if TensorRT does not tell."""


def parse_inspector(text: str) -> EngineSummary:
    """Read what TensorRT's engine inspector gives as JSON.

    Raises:
        EngineError: If it is not what an inspector gives.
    """
    try:
        # Its text may hold control characters.
        data = json.loads(text, strict=False)
        layers, tensors = data["Layers"], data.get("I/O Tensors", data.get("Bindings", []))
        objects = [layer for layer in layers if isinstance(layer, Mapping)]
        found = [_summary(layer) for layer in objects if not _is_format_change(layer)]
        weighted = Counter(_precision(layer) for layer in objects if _has_weights(layer))
        names = sum(isinstance(layer, str) for layer in layers)
        types = _tensor_types(tensors, objects)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineError(
            f"TensorRT's description of an engine cannot be read ({brief(error)}); expected JSON "
            "with `Layers`; report the version of TensorRT"
        ) from error
    counts = Counter(layer.precision for layer in found)
    if names:
        counts[UNKNOWN] += names
    return EngineSummary(
        layers=dict(sorted(counts.items())),
        weighted=dict(sorted(weighted.items())),
        largest=tuple(sorted(found, key=lambda layer: -layer.elements)[:_MOST_LISTED]),
        tensors=types,
    )


def _summary(layer: Mapping[str, Any]) -> LayerSummary:
    return LayerSummary(
        name=_plain(layer["Name"]),
        kind=_plain(layer.get("LayerType", "")),
        precision=_precision(layer),
        elements=max((_elements(tensor) for tensor in layer.get("Outputs", [])), default=0),
    )


def _plain(text: object) -> str:
    """Text for a terminal; layers that were made of many have names of thousands of letters."""
    return "".join(char if char.isprintable() else " " for char in str(text))[:200]


def _elements(tensor: Mapping[str, Any]) -> int:
    # An open batch is given as -1.
    return math.prod(max(int(size), 1) for size in tensor.get("Dimensions", []))


def _is_format_change(layer: Mapping[str, Any]) -> bool:
    return str(layer.get("LayerType", "")).lower() in _FORMAT_CHANGES


def _has_weights(layer: Mapping[str, Any]) -> bool:
    if _is_format_change(layer):
        return False
    kind = f"{layer.get('LayerType', '')} {layer.get('TacticName', '')}"
    return "Weights" in layer or _WITH_WEIGHTS.search(kind) is not None


def _precision(layer: Mapping[str, Any]) -> str:
    """Precision that a layer computes in: of its weights, else its inputs, else its kernel."""
    kernel = str(layer.get("TacticName", "")).lower()
    found = _type(str(layer.get("Weights", {}).get("Type", "")))
    if found not in _COMPUTED:
        types = {_tensor_type(tensor) for tensor in layer.get("Inputs", [])}
        found = next((name for name in _COMPUTED if name in types), UNKNOWN)
    if found == UNKNOWN:
        matching = (name for name, pattern in _IN_KERNELS.items() if pattern.search(kernel))
        found = next(matching, UNKNOWN)
    return _TF32 if found in ("fp32", UNKNOWN) and _TF32 in kernel else found


def _tensor_type(tensor: Mapping[str, Any]) -> str:
    for key in ("Format/Datatype", "Datatype", "DataType"):
        if key in tensor:
            return _type(str(tensor[key]))
    return UNKNOWN


def _type(text: str) -> str:
    words = re.findall(r"[a-z]+[0-9]*", text.lower())
    return next((_NAMES[word] for word in words if word in _NAMES), UNKNOWN)


def _tensor_types(
    tensors: Iterable[str | Mapping[str, Any]], layers: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """Types of the engine's tensors; where only their names are given, those the layers tell."""
    told = {
        tensor["Name"]: _tensor_type(tensor)
        for layer in layers
        for tensor in (*layer.get("Inputs", []), *layer.get("Outputs", []))
    }
    return {
        tensor if isinstance(tensor, str) else tensor["Name"]: (
            told.get(tensor, UNKNOWN) if isinstance(tensor, str) else _tensor_type(tensor)
        )
        for tensor in tensors
    }


def require_precision(summary: EngineSummary, part: PartSpec) -> None:
    """Refuse an engine whose layers with weights do not compute in the precision of their part.

    A part without such layers has nothing to show, and of layers of which TensorRT does not tell
    the precision nothing is claimed.

    Raises:
        EngineError: If none computes in the precision of the part, or one in a lower one.
    """
    found = summary.weighted
    lower = set(found) - _ALLOWED[part.precision] - {UNKNOWN}
    is_missing = bool(found) and not {part.precision, UNKNOWN} & set(found)
    if part.precision == "fp32":
        is_missing = False  # what is left is TF32; see `rounding_note`
    if lower or is_missing:
        counts = ", ".join(f"{count} in {name}" for name, count in found.items())
        raise EngineError(
            f"part '{part.name}' is {part.precision} and its engine has layers with weights "
            f"{counts}; expected {part.precision} to be what it computes in; export the bundle "
            "again, and report the version of TensorRT"
        )


def rounding_note(summary: EngineSummary) -> str:
    """Say how many layers round FP32 to TF32, which builders are told not to; empty for none."""
    rounded = summary.layers.get(_TF32, 0)
    return f"{rounded} layers compute in TF32, although it is switched off" if rounded else ""
