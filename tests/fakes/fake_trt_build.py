"""Template of TensorRT's builder, and what a build checks, reports and makes."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from fake_trt_plan import OnnxFacts, Plan, Ranges, Tensor

MIB = 1 << 20


class Builder:
    def __init__(self: Any, logger: Any) -> None:
        self._logger = logger
        if self.trt.gpu is None and not self.trt.builds_ahead_of_time:
            self._log("ERROR", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @property
    def logger(self: Any) -> Any:
        return self._logger

    max_threads = property(lambda self: 1, lambda self, value: None)
    num_DLA_cores = property(lambda self: 0)
    platform_has_fast_fp16 = property(lambda self: True)
    platform_has_fast_int8 = property(lambda self: True)

    def create_network(self: Any, flags: int = 0) -> Any:
        return self.trt.make("INetworkDefinition", self, flags=flags)

    def create_builder_config(self: Any) -> Any:
        return self.trt.make("IBuilderConfig", self)

    def create_optimization_profile(self: Any) -> Any:
        return self.trt.make("IOptimizationProfile", self)

    def build_serialized_network(self: Any, network: Any, config: Any) -> Any:
        """Give the plan, or None after an error was logged."""
        plan = self.trt.build(network, config)
        return None if plan is None else self.trt.host_memory(plan.to_bytes())


class BuildJob:
    """One build: the checks, the progress reports and the plan."""

    def __init__(self, trt: Any, network: Any, config: Any) -> None:
        self.trt = trt
        self.network = network
        self.config = config

    def run(self) -> Plan | None:
        for problem in self.problems():
            self.config._log("ERROR", f"IBuilder::buildSerializedNetwork: {problem}")
            return None
        if not self.report_progress():
            self.config._log(
                "ERROR",
                "IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled (Build canceled by "
                "user)",
            )
            return None
        if cache := self.config._cache:
            cache._entries |= {layer.name: 1.0 for layer in self.network._layers}
        return self.plan()

    def problems(self) -> Iterator[str]:
        facts: OnnxFacts | None = self.network._facts
        if facts is None or not facts.outputs:
            yield usage_error("Network must have at least one output")
            return
        dynamic = [tensor for tensor in facts.inputs if -1 in tensor.dims]
        if dynamic and not self.config._profiles:
            yield usage_error(
                "Network has dynamic or shape inputs, but no optimization profile has been defined."
            )
        for tensor in dynamic:
            yield from self.shape_problems(tensor)
        yield from self.device_problems()

    def shape_problems(self, tensor: Tensor) -> Iterator[str]:
        name, dims = tensor.name, tensor.dims
        for index, ranges in enumerate(self.config._profiles):
            shapes = ranges.get(name)
            if shapes is None:
                yield usage_error(
                    f"Dynamic input tensor {name} is missing dimensions in profile {index}."
                )
            elif len(shapes[0]) != len(dims):
                yield usage_error(
                    f"Dynamic-shaped input tensor {name} has {len(dims)} dimensions but profile "
                    f"{index} has {len(shapes[0])} dimensions."
                )
            else:
                for axis, (size, *given) in enumerate(zip(dims, *shapes, strict=True)):
                    if size != -1 and set(given) != {size}:
                        least, best, most = given
                        yield usage_error(
                            f"Dimension mismatch for tensor {name} and profile {index}. At "
                            f"dimension axis {axis}, profile has min={least}, opt={best}, "
                            f"max={most} but tensor has {size}."
                        )

    def device_problems(self) -> Iterator[str]:
        if "CURRENT" in self.config._capabilities and self.trt.gpu is None:
            yield "Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient)"
        workspace = self.config._pools["WORKSPACE"] // MIB
        if workspace > self.trt.killed_above_mib:
            os.kill(os.getpid(), signal.SIGKILL)
        if workspace > self.trt.out_of_memory_above_mib:
            for text in ("OutOfMemory (Requested size was {} bytes.)", "OutOfMemory ()"):
                self.config._log(
                    "ERROR",
                    "[virtualMemoryBuffer.cpp::resizePhysical::160] Error Code 2: "
                    + text.format(workspace * MIB),
                )
            yield (
                "Error Code 10: Internal Error (Could not find any implementation for node "
                f"{self.network._layers[0].name}.)"
            )

    def report_progress(self) -> bool:
        """Tell the progress monitor the phases of a build; False if it wants to stop."""
        monitor = self.config._values.get("progress_monitor")
        phases = (("Building engine", None), ("Optimizing graph", "Building engine"))
        if monitor is None:
            return True
        for name, parent in phases:
            monitor.phase_start(name, parent, len(self.network._layers))
        try:
            return all(self.step(monitor, "Optimizing graph", i) for i in range(len(self.network)))
        finally:
            for name, _ in reversed(phases):
                monitor.phase_finish(name)

    def step(self, monitor: Any, phase: str, index: int) -> bool:
        time.sleep(self.trt.seconds_per_step)
        return bool(monitor.step_complete(phase, index))

    def plan(self) -> Plan:
        trt, config = self.trt, self.config
        strong = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        verbosity = config._values.get("profiling_verbosity")
        return Plan(
            library=trt.surface.module,
            version=trt.surface.version,
            compute_capabilities=trt.targets(config._capabilities),
            gpu=trt.gpu.name if trt.gpu is not None and not trt.builds_ahead_of_time else "",
            profiles=config._profiles or [static_ranges(self.network._facts)],
            strongly_typed=trt.always_strongly_typed or self.network.get_flag(strong),
            verbosity="LAYER_NAMES_ONLY" if verbosity is None else verbosity.name,
            onnx=self.network._facts.content,
        )


def usage_error(text: str) -> str:
    return f"Error Code 4: API Usage Error ({text})"


def static_ranges(facts: OnnxFacts) -> Ranges:
    return {tensor.name: [list(tensor.dims)] * 3 for tensor in facts.inputs}


TEMPLATES: dict[str, type] = {"Builder": Builder}
