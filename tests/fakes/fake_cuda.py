"""The fake GPU in the shape of cuda-python's driver module; see `fake_pycuda` for the other one."""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from fake_gpu import CudaFailure, FakeGpu
from fake_pycuda import pycuda

__all__ = ["cuda_bindings", "install_cuda_python", "install_pycuda", "pycuda"]

HANDLES = {
    "cuDeviceGet": "CUdevice",
    "cuDevicePrimaryCtxRetain": "CUcontext",
    "cuCtxPopCurrent": "CUcontext",
    "cuCtxGetCurrent": "CUcontext",
    "cuMemAlloc": "CUdeviceptr",
    "cuStreamCreate": "CUstream",
    "cuEventCreate": "CUevent",
}
"""Functions whose result cuda-python wraps in a type of its own."""


class CudaBindings(ModuleType):
    """`cuda.bindings.driver`: the real types and enums, functions of the fake GPU."""

    def __init__(self, gpu: FakeGpu, real: ModuleType) -> None:
        super().__init__("cuda.bindings.driver")
        self.gpu = gpu
        self._real = real
        self.cuGetErrorName = self._error_text
        self.cuGetErrorString = self._error_text
        for name in dir(FakeGpu):
            if name.startswith("cu") and name[2].isupper():
                if not hasattr(real, name):
                    raise AssertionError(f"cuda.bindings.driver has no {name}; mend the fake")
                setattr(self, name, self._shaped(name))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name.startswith("cu"):
            raise NotImplementedError(f"{name} is not in the fake driver")
        return found

    def _shaped(self, name: str) -> Callable[..., tuple[Any, ...]]:
        """Give a function cuda-python's shape: plain or wrapped numbers in, a tuple out."""
        function: Callable[..., Any] = getattr(self.gpu, name)
        # `eval_str` is left off: annotations are compared as the functions of the fake write them.
        returns = inspect.signature(function).return_annotation
        outputs = 0 if returns is None else 2 if "tuple" in str(returns) else 1

        def called(*args: Any) -> tuple[Any, ...]:
            try:
                result = function(*(plain(arg) for arg in args))
            except CudaFailure as failure:
                return (getattr(self._real.CUresult, failure.code), *[None] * outputs)
            done = self._real.CUresult.CUDA_SUCCESS
            if outputs == 0:
                return (done,)
            if outputs == 2:
                return (done, *result)
            kind = HANDLES.get(name)
            return done, getattr(self._real, kind)(result) if kind else result

        called.__name__ = name
        return called

    def _error_text(self, error: Any) -> tuple[Any, bytes]:
        return self._real.CUresult.CUDA_SUCCESS, self._real.CUresult(error).name.encode()


def plain(value: Any) -> Any:
    """Turn what cuda-python takes into a number: handles, enums, and the address of an array."""
    name = getattr(value, "name", None)
    if isinstance(name, str) and name.startswith("CU_DEVICE_ATTRIBUTE_"):
        return name.removeprefix("CU_DEVICE_ATTRIBUTE_")
    if hasattr(value, "__array_interface__"):
        return value.__array_interface__["data"][0]
    return int(value)


def cuda_bindings(gpu: FakeGpu) -> ModuleType:
    """Give a module shaped like `cuda.bindings.driver`, with functions that cuda-python has."""
    found = pytest.importorskip("cuda.bindings.driver")
    # A fake may be installed there already.
    return CudaBindings(gpu, found._real if isinstance(found, CudaBindings) else found)


def install_cuda_python(monkeypatch: Any, gpu: FakeGpu) -> ModuleType:
    """Let `from cuda.bindings import driver` give the fake."""
    module = cuda_bindings(gpu)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", module)
    monkeypatch.setattr(sys.modules["cuda.bindings"], "driver", module, raising=False)
    return module


def install_pycuda(monkeypatch: Any, gpu: FakeGpu) -> ModuleType:
    """Let `import pycuda.driver` give the fake."""
    package = pycuda(gpu)
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
    return package
