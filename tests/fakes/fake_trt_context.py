"""Template of the execution context: queues work on the fake stream, ONNX Runtime does it."""

from typing import Any

import numpy as np
from fake_gpu import CudaFailure
from fake_trt_plan import Plan, Tensor
from fake_trt_run import DeviceBlock
from fake_trt_types import NUMPY_TYPES
from numpy.typing import NDArray

Shape = tuple[int, ...]


class IExecutionContext:
    def _open(self: Any, engine: Any, config: Any) -> None:
        self._engine = engine
        self._config = config
        self._profile = 0
        self._shapes: dict[str, Shape] = {
            t.name: t.dims for t in engine._facts.inputs if -1 not in t.dims
        }
        self._addresses: dict[str, int] = {}
        self._held = DeviceBlock(self.trt.gpu, engine._scratch())
        self._compile()

    def _compile(self: Any) -> None:
        """Compile kernels for the device, or take them from the runtime cache."""
        if not self.trt.builds_ahead_of_time:
            return
        cache = self._config._cache if self._config is not None else None
        kernel = self.trt.digest(self._engine._plan.onnx)
        if cache is None or kernel not in cache._kernels:
            self.trt.compilations += 1
        if cache is not None:
            cache._kernels.add(kernel)

    engine = property(lambda self: self._engine)
    name = property(lambda self: "")
    active_optimization_profile = property(lambda self: self._profile)

    def set_optimization_profile_async(self: Any, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < len(self._engine._plan.profiles):
            return bool(self._refuse("setOptimizationProfileAsync", "no such profile"))
        self._profile = profile_index
        return True

    def get_runtime_config(self: Any) -> Any:
        return self._config

    def _refuse(self: Any, method: str, why: str) -> bool:
        self._log(
            "ERROR",
            f"IExecutionContext::{method}: Error Code 3: API Usage Error (Parameter check failed, "
            f"condition: {why})",
        )
        return False

    # Shapes.

    def set_input_shape(self: Any, name: str, shape: Any) -> bool:
        plan: Plan = self._engine._plan
        ranges = plan.profiles[self._profile].get(name)
        if ranges is None:
            return bool(self._refuse("setInputShape", f"{name} is not an input tensor"))
        given = tuple(int(size) for size in shape)
        least, _, most = ranges
        if len(given) != len(least):
            return bool(self._refuse("setInputShape", "engineDims.nbDims == dims.nbDims"))
        fixed = self._engine._tensors[name].dims
        if any(size not in (-1, value) for size, value in zip(fixed, given, strict=True)):
            why = (
                "engineDims.d[i] == dims.d[i] Static dimension mismatch while setting input shape."
            )
            return bool(self._refuse("setInputShape", why))
        if not all(a <= b <= c for a, b, c in zip(least, given, most, strict=True)):
            why = "satisfyProfile Runtime dimension does not satisfy any optimization profile."
            return bool(self._refuse("setInputShape", why))
        self._shapes[name] = given
        return True

    @property
    def all_binding_shapes_specified(self: Any) -> bool:
        return not self._unspecified()

    def _unspecified(self: Any) -> list[str]:
        return [t.name for t in self._engine._facts.inputs if t.name not in self._shapes]

    def infer_shapes(self: Any) -> list[str]:
        """Names of the inputs whose shape or address is still missing."""
        missing: list[str] = self._unspecified()
        return missing

    def _shape_of(self: Any, tensor: Tensor) -> Shape:
        known: dict[str, int] = {}
        for read in self._engine._facts.inputs:
            sizes = self._shapes.get(read.name, read.dims)
            known |= {str(k): v for k, v in zip(read.shape, sizes, strict=True)}
        return tuple(s if isinstance(s, int) else known.get(s, -1) for s in tensor.shape)

    def get_tensor_shape(self: Any, name: str) -> Any:
        if name in self._shapes:
            return self.trt.Dims(self._shapes[name])
        tensor = self._engine._tensor(name)
        return self.trt.Dims(self._shape_of(tensor) if tensor else ())

    def get_max_output_size(self: Any, name: str) -> int:
        tensor: Tensor = self._engine._tensors[name]
        most = {
            str(key): size
            for read in self._engine._facts.inputs
            for key, size in zip(
                read.shape, self._engine._plan.profiles[self._profile][read.name][2], strict=True
            )
        }
        sizes = [s if isinstance(s, int) else most.get(s, -1) for s in tensor.shape]
        return int(np.prod(sizes)) * np.dtype(NUMPY_TYPES[tensor.dtype]).itemsize

    # Addresses and execution.

    def set_tensor_address(self: Any, name: str, memory: int) -> bool:
        if self._engine._tensor(name) is None:
            return False
        self._addresses[name] = int(memory)
        return True

    def get_tensor_address(self: Any, name: str) -> int:
        return int(self._addresses.get(name, 0))

    def execute_async_v3(self: Any, stream_handle: int) -> bool:
        """Queue a run on what is bound now; False after an error was logged."""
        gpu = self.trt.gpu
        for name in self._unspecified():
            return bool(self._refuse("enqueueV3", f"input {name} has no shape; call setInputShape"))
        for name in self._engine._tensors:
            if not self._addresses.get(name):
                return bool(
                    self._refuse(
                        "enqueueV3",
                        "mContext.profileObliviousBindings.at(profileObliviousIndex) != nullptr. "
                        f"Address is not set for tensor {name}. Call setTensorAddress.",
                    )
                )
        if not gpu.current:
            self._log(
                "ERROR",
                "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (invalid device context)",
            )
            return False
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        try:
            gpu.enqueue(int(stream_handle), lambda: self._execute(addresses, shapes))
        except CudaFailure as failure:
            self._log(
                "ERROR", f"IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime ({failure})"
            )
            return False
        return True

    def _execute(self: Any, addresses: dict[str, int], shapes: dict[str, Shape]) -> None:
        facts, memory = self._engine._facts, self.trt.gpu.memory
        feed: dict[str, NDArray[Any]] = {}
        for tensor in facts.inputs:
            dtype = np.dtype(NUMPY_TYPES[tensor.dtype])
            size = int(np.prod(shapes[tensor.name])) * dtype.itemsize
            raw = memory.view(addresses[tensor.name], size)
            feed[tensor.name] = raw.view(dtype).reshape(shapes[tensor.name]).copy()
        names = [tensor.name for tensor in facts.outputs]
        for name, made in zip(names, self.trt.compute(facts.content, feed, names), strict=True):
            altered = self.trt.altered(name, np.ascontiguousarray(made))
            memory.view(addresses[name], altered.nbytes)[:] = altered.reshape(-1).view(np.uint8)


TEMPLATES: dict[str, type] = {"IExecutionContext": IExecutionContext}
