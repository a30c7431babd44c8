"""Templates of TensorRT's builder configuration and timing cache."""

import json
import warnings
from typing import Any

from fake_trt_plan import Ranges


def kept(name: str, default: Any) -> property:
    """A property that keeps what it is set to; `default` may be (enum, member)."""

    def get(self: Any) -> Any:
        if name not in self._values and isinstance(default, tuple):
            return getattr(getattr(self.trt, default[0]), default[1])
        return self._values.get(name, default)

    def put(self: Any, value: Any) -> None:
        self._values[name] = value

    return property(get, put)


class IBuilderConfig:
    def _open(self: Any) -> None:
        self._values: dict[str, Any] = {}
        self._profiles: list[Ranges] = []
        self._flags = 1 << int(self.trt.BuilderFlag.TF32)
        self._capabilities: list[str] = []
        self._cache: Any = None
        self._pools = dict.fromkeys(self.trt.MemoryPoolType.__members__, 0)
        self._pools["WORKSPACE"] = 64 << 30 if self.trt.gpu is None else self.trt.gpu.memory.total

    builder_optimization_level = kept("builder_optimization_level", 3)
    progress_monitor = kept("progress_monitor", None)
    profiling_verbosity = kept("profiling_verbosity", ("ProfilingVerbosity", "LAYER_NAMES_ONLY"))
    engine_capability = kept("engine_capability", ("EngineCapability", "STANDARD"))
    default_device_type = kept("default_device_type", ("DeviceType", "GPU"))
    hardware_compatibility_level = kept(
        "hardware_compatibility_level", ("HardwareCompatibilityLevel", "NONE")
    )
    DLA_core = kept("DLA_core", -1)
    max_aux_streams = kept("max_aux_streams", -1)
    avg_timing_iterations = kept("avg_timing_iterations", 1)
    int8_calibrator = kept("int8_calibrator", None)

    @property
    def flags(self: Any) -> int:
        return int(self._flags)

    @flags.setter
    def flags(self: Any, value: int) -> None:
        self._flags = value

    def get_flag(self: Any, flag: Any) -> bool:
        return bool(self._flags & 1 << int(flag))

    def set_flag(self: Any, flag: Any) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self: Any, flag: Any) -> None:
        self._flags &= ~(1 << int(flag))

    def get_quantization_flag(self: Any, flag: Any) -> bool:
        return False

    def get_preview_feature(self: Any, feature: Any) -> bool:
        return False

    def get_tactic_sources(self: Any) -> int:
        return 0

    def get_memory_pool_limit(self: Any, pool: Any) -> int:
        return int(self._pools[pool.name])

    def set_memory_pool_limit(self: Any, pool: Any, pool_size: int) -> None:
        self._pools[pool.name] = int(pool_size)

    @property
    def num_optimization_profiles(self: Any) -> int:
        return len(self._profiles)

    def add_optimization_profile(self: Any, profile: Any) -> int:
        if not profile:
            self._log(
                "ERROR",
                "IBuilderConfig::addOptimizationProfile: Error Code 3: API Usage Error (Parameter "
                "check failed, condition: profile->isValid().)",
            )
            return -1
        self._profiles.append(dict(profile._ranges))
        return len(self._profiles) - 1

    # Devices that TensorRT-RTX builds for.

    @property
    def num_compute_capabilities(self: Any) -> int:
        return len(self._capabilities)

    @num_compute_capabilities.setter
    def num_compute_capabilities(self: Any, value: int) -> None:
        self._capabilities = ["NONE"] * value

    def get_compute_capability(self: Any, index: int) -> Any:
        return getattr(self.trt.ComputeCapability, self._capabilities[index])

    def set_compute_capability(self: Any, compute_capability: Any, index: int) -> bool:
        if index >= len(self._capabilities):
            return False
        self._capabilities[index] = compute_capability.name
        return True

    # Timing cache.

    def create_timing_cache(self: Any, serialized_timing_cache: bytes) -> Any:
        """Give a cache; for bytes that cannot be read, None or an empty one.

        TensorRT-RTX 1.7 gives an empty one. What 10.x gives is documented nowhere; callers must
        bear both, so the fakes of 10.x give None.
        """
        self._warn_of_timing_cache()
        data = bytes(serialized_timing_cache)
        made = self.trt.make("ITimingCache", self)
        if not data or made._read(data):
            return made
        if self.trt.major == 10:
            self._log(
                "ERROR",
                "IBuilderConfig::createTimingCache: Error Code 6: API Usage Error (The timing "
                "cache will not be used!)",
            )
            return None
        self._log("WARNING", "The timing cache will not be used!")
        self._log("WARNING", "Failed to deserialize timing cache. Returning an empty timing cache.")
        return made

    def get_timing_cache(self: Any) -> Any:
        self._warn_of_timing_cache()
        return self._cache

    def _warn_of_timing_cache(self: Any) -> None:
        if self.trt.builds_ahead_of_time:
            text = "Deprecated in TensorRT-RTX 1.2. Timing cache operations are no-ops"
            warnings.warn(text, DeprecationWarning, stacklevel=4)

    def set_timing_cache(self: Any, cache: Any, ignore_mismatch: bool) -> bool:
        if not ignore_mismatch and cache._made_on != self.trt.identity:
            self._log(
                "ERROR",
                "IBuilderConfig::setTimingCache: Error Code 6: API Usage Error (Timing cache was "
                "made by another version or device. The timing cache will not be used!)",
            )
            return False
        self._cache = cache
        return True


class ITimingCache:
    def _open(self: Any) -> None:
        self._made_on = self.trt.identity
        self._entries: dict[str, float] = {}

    def _read(self: Any, data: bytes) -> bool:
        try:
            content = json.loads(data)
            self._made_on, self._entries = content["made_on"], content["entries"]
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def serialize(self: Any) -> Any:
        content = {"made_on": self._made_on, "entries": self._entries}
        return self.trt.host_memory(json.dumps(content, sort_keys=True).encode())

    def combine(self: Any, input_cache: Any, ignore_mismatch: bool) -> bool:
        if not ignore_mismatch and input_cache._made_on != self._made_on:
            return False
        self._entries = {**input_cache._entries, **self._entries}
        return True

    def reset(self: Any) -> bool:
        self._entries = {}
        return True


TEMPLATES: dict[str, type] = {kind.__name__: kind for kind in (IBuilderConfig, ITimingCache)}
