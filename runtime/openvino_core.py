"""The one core of OpenVINO in a process, and what it can do on this processor."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from .errors import BackendError, brief

OF_ACTIVATIONS = "MatMul"
"""OpenVINO's kind of layer that multiplies two activations."""

WEIGHTED = frozenset({"Convolution", "Deconvolution", "FullyConnected", OF_ACTIVATIONS})
"""OpenVINO's kinds of layers that multiply by weights, or by what is counted with them."""

LAYER = ("layerType", "primitiveType", "runtimePrecision")
"""What OpenVINO says of a layer: kind, kernel, such as `brgconv_avx2_f32`, and precision."""

TELEMETRY = "openvino_telemetry"
"""Package by which OpenVINO tells its makers of every import; it can do without."""


def the_core() -> Any:
    """Give the one core of this process.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    try:
        with _hidden(TELEMETRY):
            import openvino
    except ImportError as error:
        raise BackendError(
            f"OpenVINO cannot be imported ({brief(error)}); expected it with the base install; "
            "run `pip install openvino` or use `--backend onnxruntime`"
        ) from error
    return _only(openvino.Core)


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Make a package that is installed look as if it was not."""
    known = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(package, None)
        if known is not None:
            sys.modules[package] = known


@cache
def _only(make: Callable[[], Any]) -> Any:
    """Make one core for the process.

    With the last core its plug-in is unloaded under threads that may still run: closing one model
    after another then ends the process now and then.
    """
    return make()


def cpu_has_bf16() -> bool:
    """Tell whether OpenVINO can compute in BF16 on this processor.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def sums_int8_exactly() -> bool:
    """Tell whether this processor's INT8 sums come out right for all weights, by one convolution.

    Without VNNI, two products of INT8 are added in 16 bits, in which large ones saturate: maps come
    out wrong without a word.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    exact, _ = kernels_tried()
    return exact


def computes_in_avx2() -> bool:
    """Tell whether OpenVINO's kernels are those for AVX2, by the name of one.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    _, kernel = kernels_tried()
    return "avx2" in kernel


@cache
def kernels_tried() -> tuple[bool, str]:
    """Run a convolution in INT8; say whether its sums are exact, and how its kernel is called.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    core = the_core()
    from openvino import Model, opset8

    channels, kernel = 64, 3
    image = opset8.parameter([1, channels, 8, 8], np.float32)
    steps = [np.float32(value) for value in (0, 255, 0, 255)]
    rounded = opset8.fake_quantize(image, *steps, 256)
    weight = opset8.constant(np.full((channels, channels, kernel, kernel), 127, np.float32))
    steps = [np.float32(value) for value in (-127, 127, -127, 127)]
    ones = [1, 1]
    convolved = opset8.convolution(
        rounded, opset8.fake_quantize(weight, *steps, 255), ones, [0, 0], [0, 0], ones
    )
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    compiled = core.compile_model(Model([convolved], [image]), "CPU", config)
    found = compiled([np.full((1, channels, 8, 8), 255, np.float32)])[0]
    exact = bool(np.allclose(found, 255 * 127 * channels * kernel**2, rtol=1e-3))
    return exact, " ".join(kernel for _, kernel, _ in weighted_layers(compiled))


def weighted_layers(compiled: Any) -> Iterator[tuple[str, str, str]]:
    """Give kind, kernel and OpenVINO's name of the precision of every layer that multiplies."""
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        layer, kernel, precision = (info[key].astype(str) for key in LAYER)
        if layer in WEIGHTED:
            yield layer, kernel, precision
