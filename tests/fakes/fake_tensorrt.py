"""A fake `tensorrt` or `tensorrt_rtx` module: the names of one version, and what they do.

    trt = make_tensorrt("10.3.0", gpu=FakeGpu())

It builds "engines" that hold the ONNX graph, refuses what the real one refuses, and computes with
ONNX Runtime on the memory of the fake GPU. Every call is in `trt.calls`, every touched name that
the version lacks in `trt.missing` (or in `trt.probes`, if it was only asked for with hasattr or
getattr). Any call can be made to fail, and any output to be wrong.
"""

import hashlib
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import fake_trt_build
import fake_trt_config
import fake_trt_context
import fake_trt_network
import fake_trt_run
import fake_trt_types
import numpy as np
from fake_gpu import FakeGpu
from fake_trt_plan import Plan
from fake_trt_surface import (
    Call,
    Surface,
    Touch,
    build_class,
    build_enum,
    caller,
    load_surface,
    surface_versions,
)
from numpy.typing import NDArray

__all__ = [
    "FakeTensorRT",
    "Messages",
    "build_plan",
    "install_tensorrt",
    "make_tensorrt",
    "surface_versions",
]

Array = NDArray[Any]
TEMPLATES: dict[str, type] = {
    **fake_trt_types.TEMPLATES,
    **fake_trt_network.TEMPLATES,
    **fake_trt_build.TEMPLATES,
    **fake_trt_config.TEMPLATES,
    **fake_trt_run.TEMPLATES,
    **fake_trt_context.TEMPLATES,
}
AHEAD_OF_TIME = ("8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT-RTX builds for when nothing is asked for."""


class Failure(NamedTuple):
    returns: Any
    message: str | None
    raises: BaseException | None
    after: int


class FakeTensorRT(ModuleType):
    """The module; see the head of this file."""

    def __init__(self, surface: Surface, gpu: FakeGpu | None) -> None:
        super().__init__(surface.module)
        self.__version__ = surface.version
        self.surface = surface
        self.gpu = gpu
        self.calls: list[Call] = []
        self.missing: list[Touch] = []
        self.probes: list[Touch] = []
        self.compilations = 0
        """How often kernels were compiled for the device (TensorRT-RTX), rather than cached."""
        self.out_of_memory_above_mib: float = float("inf")
        """Builds with a larger workspace run out of device memory."""
        self.killed_above_mib: float = float("inf")
        """Builds with a larger workspace are killed by the system, for lack of host memory."""
        self.seconds_per_step = 0.0
        self._failures: dict[str, Failure] = {}
        self._poison: dict[str, str] = {}
        self._sessions: dict[str, Any] = {}
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        """Make a name of the surface when it is first asked for."""
        if name.startswith("_"):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        with self._lock:
            if name not in vars(self):
                self._add(name)
            return vars(self)[name]

    def _add(self, name: str) -> None:
        surface, made = self.surface, vars(self)
        if name in surface.enums:
            own = vars(fake_trt_types.DataType) if name == "DataType" else {}
            extra = {m: own[m] for m in surface.classes.get(name, ()) if m in own}
            made[name] = build_enum(self, name, surface.enums[name], extra)
        elif name in surface.classes:
            base = getattr(self, surface.bases[name]) if name in surface.bases else None
            made[name] = build_class(self, name, base, TEMPLATES.get(name))
            self._add_nested(name, made[name])
        elif name in surface.constants:
            made[name] = self._resolved(str(surface.constants[name]))
        elif name in surface.functions:
            made[name] = FUNCTIONS[name] if name in FUNCTIONS else unbuilt(name)
        else:
            self.touched(name)
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")

    def _add_nested(self, owner: str, kind: type) -> None:
        """Add enums that are defined in a class, and its names for their members."""
        for name, members in self.surface.enums.items():
            outer, _, inner = name.rpartition(".")
            if outer == owner:
                setattr(kind, inner, build_enum(self, name, members, {}))
        for name, value in self.surface.constants.items():
            outer, _, member = name.rpartition(".")
            if outer == owner and isinstance(value, str):
                setattr(kind, member, self._resolved(value))

    def _resolved(self, path: str) -> Any:
        found: Any = self
        for name in path.split("."):
            found = getattr(found, name)
        return found

    # What tests ask for.

    def fail(
        self,
        name: str,
        *,
        returns: Any = None,
        message: str | None = None,
        raises: BaseException | None = None,
        after: int = 0,
    ) -> None:
        """Let a call fail.

        Args:
            name: `method`, `Class.method`, or `Class` for its constructor.
            returns: What the call gives instead.
            message: What is logged as an error.
            raises: Raised instead of returning.
            after: How many more calls succeed first.
        """
        owner, _, member = name.rpartition(".")
        owners = [owner] if owner else list(self.surface.classes)
        if name not in self.surface.classes and not any(
            member.removesuffix("=") in self.surface.classes.get(kind, ()) for kind in owners
        ):
            raise ValueError(f"{self.__name__} {self.__version__} has no {name}")
        self._failures[name] = Failure(returns, message, raises, after)

    def heal(self) -> None:
        """Let everything succeed, and be right, again."""
        self._failures.clear()
        self._poison.clear()

    def poison(self, tensor: str, *, kind: str) -> None:
        """Falsify an output: `nan`, `inf`, `zero`, `one_class` or `noise`."""
        if kind not in POISONS:
            raise ValueError(f"no poison {kind}; there are {', '.join(POISONS)}")
        self._poison[tensor] = kind

    def called(self, name: str) -> list[Call]:
        """Calls of `Class.method`, or of `method` in any class."""
        return [c for c in self.calls if name in (c.name, c.name.rpartition(".")[2])]

    # What the templates use.

    def touched(self, name: str) -> None:
        module, direct = caller()
        (self.missing if direct else self.probes).append(Touch(name, module))

    def failure_of(self, label: str) -> Failure | None:
        for name in (label, label.rpartition(".")[2]):
            failure = self._failures.get(name)
            if failure is not None and failure.after:
                self._failures[name] = failure._replace(after=failure.after - 1)
            elif failure is not None:
                return failure
        return None

    def log(self, logger: Any, severity: str, text: str | None) -> None:
        if logger is not None and text is not None:
            logger.log(self._resolved(f"ILogger.Severity.{severity}"), text)

    def make(self, name: str, parent: Any, **state: Any) -> Any:
        """Make an object of a class that has no constructor."""
        kind = getattr(self, name)
        made = kind.__new__(kind)
        made._logger = parent._logger
        if hasattr(kind, "_open"):
            made._open(**state)
        return made

    def host_memory(self, data: bytes) -> Any:
        kind = self._resolved("IHostMemory")
        return kind.__new__(kind, data)

    def dtype(self, name: str) -> Any:
        return self._resolved(f"DataType.{name}")

    @property
    def major(self) -> int:
        return int(self.surface.version.partition(".")[0])

    @property
    def builds_ahead_of_time(self) -> bool:
        return self.surface.module == "tensorrt_rtx"

    @property
    def always_strongly_typed(self) -> bool:
        return self.major >= 11 or self.builds_ahead_of_time

    @property
    def device(self) -> str:
        """Compute capability of the device, such as `8.9`."""
        return "" if self.gpu is None else "{}.{}".format(*self.gpu.compute_capability)

    @property
    def identity(self) -> str:
        return f"{self.surface.module} {self.surface.version} {self.device}"

    def targets(self, capabilities: Sequence[str]) -> list[str]:
        """Compute capabilities that a build is for, from members of `ComputeCapability`."""
        if not self.builds_ahead_of_time:
            return [self.device]
        if not capabilities:
            return list(AHEAD_OF_TIME)
        return [self.device if c == "CURRENT" else f"{c[2:-1]}.{c[-1]}" for c in capabilities]

    def build(self, network: Any, config: Any) -> Plan | None:
        return fake_trt_build.BuildJob(self, network, config).run()

    def digest(self, onnx: bytes) -> str:
        return hashlib.sha256(onnx).hexdigest()

    def compute(self, onnx: bytes, feed: Mapping[str, Array], names: list[str]) -> list[Array]:
        """Run a graph on the CPU, with one thread."""
        import onnxruntime

        key = self.digest(onnx)
        if key not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            # Q/DQ pairs stay as they are; fused, they round differently on each processor.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            self._sessions[key] = onnxruntime.InferenceSession(
                onnx, options, providers=["CPUExecutionProvider"]
            )
        made: list[Array] = self._sessions[key].run(names, dict(feed))
        return made

    def altered(self, name: str, values: Array) -> Array:
        """Give an output, falsified if told so."""
        kind = self._poison.get(name)
        return values if kind is None else POISONS[kind](values)


def spoil(value: float) -> Any:
    return lambda values: np.full_like(values, value)


def one_class(values: Array) -> Array:
    """Let one class win everywhere: a constant class map, or logits with one channel far ahead."""
    spoiled = values.copy()
    if values.dtype == np.uint8:
        spoiled[:] = 1
    else:
        spoiled[:, 1] = np.abs(values).max() + 1
    return spoiled


def noise(values: Array) -> Array:
    """Permute the values: same distribution, wrong places."""
    rng = np.random.default_rng(7)
    return rng.permutation(values.reshape(-1)).reshape(values.shape)


POISONS: dict[str, Any] = {
    "nan": spoil(float("nan")),
    "inf": spoil(float("inf")),
    "zero": spoil(0),
    "one_class": one_class,
    "noise": noise,
}
FUNCTIONS: dict[str, Any] = {
    "nptype": fake_trt_types.nptype,
    "volume": fake_trt_types.volume,
    "init_libnvinfer_plugins": lambda logger, namespace: True,
    "get_nv_onnx_parser_version": lambda: 0,
}


def unbuilt(name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"the fake has no behaviour for {name}")

    return call


def make_tensorrt(version: str, *, gpu: FakeGpu | None = None) -> FakeTensorRT:
    """Make the module of one version.

    Args:
        version: One of `surface_versions()`; `1.x` is TensorRT-RTX.
        gpu: The device of this machine. Without one, TensorRT's builder cannot be made, while
            TensorRT-RTX builds ahead of time and opens nothing.
    """
    return FakeTensorRT(load_surface(version), gpu)


class Messages:
    """What a library logs to `logger`."""

    def __init__(self, trt: Any) -> None:
        texts: list[tuple[str, str]] = []

        class Recorder(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                texts.append((severity.name, msg))

        self.texts = texts
        """Severity and text of each message."""
        self.logger = Recorder()

    def errors(self) -> str:
        """All errors, one per line."""
        return "\n".join(text for severity, text in self.texts if severity == "ERROR")


def build_plan(
    trt: FakeTensorRT, onnx: Path, *, opt: int = 1, most: int = 1, verbosity: str = "DETAILED"
) -> bytes:
    """Build a graph as the code under test would, for batches of 1 to `most`.

    Raises:
        AssertionError: If it does not parse or build; what was logged is on stderr.
    """
    names: Any = trt
    logger = names.Logger()
    builder = names.Builder(logger)
    network = builder.create_network(1 << int(names.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if not names.OnnxParser(network, logger).parse_from_file(str(onnx)):
        raise AssertionError(f"{onnx} does not parse")
    config = builder.create_builder_config()
    config.profiling_verbosity = getattr(names.ProfilingVerbosity, verbosity)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        rest = list(tensor.shape)[1:]
        profile.set_shape(tensor.name, [1, *rest], [opt, *rest], [most, *rest])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise AssertionError(f"{onnx} does not build")
    return bytes(plan)


def install_tensorrt(monkeypatch: Any, trt: FakeTensorRT) -> FakeTensorRT:
    """Let `import tensorrt` (or `tensorrt_rtx`) give the fake."""
    monkeypatch.setitem(sys.modules, trt.__name__, trt)
    return trt
