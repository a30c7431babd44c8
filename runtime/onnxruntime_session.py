"""Run parts with ONNX Runtime, the reference for parity."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .errors import BackendError, BundleError, brief
from .manifest import PartSpec, TensorSpec
from .session import ExecutedPrecision, check_feed, check_names


class OnnxRuntimeSession:
    """A part opened by ONNX Runtime's CPU provider."""

    def __init__(self, path: Path, part: PartSpec, *, batch: int, threads: int | None) -> None:
        """Open a part.

        Raises:
            BackendError: If ONNX Runtime is not installed.
            BundleError: If the graph cannot be opened, or is not what the manifest says.
        """
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if part.precision != "fp32":
            # To fuse Q/DQ it quantises biases, and divides them by the scales in FP16, which
            # overflows (seen in 1.31). Left alone, operators compute in FP32 on what Q/DQ round.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        self.inputs: tuple[TensorSpec, ...] = tuple(
            replace(spec, shape=spec.with_batch(batch)) for spec in part.inputs
        )
        # The CPU provider has no FP16 or BF16 kernels: it computes casts around FP32 kernels.
        self.precision: ExecutedPrecision = "fp32"
        self._outputs = [spec.name for spec in part.outputs]
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exception classes are private and share no base
            raise BundleError(
                f"{path} cannot be opened by ONNX Runtime ({brief(error)}); expected a part of "
                "this bundle; export the bundle again"
            ) from error
        check_names(
            path, part, _names(self._session.get_inputs()), _names(self._session.get_outputs())
        )

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the part once; see `Session.run`."""
        check_feed(self.inputs, feed)
        results = self._session.run(self._outputs, dict(feed))
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """Give memory back."""
        del self._session


def _names(ports: Any) -> list[str]:
    return [port.name for port in ports]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            f"ONNX Runtime cannot be imported ({brief(error)}); expected it for "
            "`--backend onnxruntime`; run `pip install 'segx[ort]'` or use `--backend openvino`"
        ) from error
    return onnxruntime
