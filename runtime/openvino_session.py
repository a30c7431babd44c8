"""Run parts with OpenVINO, the default on CPUs."""

import hashlib
import inspect
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engines.compiled import CompiledGraphs
from .errors import BundleError, brief
from .manifest import PartSpec, Precision, TensorSpec
from .openvino_core import (
    OF_ACTIVATIONS,
    computes_in_avx2,
    cpu_has_bf16,
    kernels_tried,
    sums_int8_exactly,
    the_core,
    weighted_layers,
)
from .openvino_rewrites import (
    gelu_by_exponential,
    has_gelu_by_tanh,
    products_as_convolutions,
    steps_of_scale,
    sums_of_tokens,
)
from .session import ExecutedPrecision, check_feed, check_names

SMALL_WEIGHT = 64
"""Largest INT8 weight whose products with two activations add up in 16 bits: 2 x 64 x 255 < 2^15.
That is how x86 processors without VNNI sum; larger ones saturate there."""

KEPT = "int8"
"""Precision of parts of which the compiled graph is kept: it is loaded in a fourth of the time that
OpenVINO compiles, and an FP32 one hardly faster."""

REWRITERS = (__name__, gelu_by_exponential.__module__)
"""Modules that decide what is compiled."""

PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
"""OpenVINO's names of the types that a layer computes in, and ours."""

_log = logging.getLogger(__name__)


class OpenVinoSession:
    """A part compiled for the CPU by OpenVINO."""

    def __init__(
        self,
        path: Path,
        part: PartSpec,
        *,
        batch: int,
        threads: int | None,
        kept: CompiledGraphs | None = None,
    ) -> None:
        """Compile a part.

        The precision is always set: left alone, OpenVINO computes an FP32 graph in BF16 on CPUs
        that have it. FP32 bundles run in FP32, the others in BF16 where the CPU has it, else FP32;
        INT8 bundles in INT8 beside that, but only where their products are summed exactly: by the
        CPU, or because one factor is small enough for sums of two in 16 bits.

        Args:
            path: The part's ONNX file.
            part: What the manifest says of it.
            batch: Tiles per call.
            threads: Processor threads; OpenVINO's default if None.
            kept: Where compiled graphs are looked for, and kept; None: nowhere.

        Raises:
            BackendError: If OpenVINO is not installed.
            BundleError: If the graph cannot be compiled, or is not what the manifest says.
        """
        self._config = {"PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = str(threads)
        self.inputs: tuple[TensorSpec, ...] = tuple(
            replace(spec, shape=spec.with_batch(batch)) for spec in part.inputs
        )
        self._path = path
        self._outputs = [spec.name for spec in part.outputs]
        self.precision: ExecutedPrecision
        key = self._key() if part.precision == KEPT and kept is not None else None
        if kept is None or key is None:
            self._compile(part)
        elif not self._load(kept.load(key), part):
            self._compile(part)
            if self.precision.startswith(KEPT):
                compiled = self._request.get_compiled_model()
                kept.save(key, compiled.export_model().getvalue())

    def _compile(self, part: PartSpec) -> None:
        """Read the graph, rewrite what OpenVINO does not do well, and compile it."""
        try:
            model = the_core().read_model(str(self._path))
            check_names(self._path, part, _names(model.inputs), _names(model.outputs))
            model.reshape({spec.name: list(spec.shape) for spec in self.inputs})
            if has_gelu_by_tanh(model) and computes_in_avx2():
                gelu_by_exponential(model)
            if part.precision == "int8":
                steps_of_scale(model)
            saturates = part.precision == "int8" and not sums_int8_exactly()
            if saturates:
                products_as_convolutions(model)
            sums_of_tokens(model)
            if not saturates or _has_small_weights(model):
                self._take(the_core().compile_model, model, part.precision)
                saturates = saturates and self._multiplies_activations()
            if saturates:
                # What Q/DQ round is computed in FP32 then, and in no layer in INT8.
                self._take(the_core().compile_model, model, "fp32", LP_TRANSFORMS_MODE="NO")
        except RuntimeError as error:
            raise BundleError(
                f"{self._path} cannot be compiled by OpenVINO ({brief(error)}); expected a part of "
                "this bundle; try `--backend onnxruntime` or export the bundle again"
            ) from error

    def _load(self, graph: bytes | None, part: PartSpec) -> bool:
        """Take a compiled graph, if there is one that this OpenVINO can use; say whether."""
        if graph is None:
            return False
        try:
            self._take(the_core().import_model, graph, part.precision)
        except RuntimeError as error:
            _log.info("the compiled graph of %s is made again: %s", self._path, brief(error))
            return False
        return True

    def _take(self, make: Callable[..., Any], graph: Any, asked: Precision, **options: str) -> None:
        self.precision, hint = _precision(asked)
        config = {**self._config, "INFERENCE_PRECISION_HINT": hint, **options}
        compiled = make(graph, "CPU", config)
        self._request = compiled.create_infer_request()

    def _key(self) -> str | None:
        """Hash all that the compiled graph depends on: the part, how it is run, on what, by what.

        Returns:
            64 hexadecimal digits; None where the source of what rewrites graphs is not at hand.
        """
        import openvino

        try:
            sources = [inspect.getsource(sys.modules[name]) for name in REWRITERS]
        except OSError:
            return None
        try:
            graph = hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError as error:
            raise BundleError(
                f"{self._path} cannot be read ({brief(error)}); expected a part of this bundle; "
                "copy or export the bundle again"
            ) from error
        parts = {
            "graph": graph,
            # Their names were checked when it was compiled; a port may have got more since.
            "inputs": {spec.name: spec.shape for spec in self.inputs},
            "outputs": self._outputs,
            "config": self._config,
            "bf16": cpu_has_bf16(),
            "processor": [the_core().get_property("CPU", "FULL_DEVICE_NAME"), *kernels_tried()],
            "openvino": openvino.get_version(),
            "segx": sources,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the part once; see `Session.run`."""
        check_feed(self.inputs, feed)
        results = self._request.infer(dict(feed), share_inputs=True, share_outputs=True)
        return {name: results[name] for name in self._outputs}

    def computed(self) -> dict[str, int]:
        """Count the layers with weights by the precision that they really run in.

        Returns:
            Number of layers by `fp32`, `bf16`, `fp16` or `int8`.
        """
        counts = Counter(precision for _, precision in self._layers())
        return dict(sorted(counts.items()))

    def _layers(self) -> Iterator[tuple[str, str]]:
        """Give kind and precision of every layer that multiplies by weights or activations."""
        for layer, kernel, computed in weighted_layers(self._request.get_compiled_model()):
            # A matrix product with weights stored in INT8 is said to run in INT8, even where its
            # kernel, such as `brgemm_avx2_f32`, computes in FP32.
            kind = kernel.rpartition("_")[2].lower()
            yield layer, PRECISIONS.get(kind) or PRECISIONS.get(computed, computed)

    def _multiplies_activations(self) -> bool:
        """Whether a product of two activations is computed in INT8."""
        return (OF_ACTIVATIONS, "int8") in self._layers()

    def require_executed(self) -> None:
        """Refuse a part whose layers do not run in the precision that this session names.

        Raises:
            BundleError: If an INT8 part has no layer in INT8, a BF16 one none in BF16, or an FP32
                one has others; a part without layers that have weights passes.
        """
        found, asked = self.computed(), self.precision.partition("+")[0]
        if not found or (asked in found and (asked != "fp32" or len(found) == 1)):
            return
        layers = ", ".join(f"{count} in {name}" for name, count in found.items())
        raise BundleError(
            f"{self._path} runs with {layers} (layers with weights); expected {asked}, as the "
            "bundle says; export it again, or with --precision fp16"
        )

    def close(self) -> None:
        """Give memory back."""
        del self._request


def _names(ports: Any) -> list[str]:
    return [port.any_name for port in ports]


def _has_small_weights(model: Any) -> bool:
    """Whether no sum of two products of a weight and an activation leaves 16 bits."""
    return all(
        np.abs(node.get_data().astype(np.int16)).max(initial=0) <= SMALL_WEIGHT
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().to_string() == "i8"
    )


def _precision(asked: Precision) -> tuple[ExecutedPrecision, str]:
    has_bf16 = cpu_has_bf16()
    if asked == "fp32":
        return "fp32", "f32"
    if asked == "fp16":
        return ("bf16", "bf16") if has_bf16 else ("fp32", "f32")
    return ("int8+bf16", "bf16") if has_bf16 else ("int8+fp32", "f32")
