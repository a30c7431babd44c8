"""Templates of TensorRT's run side: runtime, engine, inspector, runtime configuration and cache."""

import json
import weakref
from typing import Any

from fake_gpu import CudaFailure
from fake_trt_inspect import engine_information, layer_information
from fake_trt_plan import HEAD, OnnxFacts, Plan, Tensor, UnreadablePlan, read_head

NO_DRIVER = "cudaError 35: CUDA driver version is insufficient for CUDA runtime version"
SCRATCH = 1 << 20
"""Device memory that an execution context takes per item of the largest batch, in bytes."""


class Runtime:
    def __init__(self: Any, logger: Any) -> None:
        self._logger = logger
        self._host_code = False
        if self.trt.gpu is None and not self.trt.builds_ahead_of_time:
            self._log("ERROR", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @property
    def logger(self: Any) -> Any:
        return self._logger

    engine_header_size = property(lambda self: HEAD)
    engine_host_code_allowed = property(
        lambda self: self._host_code, lambda self, value: setattr(self, "_host_code", value)
    )

    def get_engine_validity(self: Any, buffer: bytes) -> tuple[Any, int]:
        """Validity and a sum of `EngineInvalidityDiagnostics`, from the header alone."""
        invalid, why = self.trt.EngineValidity.INVALID, self.trt.EngineInvalidityDiagnostics
        try:
            library, version, devices = read_head(bytes(buffer))
        except UnreadablePlan:
            return invalid, int(why.MALFORMED_ENGINE)
        if self.trt.gpu is None:
            self._log("INTERNAL_ERROR", f"Error reading CUDA GPU properties: ({NO_DRIVER})")
            return invalid, 0
        if (library, version) != (self.trt.surface.module, self.trt.surface.version):
            return invalid, int(why.VERSION_MISMATCH)
        if self.trt.device not in devices:
            return invalid, int(why.UNSUPPORTED_CC)
        return self.trt.EngineValidity.VALID, 0

    def deserialize_cuda_engine(self: Any, serialized_engine: bytes) -> Any:
        """Give the engine, or None after an error was logged."""
        problem, plan = self._read(bytes(serialized_engine))
        if plan is None:
            self._log("ERROR", f"IRuntime::deserializeCudaEngine: {problem}")
            return None
        if plan.gpu and plan.gpu != self.trt.gpu.name:
            self._log(
                "WARNING",
                "Using an engine plan file across different models of devices is not recommended "
                "and is likely to affect performance or even cause errors.",
            )
        try:
            return self.trt.make("ICudaEngine", self, plan=plan)
        except CudaFailure:
            self._log("ERROR", "IRuntime::deserializeCudaEngine: Error Code 2: OutOfMemory ()")
            return None

    def _read(self: Any, data: bytes) -> tuple[str, Plan | None]:
        try:
            plan = Plan.from_bytes(data)
        except UnreadablePlan:
            return (
                "Error Code 1: Serialization (Serialization assertion header.magicTag == "
                "kEXPECTED_MAGIC_TAG failed.Trying to load an engine created with incompatible "
                "serialization version. Check that the engine was not created using safety "
                "runtime, same OS was used and version compatibility parameters were set "
                "accordingly and that it is a TRT engine file.)",
                None,
            )
        if self.trt.gpu is None:
            return f"Error Code 1: Cuda Runtime ({NO_DRIVER})", None
        found, here = (plan.library, plan.version), self.trt.surface
        if found != (here.module, here.version):
            return (
                "Error Code 6: API Usage Error (The engine plan file is not compatible with this "
                f"version of TensorRT, expecting library version {here.version} got "
                f"{plan.version}, please rebuild.)",
                None,
            )
        if self.trt.device not in plan.compute_capabilities:
            return (
                "Error Code 6: API Usage Error (The engine plan file is generated on an "
                f"incompatible device, expecting compute {self.trt.device} got compute "
                f"{','.join(plan.compute_capabilities)}, please rebuild.)",
                None,
            )
        return "", plan


class ICudaEngine:
    def _open(self: Any, plan: Plan) -> None:
        self._plan = plan
        self._facts = OnnxFacts(plan.onnx)
        self._tensors = {t.name: t for t in (*self._facts.inputs, *self._facts.outputs)}
        self._held = DeviceBlock(self.trt.gpu, len(plan.onnx))

    @property
    def num_io_tensors(self: Any) -> int:
        return len(self._tensors)

    @property
    def num_layers(self: Any) -> int:
        return len(list(self._facts.layers()))

    @property
    def num_optimization_profiles(self: Any) -> int:
        return len(self._plan.profiles)

    @property
    def profiling_verbosity(self: Any) -> Any:
        return getattr(self.trt.ProfilingVerbosity, self._plan.verbosity)

    name = property(lambda self: "Unnamed Network 0")
    refittable = property(lambda self: False)
    num_aux_streams = property(lambda self: 0)

    def get_tensor_name(self: Any, index: int) -> str:
        return str(list(self._tensors)[index])

    def _tensor(self: Any, name: str) -> Tensor | None:
        found: Tensor | None = self._tensors.get(name)
        if found is None:
            self._log(
                "ERROR",
                f"Error Code 3: API Usage Error (Given invalid tensor name: {name}. Get valid "
                "tensor names with getIOTensorName())",
            )
        return found

    def get_tensor_mode(self: Any, name: str) -> Any:
        if self._tensor(name) is None:
            return self.trt.TensorIOMode.NONE
        is_input = any(tensor.name == name for tensor in self._facts.inputs)
        return self.trt.TensorIOMode.INPUT if is_input else self.trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self: Any, name: str) -> Any:
        tensor = self._tensor(name)
        return self.trt.dtype(tensor.dtype if tensor else "FLOAT")

    def get_tensor_shape(self: Any, name: str) -> Any:
        tensor = self._tensor(name)
        return self.trt.Dims(tensor.dims if tensor else ())

    def get_tensor_profile_shape(self: Any, name: str, profile_index: int) -> list[Any]:
        shapes = self._plan.profiles[profile_index].get(name)
        if shapes is None:
            self._tensor(name)
            return []
        return [self.trt.Dims(shape) for shape in shapes]

    def get_tensor_location(self: Any, name: str) -> Any:
        return self.trt.TensorLocation.DEVICE

    def get_tensor_format(self: Any, name: str, profile_index: int = 0) -> Any:
        return self.trt.TensorFormat.LINEAR

    def is_shape_inference_io(self: Any, name: str) -> bool:
        return False

    def _scratch(self: Any) -> int:
        most = [shapes[2][0] for ranges in self._plan.profiles for shapes in ranges.values()]
        return SCRATCH * max(most, default=1)

    @property
    def device_memory_size(self: Any) -> int:
        return int(self._scratch())

    @property
    def device_memory_size_v2(self: Any) -> int:
        return int(self._scratch())

    def get_device_memory_size_for_profile_v2(self: Any, profile_index: int) -> int:
        return int(self._scratch())

    def create_execution_context(self: Any, strategy: Any = None, **kwargs: Any) -> Any:
        """Give a context, or None after an error was logged.

        `strategy` is an `ExecutionContextAllocationStrategy`, or an `IRuntimeConfig` where the
        surface has one.
        """
        config = kwargs.get("runtime_config", strategy)
        # Where nobody has asked for the class, there is no object of it.
        if not isinstance(config, vars(self.trt).get("IRuntimeConfig", ())):
            config = None
        try:
            return self.trt.make("IExecutionContext", self, engine=self, config=config)
        except CudaFailure:
            self._log(
                "ERROR",
                "ICudaEngine::createExecutionContext: Error Code 2: OutOfMemory (Requested size "
                f"was {self._scratch()} bytes.)",
            )
            return None

    def create_runtime_config(self: Any) -> Any:
        return self.trt.make("IRuntimeConfig", self)

    def create_engine_inspector(self: Any) -> Any:
        return self.trt.make("EngineInspector", self, engine=self)

    def serialize(self: Any) -> Any:
        return self.trt.host_memory(self._plan.to_bytes())


class DeviceBlock:
    """Device memory that TensorRT takes for itself; given back with its owner."""

    def __init__(self, gpu: Any, size: int) -> None:
        with gpu.lock:
            address = gpu.allocate(max(size, 1), backed=False)
            weakref.finalize(self, give_back, gpu, address, gpu.retained > 0).atexit = False


def give_back(gpu: Any, address: int, retained: bool) -> None:
    with gpu.lock:
        if retained and not gpu.retained:
            gpu.faults.append("a TensorRT object outlived the primary context that it was made in")
        gpu.memory.free(address)


class EngineInspector:
    def _open(self: Any, engine: Any) -> None:
        self._engine = engine
        self._context: Any = None

    execution_context = property(
        lambda self: self._context, lambda self, value: setattr(self, "_context", value)
    )

    def get_engine_information(self: Any, format: Any) -> str:
        text = engine_information(self._engine, self.trt.major)
        return json.dumps(text, indent=2) if format.name == "JSON" else str(text)

    def get_layer_information(self: Any, layer_index: int, format: Any) -> str:
        layer = list(self._engine._facts.layers())[layer_index]
        text = layer_information(self._engine, layer, self.trt.major)
        return json.dumps(text, indent=2) if format.name == "JSON" else str(text)


class IRuntimeConfig:
    def _open(self: Any) -> None:
        self._strategy = self.trt.ExecutionContextAllocationStrategy.STATIC
        self._graphs: Any = None
        self._kernels: Any = None
        self._cache: Any = None

    @property
    def cuda_graph_strategy(self: Any) -> Any:
        return self._graphs or self.trt.CudaGraphStrategy.DISABLED

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self: Any, value: Any) -> None:
        self._graphs = value

    @property
    def dynamic_shapes_kernel_specialization_strategy(self: Any) -> Any:
        return self._kernels or self.trt.DynamicShapesKernelSpecializationStrategy.LAZY

    @dynamic_shapes_kernel_specialization_strategy.setter
    def dynamic_shapes_kernel_specialization_strategy(self: Any, value: Any) -> None:
        self._kernels = value

    def get_execution_context_allocation_strategy(self: Any) -> Any:
        return self._strategy

    def set_execution_context_allocation_strategy(self: Any, strategy: Any) -> None:
        self._strategy = strategy

    def create_runtime_cache(self: Any) -> Any:
        return self.trt.make("IRuntimeCache", self)

    def set_runtime_cache(self: Any, cache: Any = None) -> bool:
        self._cache = cache
        return True

    def get_runtime_cache(self: Any) -> Any:
        return self._cache


class IRuntimeCache:
    """Kernels that were compiled for this device."""

    def _open(self: Any) -> None:
        self._kernels: set[str] = set()

    def serialize(self: Any) -> Any:
        content = {"made_on": self.trt.identity, "kernels": sorted(self._kernels)}
        return self.trt.host_memory(json.dumps(content).encode())

    def deserialize(self: Any, blob: bytes) -> bool:
        try:
            content = json.loads(bytes(blob))
            made_on, kernels = content["made_on"], content["kernels"]
        except (ValueError, KeyError, TypeError):
            made_on, kernels = None, []
        if made_on != self.trt.identity:
            self._log("ERROR", "IRuntimeCache::deserialize: the cache does not fit this runtime")
            return False
        self._kernels |= set(kernels)
        return True

    def reset(self: Any) -> bool:
        self._kernels.clear()
        return True


TEMPLATES: dict[str, type] = {
    kind.__name__: kind
    for kind in (Runtime, ICudaEngine, EngineInspector, IRuntimeConfig, IRuntimeCache)
}
