"""Run parts with ONNX Runtime: on the CPU, the reference for parity, or on a GPU."""

from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .errors import BackendError, BundleError, DeviceError, brief
from .manifest import PartSpec, TensorSpec
from .session import ExecutedPrecision, check_feed, check_names

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxRuntimeSession:
    """A part opened by ONNX Runtime's CPU or CUDA provider."""

    def __init__(
        self,
        path: Path,
        part: PartSpec,
        *,
        batch: int,
        threads: int | None,
        cuda: bool = False,
    ) -> None:
        """Open a part.

        Raises:
            BackendError: If ONNX Runtime is not installed, or cannot use the GPU.
            BundleError: If the graph cannot be opened, or is not what the manifest says.
        """
        runtime = _onnxruntime()
        self.inputs: tuple[TensorSpec, ...] = tuple(
            replace(spec, shape=spec.with_batch(batch)) for spec in part.inputs
        )
        # The CPU provider has no FP16 or BF16 kernels: it computes casts around FP32 kernels. The
        # CUDA provider computes what lies between Q/DQ in their precision, which is FP16.
        halves = cuda and part.precision != "fp32"
        self.precision: ExecutedPrecision = "fp16" if halves else "fp32"
        self._outputs = [spec.name for spec in part.outputs]
        said = _prepare_cuda(runtime) if cuda else ""
        try:
            self._session = runtime.InferenceSession(
                str(path),
                _options(runtime, part, threads),
                # TF32 would be called FP32 and round like FP16.
                providers=[(CUDA, {"use_tf32": "0"}), CPU] if cuda else [CPU],
                enable_fallback=0,  # a run that fails on the GPU would go on on the CPU
            )
        except Exception as error:  # its exception classes are private and share no base
            raise BundleError(
                f"{path} cannot be opened by ONNX Runtime ({brief(error)}); expected a part of "
                "this bundle; export the bundle again"
            ) from error
        self._cuda = cuda
        if cuda:
            _require_cuda(self._session, said)
        check_names(
            path, part, _names(self._session.get_inputs()), _names(self._session.get_outputs())
        )

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the part once; see `Session.run`.

        Raises:
            DeviceError: If the GPU fails.
        """
        check_feed(self.inputs, feed)
        try:
            results = self._session.run(self._outputs, dict(feed))
        except Exception as error:
            if not self._cuda:
                raise
            raise DeviceError(
                f"the GPU failed in ONNX Runtime ({brief(error)}); expected it to run a part; "
                "close what else uses its memory, or use `--backend openvino`"
            ) from error
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """Give memory back."""
        del self._session


def require_cuda_build() -> None:
    """Make sure that the ONNX Runtime that is installed was built for NVIDIA GPUs.

    Raises:
        BackendError: If it is missing or was not.
    """
    if CUDA not in _onnxruntime().get_available_providers():
        raise BackendError(
            "onnxruntime has no CUDA provider; expected onnxruntime-gpu for `--backend "
            "onnxruntime-cuda`; run `pip uninstall onnxruntime` and `pip install onnxruntime-gpu`"
        )


def _options(runtime: Any, part: PartSpec, threads: int | None) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # Every part has threads of its own; those that spin while they wait take cores from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if part.precision != "fp32":
        # To fuse Q/DQ it quantises biases, and divides them by the scales in FP16, which
        # overflows (seen in 1.31). Left alone, operators compute in FP32 on what Q/DQ round.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _prepare_cuda(runtime: Any) -> str:
    """Load CUDA's libraries where pip put them; return what could not be loaded."""
    require_cuda_build()
    if not hasattr(runtime, "preload_dlls"):
        return ""
    with redirect_stdout(StringIO()) as said:  # it complains by print
        runtime.preload_dlls()
    return said.getvalue().strip().partition("\n")[0]


def _require_cuda(session: Any, said: str) -> None:
    """Refuse a session on the CPU: where CUDA cannot be loaded, one is made without a word."""
    found = session.get_providers()
    if CUDA not in found:
        why = f" ({said})" if said else ""
        raise BackendError(
            f"ONNX Runtime cannot use the GPU{why} and took {found[0]}; expected {CUDA}; install "
            "the CUDA and cuDNN that it was built for: `pip install 'onnxruntime-gpu[cuda,cudnn]'`"
        )


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
    # Its builds for Windows report how they are used.
    onnxruntime.disable_telemetry_events()
    return onnxruntime
